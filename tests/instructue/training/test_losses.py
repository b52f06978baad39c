"""Losses against plain loops, and what they must not count."""

import math

import pytest
import torch
import torch.nn.functional as F

from instructue.training import losses


@pytest.fixture
def scene():
    torch.manual_seed(0)
    users, answers = F.normalize(torch.randn(6, 8), dim=-1), F.normalize(torch.randn(5, 8), dim=-1)
    return users, answers, torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor(0.1)


def test_contrastive_equals_a_plain_loop_and_leaves_excluded_answers_out(scene):
    users, answers, positive, temperature = scene
    excluded = torch.zeros(6, 5, dtype=torch.bool)
    excluded[0, 3] = excluded[5, 1] = True
    total = 0.0
    for n in range(6):
        scores = {a: math.exp((users[n] @ answers[a]).item() / 0.1) for a in range(5) if not excluded[n, a]}
        total -= math.log(scores[positive[n].item()] / sum(scores.values()))
    got = losses.contrastive(users, answers, positive, excluded, temperature)
    assert got.item() == pytest.approx(total / 6, rel=1e-5)
    assert got < losses.contrastive(users, answers, positive, torch.zeros_like(excluded), temperature)


def test_opposition_looks_at_pairs_only(scene):
    users, answers, positive, temperature = scene
    opposite = torch.tensor([1, -1, 0, -1, -1, -1])
    expected = sum(
        math.log(1 + math.exp((users[n] @ (answers[opposite[n]] - answers[positive[n]])).item() / 0.1)) for n in (0, 2)
    )
    assert losses.opposition(users, answers, positive, opposite, temperature).item() == pytest.approx(
        expected / 2, rel=1e-5
    )
    none = losses.opposition(users.requires_grad_(), answers, positive, torch.full((6,), -1), temperature)
    none.backward()
    assert none.item() == 0


def test_own_texts_counts_foreign_texts_the_history_also_holds_as_neither(scene):
    users, texts, _, temperature = scene
    own = torch.zeros(6, 5, dtype=torch.bool)
    own[torch.arange(6), torch.tensor([0, 1, 2, 3, 4, 0])] = True
    nothing_known = losses.own_texts(users, texts, own, own, temperature)
    all_known = losses.own_texts(users, texts, own, torch.ones_like(own), temperature)
    assert nothing_known > 0
    assert all_known.item() == pytest.approx(0, abs=1e-6)


def test_temperature_is_bounded():
    assert losses.temperature_of(torch.tensor(-20.0)).item() == pytest.approx(losses.MIN_TEMPERATURE)
    assert losses.temperature_of(torch.tensor(5.0)).item() == 1.0


def test_nested_is_the_mean_over_widths_and_the_loss_itself_without_any(scene):
    users, answers, positive, temperature = scene
    given = (positive, torch.zeros(6, 5, dtype=torch.bool), temperature)
    whole = losses.contrastive(users, answers, *given)
    assert torch.equal(losses.nested([], losses.contrastive, users, answers, *given), whole)
    cut = [losses.contrastive(F.normalize(users[:, :w]), F.normalize(answers[:, :w]), *given) for w in (2, 5)]
    got = losses.nested([2, 5], losses.contrastive, users, answers, *given)
    assert got.item() == pytest.approx((whole + sum(cut)).item() / 3, rel=1e-6)


@pytest.mark.parametrize(
    ("tokens", "dtype", "near"), [(5, torch.float32, 1e-6), (300, torch.float32, 1e-5), (40, torch.bfloat16, 0.02)]
)
def test_autoregressive_is_cross_entropy_with_its_gradient(tokens, dtype, near):
    torch.manual_seed(0)
    words, targets = torch.randn(70, 16), torch.randint(0, 70, (tokens,))
    states, plain = (torch.randn(tokens, 16, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab")
    got = losses.autoregressive(states.to(dtype), words.to(dtype), targets)
    expected = F.cross_entropy(plain @ words.T, targets)
    (3 * got).backward()
    (3 * expected).backward()
    assert got.item() == pytest.approx(expected.item(), rel=near)
    assert states.grad is not None and plain.grad is not None
    assert (states.grad - plain.grad).norm() / plain.grad.norm() < near
