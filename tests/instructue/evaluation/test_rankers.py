"""Rankers of items and the two stages behind them: planted tastes are found, labels never leak into scores."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from instructue.evaluation.baselines import collaborative, two_stage
from instructue.evaluation.metrics import ndcg
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.recommendation import Basket


@pytest.fixture(scope="module")
def tastes() -> tuple[np.ndarray, np.ndarray]:
    """Two halves of 120 users, each with its half of 40 items; one item of each user's taste was taken away."""
    rng = np.random.default_rng(0)
    liked = (np.arange(120)[:, None] < 60) == (np.arange(40) < 20)
    past = (rng.random((120, 40)) < np.where(liked, 0.5, 0.05)) * rng.integers(1, 5, (120, 40))
    away = np.zeros_like(liked)
    away[np.arange(120), np.where(np.arange(120) < 60, 0, 20) + rng.integers(0, 20, 120)] = True
    return np.where(away, 0, past).astype(np.float32), away


@pytest.mark.parametrize("name", collaborative.RANKERS)
def test_rankers_find_planted_tastes_and_are_the_same_every_time(name, tastes):
    past, away = tastes
    found, again = collaborative.rankings(name, past), collaborative.rankings(name, past)
    assert len(found) > 2 and list(found) == list(again)
    for setting, scores in found.items():
        assert scores.dtype == np.float32 and scores.shape == past.shape and np.isfinite(scores).all()
        np.testing.assert_array_equal(scores, again[setting])
    best = max(ndcg(np.where(past > 0, -np.inf, scores), away).mean() for scores in found.values())
    chance = ndcg(np.where(past > 0, -np.inf, np.random.default_rng(1).random(past.shape)), away).mean()
    assert best > chance + 0.1


@pytest.mark.parametrize("name", collaborative.RANKERS)
def test_rankers_bear_an_empty_past(name):
    assert not any(scores.any() for scores in collaborative.rankings(name, np.zeros((5, 4), np.float32)).values())


@pytest.fixture(scope="module")
def planted(tastes) -> tuple[Basket, Protocol]:
    """A ranking of first times: right is an item of one's own half that one never had, by a coin."""
    past, _ = tastes
    rng = np.random.default_rng(3)
    liked = (np.arange(120)[:, None] < 60) == (np.arange(40) < 20)
    relevant = (past == 0) & (rng.random(past.shape) < np.where(liked, 0.5, 0.03))
    assert relevant.any(axis=1).all()
    folds = rng.permutation(np.arange(120) % 4)[None]
    protocol = Protocol(folds, rng.permutation(np.arange(120) % 3)[None], np.ones((3, 120), np.float32), 0)
    names = [str(item) for item in range(40)]
    return Basket(np.arange(120), past, relevant.astype(np.float32), relevant, past > 0, names, past), protocol


TASK = SimpleNamespace(name="planted", family="recommendation")


def two_stage_ndcg(basket, protocol, embeddings=None, ranked=None) -> float:
    evidence = two_stage.Evidence({}, ranked or {}, embeddings or {})
    return float(two_stage.judge_two_stage("two_stage", TASK, basket, evidence, protocol).draws["ndcg@10"][0])


def test_two_stages_find_what_a_ranker_or_an_embedding_knows(planted):
    basket, protocol = planted
    alone = two_stage_ndcg(basket, protocol)
    half = (np.arange(120) < 60).astype(np.float32)[:, None]
    assert two_stage_ndcg(basket, protocol, {"half": half}) > alone + 0.1
    assert two_stage_ndcg(basket, protocol, ranked={"ease": collaborative.rankings("ease", basket.past)}) > alone + 0.1


def test_two_inner_folds_are_enough_for_a_probe_among_the_features(planted):
    basket, protocol = planted
    two = dataclasses.replace(protocol, inner=protocol.inner % 2)
    half = (np.arange(120) < 60).astype(np.float32)[:, None]
    assert two_stage_ndcg(basket, two, {"half": half}) > two_stage_ndcg(basket, two) + 0.1


def test_two_stages_never_show_what_is_seen_and_ignore_the_scored_users_labels(planted):
    basket, protocol = planted
    split = next(protocol.splits(basket.users))
    x = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
    evidence = two_stage.Evidence({}, {"ease": collaborative.rankings("ease", basket.past)}, {"noise": x})
    told = two_stage.scored(basket, evidence, split)
    assert (told[basket.seen[split.test]] == -np.inf).all() and np.isfinite(told).any(axis=1).all()
    lied = basket.relevant.copy()
    lied[split.test] = ~lied[split.test] & ~basket.seen[split.test]
    other = dataclasses.replace(basket, relevant=lied, happened=lied.astype(np.float32))
    np.testing.assert_array_equal(told, two_stage.scored(other, evidence, split))


def test_scores_from_labels_are_out_of_fold_for_the_users_that_trees_learn_from(planted, monkeypatch):
    """The planted cheat: a probe that has seen the labels of those whom the trees learn from ruins what they learn."""
    basket, protocol = planted
    half = (np.arange(120) < 60).astype(np.float32)[:, None]
    x = np.concatenate([half, np.eye(120, dtype=np.float32) * 30], axis=1)  # what each user did can be learnt by heart
    honest = two_stage_ndcg(basket, protocol, {"by heart": x})

    def inside(split, basket, learn):
        out = np.zeros(basket.past.shape, np.float32)
        out[split.test], out[split.train] = learn(split.train, split.test), basket.relevant[split.train]
        return out

    monkeypatch.setattr(two_stage, "outside", inside)
    assert two_stage_ndcg(basket, protocol, {"by heart": x}) < honest - 0.05
