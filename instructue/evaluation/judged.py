"""A judged method: its metrics with all bootstrap draws, and how they become rows, pairs and macro averages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructue.evaluation.protocol import interval
from instructue.evaluation.results import MACRO, OURS, PRIMARY


@dataclass(frozen=True)
class Judged:
    """One method on one task. draws: metric -> [1 + bootstrap], the value first, then one per draw of users.

    For a yes-or-no task learnt from all labels, out of fold and per repeat: scores [repeats, rows], ranks in (0, 1)
    within the fold, and chances [repeats, rows], the predicted probabilities; else None.
    """

    task: str
    family: str
    method: str
    labels: str | int
    n: int
    positives: int
    draws: dict[str, np.ndarray]
    scores: np.ndarray | None = None
    chances: np.ndarray | None = None

    @property
    def primary(self) -> str:
        """What it is judged by: its family's metric, or its first where it was not judged by that one."""
        return PRIMARY[self.family] if PRIMARY[self.family] in self.draws else next(iter(self.draws))


def rows_of(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """One row per method, task, labels and metric, with the 95% interval."""
    return [
        {
            "task": j.task,
            "family": j.family,
            "method": j.method,
            "labels": j.labels,
            "metric": metric,
            **figures(draws, "value"),
            "n": j.n,
            "positives": j.positives,
        }
        for j in judged
        for metric, draws in j.draws.items()
    ]


@dataclass(frozen=True)
class Pair:
    """Two methods on one task with the same labels; difference [1 + bootstrap] on the primary metric."""

    mine: Judged
    other: Judged
    difference: np.ndarray

    @property
    def headline(self) -> bool:
        """Whether the joint intervals cover it: ours, one task, all labels."""
        return self.mine.method == OURS and self.mine.task != MACRO and self.mine.labels == "all"


def pairs_of(
    judged: list[Judged], compared: dict[str, tuple[str, ...] | None], aside: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Differences on the primary metric, draw by draw.

    `compared`: method -> whom it is held against; None means all but those in `compared` before it and those
    `aside`. Headline comparisons carry, beside their own interval, one that holds for all of them at once (see
    `widened`).
    """
    order = list(compared)
    pairs = []
    for mine in judged:
        if mine.method not in compared:
            continue
        rivals, others = compared[mine.method], {*order[: order.index(mine.method) + 1], *aside}
        for other in judged:
            same = (mine.task, mine.labels, mine.primary) == (other.task, other.labels, other.primary)
            same &= mine.family == other.family  # two families have an average of one name
            if same and (other.method in rivals if rivals is not None else other.method not in others):
                pairs.append(Pair(mine, other, mine.draws[mine.primary] - other.draws[mine.primary]))
    factor = widened([pair.difference for pair in pairs if pair.headline])
    return [_pair_row(pair, factor) for pair in pairs]


def widened(differences: list[np.ndarray], share: float = 0.95) -> float | None:
    """How many standard errors around every difference cover all true ones at once in `share` of samples.

    The distribution of the largest studentised deviation over all comparisons, on shared bootstrap draws (max-t,
    Romano and Wolf 2005, Econometrica 73). None without comparisons.
    """
    sound = [d for d in differences if np.isfinite(d).all() and d[1:].std() > 0]
    if not sound:
        return None
    studentised = [np.abs(d[1:] - d[0]) / d[1:].std() for d in sound]
    return float(np.quantile(np.max(studentised, axis=0), share))


def _pair_row(pair: Pair, factor: float | None) -> dict[str, Any]:
    mine, difference = pair.mine, pair.difference
    row = {
        "task": mine.task,
        "family": mine.family,
        "method": mine.method,
        "baseline": pair.other.method,
        "labels": mine.labels,
        "metric": mine.primary,
        **figures(difference, "difference"),
    }
    if pair.headline and factor is not None and np.isfinite(difference).all():
        reach = factor * float(difference[1:].std())
        row |= {
            "joint_low": round(float(difference[0]) - reach, 6),
            "joint_high": round(float(difference[0]) + reach, 6),
        }
    return row


def macro_of(judged: list[Judged]) -> list[Judged]:
    """Mean of the primary metric over a family's tasks, on the same draws, for methods that ran on all of them."""
    judged = [j for j in judged if j.primary == PRIMARY[j.family]]
    tasks: dict[tuple, set[str]] = {}
    for j in judged:
        tasks.setdefault((j.family, j.labels), set()).add(j.task)
    found = []
    for family, method, labels in dict.fromkeys((j.family, j.method, j.labels) for j in judged):
        mine = [j for j in judged if (j.family, j.method, j.labels) == (family, method, labels)]
        if {j.task for j in mine} != tasks[family, labels] or len(mine) < 2:
            continue
        metric = PRIMARY[family]
        draws = {metric: np.mean([j.draws[metric] for j in mine], axis=0)}
        n, positives = sum(j.n for j in mine), sum(j.positives for j in mine)
        found.append(Judged(MACRO, family, method, labels, n, positives, draws))
    return found


def figures(draws: np.ndarray, name: str) -> dict[str, float | None]:
    """The value and the ends of its 95% interval, rounded, None where there is none."""
    low, high = interval(draws[1:]) or (None, None)
    value = float(draws[0])
    ends = {side: None if end is None else round(end, 6) for side, end in (("low", low), ("high", high))}
    return {name: round(value, 6) if np.isfinite(value) else None, **ends}
