"""Ranking tasks: every item of a catalogue scored for every user, by a ridge probe or by counting."""

from dataclasses import dataclass

import numpy as np

from instructue.evaluation.baselines import learners
from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import Method
from instructue.evaluation.metrics import ranking_metrics
from instructue.evaluation.population import Population
from instructue.evaluation.probe import probe_bilinear, probe_ridge
from instructue.evaluation.protocol import Protocol
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
    parts: dict[str, np.ndarray] = {}
    for split in protocol.splits(basket.users):
        train, test = split.train, split.test
        # Items that the user had before are learnt from too: what drives a repeat says something about a first time.
        scores, _ = probe_ridge(
            x[train],
            basket.happened[train],
            x[test],
            split.inner,
            basket.seen[train],
            basket.seen[test],
            basket.relevant[train],
            **method.ridge,
        )
        _add(parts, ranking_metrics(scores, basket.relevant[test]), test, len(x))
    return _judged(method.name, task, basket, {k: v / len(protocol.folds) for k, v in parts.items()}, protocol)


def judge_scorer(
    method: str, task: TaskSpec, x: np.ndarray, items: np.ndarray, basket: Basket, protocol: Protocol
) -> Judged:
    """Out-of-fold bilinear scorer of users x [n, columns] and item texts [items, width]; see probe.probe_bilinear."""
    parts: dict[str, np.ndarray] = {}
    for split in protocol.splits(basket.users):
        train, test = split.train, split.test
        shown = (basket.seen[train], basket.seen[test], basket.relevant[train])
        scores = probe_bilinear(x[train], basket.happened[train], x[test], items, split.inner, *shown)
        _add(parts, ranking_metrics(scores, basket.relevant[test]), test, len(x))
    return _judged(method, task, basket, {k: v / len(protocol.folds) for k, v in parts.items()}, protocol)


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
    parts: dict[str, np.ndarray] = {}
    for split in protocol.splits(basket.users):
        rate = learners.adoption_rate(basket.relevant[split.train], basket.seen[split.train], len(split.test))
        scores = np.where(basket.seen[split.test], -np.inf, rate)
        _add(parts, ranking_metrics(scores, basket.relevant[split.test]), split.test, len(basket.users))
    return _judged("adoption_rate", task, basket, {k: v / len(protocol.folds) for k, v in parts.items()}, protocol)


def _add(parts: dict[str, np.ndarray], found: dict[str, np.ndarray], rows: np.ndarray, size: int) -> None:
    for name, values in found.items():
        parts.setdefault(name, np.zeros(size))[rows] += values


def _judged(method: str, task: TaskSpec, basket: Basket, values: dict[str, np.ndarray], protocol: Protocol) -> Judged:
    weights = protocol.weights[:, basket.users]
    total = weights.sum(axis=1)
    draws = {name: (weights @ value.astype(np.float32)) / total for name, value in values.items()}
    return Judged(task.name, task.family, method, "all", len(basket.users), int(basket.relevant.sum()), draws)
