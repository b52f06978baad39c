"""The embedding's rotation: orthogonal, even, and what evenness is for."""

import numpy as np
import pytest
import torch

from instructue.evaluation.probe import probe_logistic
from instructue.network.mixing import even_rotation


@pytest.mark.parametrize("width", [8, 24, 90, 97, 128])
def test_it_is_a_rotation_and_the_same_each_time(width):
    turn = even_rotation(width)
    torch.testing.assert_close(turn @ turn.T, torch.eye(width), atol=1e-5, rtol=0)
    assert torch.equal(turn, even_rotation(width))
    assert (turn.abs() <= 1.5 / width**0.5).all()


def test_a_strong_direction_reaches_every_column_alike():
    turn = even_rotation(64)
    sizes = torch.ones(64)
    sizes[0] = 100
    spread = (sizes[:, None] * turn).square().sum(0)
    torch.testing.assert_close(spread, spread.mean().expand(64))


def test_a_probe_that_scales_columns_finds_more_after_the_turn():
    """Few rows, the answer in the strong directions: scaled one by one, the many weak ones drown them."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4000, 64)) * np.linspace(1, 0.05, 64) ** 2
    y = (x[:, :4].sum(1) + rng.normal(size=4000) > 0).astype(float)
    inner = np.arange(100) % 4

    def found(z: np.ndarray) -> float:
        z = z.astype(np.float32)
        scores = probe_logistic(z[:100], y[:100], z[100:], inner)[0]
        return float(np.corrcoef(scores, y[100:])[0, 1])

    assert found(x @ even_rotation(64).numpy()) > found(x) + 0.02
