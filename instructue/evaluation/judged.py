"""A judged method: its metrics with all bootstrap draws, and how they become rows, pairs and macro averages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructue.evaluation.protocol import interval
from instructue.evaluation.results import MACRO, PRIMARY


@dataclass(frozen=True)
class Judged:
    """One method on one task. draws: metric -> [1 + bootstrap], the value first, then one per draw of users."""

    task: str
    family: str
    method: str
    labels: str | int
    n: int
    positives: int
    draws: dict[str, np.ndarray]

    @property
    def primary(self) -> str:
        return PRIMARY[self.family]


def rows_of(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """One row per method, task, labels and metric, with the 95% interval."""
    return [
        {
            "task": j.task,
            "family": j.family,
            "method": j.method,
            "labels": j.labels,
            "metric": metric,
            **_figures(draws, "value"),
            "n": j.n,
            "positives": j.positives,
        }
        for j in judged
        for metric, draws in j.draws.items()
    ]


def pairs_of(judged: list[Judged], ours: tuple[str, ...]) -> list[dict[str, Any]]:
    """Differences on the primary metric, draw by draw: each of ours against every method that comes after it."""
    pairs = []
    for mine in judged:
        for other in judged:
            same = (mine.task, mine.family, mine.labels) == (other.task, other.family, other.labels)
            if not same or mine.method not in ours or other.method in ours[: ours.index(mine.method) + 1]:
                continue
            difference = mine.draws[mine.primary] - other.draws[mine.primary]
            pairs.append(
                {
                    "task": mine.task,
                    "family": mine.family,
                    "method": mine.method,
                    "baseline": other.method,
                    "labels": mine.labels,
                    "metric": mine.primary,
                    **_figures(difference, "difference"),
                }
            )
    return pairs


def macro_of(judged: list[Judged]) -> list[Judged]:
    """Mean of the primary metric over a family's tasks, on the same draws, for methods that ran on all of them."""
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


def _figures(draws: np.ndarray, name: str) -> dict[str, float | None]:
    bounds = interval(draws[1:]) or (None, None)
    value = float(draws[0])
    return {name: round(value, 6) if np.isfinite(value) else None, **_ends(bounds)}


def _ends(bounds: tuple[float | None, float | None]) -> dict[str, float | None]:
    return {side: None if end is None else round(end, 6) for side, end in zip(("low", "high"), bounds, strict=True)}
