"""Ranking tasks: every item of a catalogue scored for every user, by a ridge probe or by counting."""

from dataclasses import dataclass

import numpy as np

from instructue.evaluation import baselines
from instructue.evaluation.judged import Judged
from instructue.evaluation.metrics import ranking_metrics
from instructue.evaluation.population import Population
from instructue.evaluation.probe import probe_ridge
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.tasks import TaskSpec


@dataclass(frozen=True)
class Basket:
    """A ranking task's users (positions [n]) and, per user and item of the catalogue, [n, items]:

    past: occasions before the snapshot; happened: within the horizon; relevant: right answers; seen: may not be shown.
    """

    users: np.ndarray
    past: np.ndarray
    happened: np.ndarray
    relevant: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, task: TaskSpec, population: Population) -> "Basket":
        rule = task.ranking
        catalogue = rule.catalogue(population)
        past = rule.occasions(population, catalogue, future=False)
        happened = rule.occasions(population, catalogue, future=True) > 0
        seen = past > 0 if rule.new_only else np.zeros_like(happened)
        relevant = happened & ~seen
        users = np.flatnonzero(relevant.any(axis=1))
        return cls(users, past[users], happened[users].astype(np.float32), relevant[users], seen[users])


def judge_probe(method: str, task: TaskSpec, x: np.ndarray, basket: Basket, protocol: Protocol) -> Judged:
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
        )
        _add(parts, ranking_metrics(scores, basket.relevant[test]), test, len(x))
    return _judged(method, task, basket, {k: v / len(protocol.folds) for k, v in parts.items()}, protocol)


def judge_counts(task: TaskSpec, basket: Basket, protocol: Protocol) -> list[Judged]:
    """The rankings that need no probe: popularity, own frequency (repeats), adoption rate (new items)."""
    ranked = {"popularity": baselines.popularity(basket.past)}
    if not task.ranking.new_only:
        ranked["own_frequency"] = baselines.own_frequency(basket.past)
    masked = {method: np.where(basket.seen, -np.inf, scores) for method, scores in ranked.items()}
    values = {method: ranking_metrics(scores, basket.relevant) for method, scores in masked.items()}
    if task.ranking.new_only:
        parts: dict[str, np.ndarray] = {}
        for split in protocol.splits(basket.users):
            rate = baselines.adoption_rate(basket.relevant[split.train], basket.seen[split.train], len(split.test))
            scores = np.where(basket.seen[split.test], -np.inf, rate)
            _add(parts, ranking_metrics(scores, basket.relevant[split.test]), split.test, len(basket.users))
        values["adoption_rate"] = {k: v / len(protocol.folds) for k, v in parts.items()}
    return [_judged(method, task, basket, found, protocol) for method, found in values.items()]


def _add(parts: dict[str, np.ndarray], found: dict[str, np.ndarray], rows: np.ndarray, size: int) -> None:
    for name, values in found.items():
        parts.setdefault(name, np.zeros(size))[rows] += values


def _judged(method: str, task: TaskSpec, basket: Basket, values: dict[str, np.ndarray], protocol: Protocol) -> Judged:
    weights = protocol.weights[:, basket.users]
    total = weights.sum(axis=1)
    draws = {name: (weights @ value.astype(np.float32)) / total for name, value in values.items()}
    return Judged(task.name, task.family, method, "all", len(basket.users), int(basket.relevant.sum()), draws)
