"""How good a method is within each context of a task that has several: per campaign, per store, per offer."""

from typing import Any

import numpy as np

from instructue.evaluation.judged import figures
from instructue.evaluation.metrics import binary_metrics

LEAST = 5  # of either class; below it an AUC says nothing
MOST = 50  # contexts, those with the most rows


def slices(scores: np.ndarray, y: np.ndarray, contexts: list[str], weights: np.ndarray) -> list[dict[str, Any]]:
    """AUC within each context with its 95% interval over users; none for a task with one context only.

    scores [repeats, n] out-of-fold ranks, y [n] in {0, 1}, contexts [n], weights [1 + draws, n], the first row all
    ones. Each dict has the fields of results.Slice but task and method; its value is None where the context has
    fewer than 5 positives or negatives. The MOST largest contexts, in the order of their names, numbers as numbers.
    """
    names, place = np.unique(np.asarray(contexts, dtype=str), return_inverse=True)
    if len(names) < 2:
        return []
    largest = np.argsort(-np.bincount(place), kind="stable")[:MOST].tolist()
    ordered = sorted(largest, key=lambda c: _as_number(str(names[c])))
    return [
        {"context": str(names[c]), "metric": "auc"} | _auc(scores[:, place == c], y[place == c], weights[:, place == c])
        for c in ordered
    ]


def _as_number(name: str) -> tuple[float, str]:
    """Sorts whole numbers by value, before all other names."""
    return (float(name) if name.isdecimal() else np.inf, name)


def _auc(scores: np.ndarray, y: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    positives, size = int(y.sum()), len(y)
    found: dict[str, Any] = {"value": None, "low": None, "high": None}
    if min(positives, size - positives) >= LEAST:
        draws = np.mean([binary_metrics(s, y, weights, ("auc",))["auc"] for s in scores], axis=0)
        found = figures(draws, "value")
    return found | {"n": size, "positives": positives}
