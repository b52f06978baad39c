"""Ranking tasks: every item of a catalogue scored for every user, by a ridge probe or by counting."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from instructue.evaluation.baselines import learners
from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import Method
from instructue.evaluation.metrics import ranking_metrics
from instructue.evaluation.population import Population
from instructue.evaluation.probe import probe_bilinear, probe_ridge
from instructue.evaluation.protocol import Protocol, Split
from instructue.evaluation.tasks import TaskSpec


@dataclass(frozen=True)
class Basket:
    """A ranking task's users (positions [n]) and, per user and item of the catalogue, [n, items]:

    past: occasions before the snapshot; happened: within the horizon; relevant: right answers; seen: may not be shown.
    catalogue names the items; everyone [population, items] is the past of all users, to fit unsupervised rankers on.
    """

    users: np.ndarray
    past: np.ndarray
    happened: np.ndarray
    relevant: np.ndarray
    seen: np.ndarray
    catalogue: list[str]
    everyone: np.ndarray

    @classmethod
    def of(cls, task: TaskSpec, population: Population) -> "Basket":
        rule = task.ranking
        catalogue = rule.catalogue(population)
        past = rule.occasions(population, catalogue, future=False)
        happened = rule.occasions(population, catalogue, future=True) > 0
        seen = past > 0 if rule.new_only else np.zeros_like(happened)
        relevant = happened & ~seen
        users = np.flatnonzero(relevant.any(axis=1))
        happened = happened[users].astype(np.float32)
        return cls(users, past[users], happened, relevant[users], seen[users], catalogue, past)


def judge_probe(method: Method, task: TaskSpec, x: np.ndarray, basket: Basket, protocol: Protocol) -> Judged:
    """Out-of-fold ridge probe on features x [n, columns]; per user, metrics are averaged over repeats."""

    def scores_of(split: Split) -> np.ndarray:
        # Items that the user had before are learnt from too: what drives a repeat says something about a first time.
        train, test = split.train, split.test
        shown = (basket.seen[train], basket.seen[test], basket.relevant[train])
        return probe_ridge(x[train], basket.happened[train], x[test], split.inner, *shown, **method.ridge)[0]

    return judge_splits(method.name, task, basket, protocol, scores_of)


def judge_scorer(
    method: str, task: TaskSpec, x: np.ndarray, items: np.ndarray, basket: Basket, protocol: Protocol
) -> Judged:
    """Out-of-fold bilinear scorer of users x [n, columns] and item texts [items, width]; see probe.probe_bilinear."""

    def scores_of(split: Split) -> np.ndarray:
        train, test = split.train, split.test
        shown = (basket.seen[train], basket.seen[test], basket.relevant[train])
        return probe_bilinear(x[train], basket.happened[train], x[test], items, split.inner, *shown)

    return judge_splits(method, task, basket, protocol, scores_of)


def judge_rankings(
    method: str, task: TaskSpec, settings: dict[str, np.ndarray], basket: Basket, protocol: Protocol
) -> Judged:
    """Scores [n, items] made without labels, one matrix per setting; a fold's training users choose the setting."""
    masked = [np.where(basket.seen, -np.inf, scores) for scores in settings.values()]
    values = [ranking_metrics(scores, basket.relevant) for scores in masked]
    parts: dict[str, np.ndarray] = {}
    for split in protocol.splits(basket.users):
        best = max(values, key=lambda found: float(found["ndcg@10"][split.train].mean()))
        _add(parts, {k: v[split.test] for k, v in best.items()}, split.test, len(basket.users))
    return _judged(method, task, basket, {k: v / len(protocol.folds) for k, v in parts.items()}, protocol)


def judge_adoption(task: TaskSpec, basket: Basket, protocol: Protocol) -> Judged:
    """Items by the share of training users without them who took them up."""

    def scores_of(split: Split) -> np.ndarray:
        rate = learners.adoption_rate(basket.relevant[split.train], basket.seen[split.train], len(split.test))
        return np.where(basket.seen[split.test], -np.inf, rate)

    return judge_splits("adoption_rate", task, basket, protocol, scores_of)


def judge_splits(
    method: str, task: TaskSpec, basket: Basket, protocol: Protocol, scores_of: Callable[[Split], np.ndarray]
) -> Judged:
    """What `scores_of` a split, [its test users, items], are worth; per user, metrics are averaged over repeats."""
    parts: dict[str, np.ndarray] = {}
    for split in protocol.splits(basket.users):
        _add(parts, ranking_metrics(scores_of(split), basket.relevant[split.test]), split.test, len(basket.users))
    return _judged(method, task, basket, {k: v / len(protocol.folds) for k, v in parts.items()}, protocol)


def _add(parts: dict[str, np.ndarray], found: dict[str, np.ndarray], rows: np.ndarray, size: int) -> None:
    for name, values in found.items():
        parts.setdefault(name, np.zeros(size))[rows] += values


def _judged(method: str, task: TaskSpec, basket: Basket, values: dict[str, np.ndarray], protocol: Protocol) -> Judged:
    weights = protocol.weights[:, basket.users]
    total = weights.sum(axis=1)
    draws = {name: (weights @ value.astype(np.float32)) / total for name, value in values.items()}
    return Judged(task.name, task.family, method, "all", len(basket.users), int(basket.relevant.sum()), draws)
