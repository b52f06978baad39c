import numpy as np
import pytest

from instructue.evaluation.calibration import calibration, equal_bins
from instructue.evaluation.results import Calibration


def weights_of(n, draws, seed=0):
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    return np.concatenate([np.ones((1, n)), drawn]).astype(np.float32)


def by_hand(chance, y, count):
    """ECE of one sample, bin by bin, each row taken as often as it was drawn."""
    order, total = np.argsort(chance, kind="stable"), 0.0
    for rows in np.array_split(order, 10):
        size = count[rows].sum()
        if size:
            predicted, observed = (np.average(v[rows], weights=count[rows]) for v in (chance, y))
            total += size * abs(predicted - observed)
    return total / count.sum()


def test_figures_are_those_by_hand_averaged_over_repeats():
    rng = np.random.default_rng(0)
    chances, y = rng.random((3, 500)), rng.integers(0, 2, 500)
    weights = weights_of(500, 50)
    found = calibration(chances, y, weights)
    assert found["brier"] == pytest.approx(np.mean([np.mean((c - y) ** 2) for c in chances]), abs=1e-6)
    draws = np.array([np.mean([by_hand(c, y, w) for c in chances]) for w in weights])
    assert found["ece"] == pytest.approx(draws[0], abs=1e-6)
    moved = draws[1:] - draws[1:].mean() + draws[0]
    assert (found["ece_low"], found["ece_high"]) == pytest.approx(tuple(np.quantile(moved, [0.025, 0.975])), abs=1e-5)
    assert [b["n"] for b in found["bins"]] == [50] * 10
    Calibration(task="t", method="m", **found)


def test_the_interval_holds_the_true_error_of_chances_that_promise_too_much():
    held, n = 0, 2000
    for seed in range(40):
        rng = np.random.default_rng(seed)
        chance = rng.beta(1, 3, n)
        y = rng.random(n) < 0.7 * chance
        found = calibration(chance[None], y, weights_of(n, 200, seed))
        held += found["ece_low"] <= 0.3 * chance.mean() <= found["ece_high"]
        assert found["bins"][-1]["observed"] < found["bins"][-1]["predicted"] - 0.05
    assert held >= 34  # 95% of 40 is 38


def test_perfect_chances_have_a_small_error_and_a_wrong_constant_a_large_one():
    rng = np.random.default_rng(1)
    chance = rng.beta(1, 3, 2000)
    y = rng.random(2000) < chance
    assert calibration(chance[None], y, weights_of(2000, 100))["ece"] < 0.035
    constant = calibration(np.full((2, 2000), 0.9), y, weights_of(2000, 100))
    assert constant["ece"] == pytest.approx(0.9 - y.mean(), abs=1e-5)
    assert constant["bins"] == [{"predicted": 0.9, "observed": round(y.mean(), 6), "n": 2000}]


def test_equal_chances_share_a_bin():
    assert equal_bins(np.arange(20.0)).tolist() == np.repeat(range(10), 2).tolist()
    assert len(set(equal_bins(np.array([0.1] * 7 + [0.2] * 3)))) == 2
