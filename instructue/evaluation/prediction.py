"""Yes-or-no tasks of both families: out-of-fold scores of a probe, and their metrics over draws of users."""

from dataclasses import dataclass

import numpy as np

from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import Method
from instructue.evaluation.metrics import BINARY, binary_metrics
from instructue.evaluation.protocol import Protocol, Split, within_folds
from instructue.evaluation.tasks import TaskSpec


@dataclass(frozen=True)
class Outside:
    """Out of fold, [repeats, rows]: scores are ranks within the fold, in (0, 1); chances are probabilities."""

    scores: np.ndarray
    chances: np.ndarray


def out_of_fold(
    method: Method, x: np.ndarray, y: np.ndarray, users: np.ndarray, protocol: Protocol, labels: int | None
) -> Outside:
    """Scores by probes that saw no row of the row's user; comparable within a repeat.

    x [rows, columns], y [rows] in {0, 1}, users [rows] positions. `labels` limits the training rows; None takes all.
    """
    splits = list(protocol.splits(users) if labels is None else protocol.few_splits(users, y, labels))
    scores = np.full((splits[-1].repeat + 1, len(y)), np.nan)
    chances = np.full(scores.shape, np.nan)
    for split in splits:
        logits = method.learner(x[split.train], y[split.train], x[split.test], split.inner)
        scores[split.repeat, split.test] = within_folds(logits, split)
        chances[split.repeat, split.test] = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return Outside(scores, chances)


def judge(
    method: Method,
    task: TaskSpec,
    x: np.ndarray,
    y: np.ndarray,
    users: np.ndarray,
    protocol: Protocol,
    labels: int | None = None,
) -> Judged:
    """Metrics per draw, averaged over the repeats' scores: the quality of one probe, not of several averaged."""
    names = BINARY if labels is None else BINARY[:1]
    weights = protocol.weights[:, users]
    outside = out_of_fold(method, x, y, users, protocol, labels)
    repeats = [binary_metrics(scores, y, weights, names) for scores in outside.scores]
    draws = {name: np.mean([r[name] for r in repeats], axis=0) for name in names}
    size, positives = len(y), int(y.sum())
    if labels is not None:
        return Judged(task.name, task.family, method.name, labels, size, positives, draws)
    kept = (outside.scores.astype(np.float32), outside.chances.astype(np.float32))
    return Judged(task.name, task.family, method.name, "all", size, positives, draws, *kept)


def judge_scores(
    name: str,
    task: TaskSpec,
    scores: np.ndarray,
    y: np.ndarray,
    users: np.ndarray,
    protocol: Protocol,
    labels: str | int = "all",
) -> Judged:
    """Scores [rows] that no label was used for: rules of thumb, and similarity to the answers (labels 0)."""
    draws = binary_metrics(scores, y, protocol.weights[:, users])
    whole = Split(0, 0, np.zeros(0, int), np.arange(len(y)), np.zeros(0, int))
    ranks = within_folds(scores, whole).astype(np.float32)[None]
    return Judged(task.name, task.family, name, labels, len(y), int(y.sum()), draws, ranks)


def enough(y: np.ndarray, users: np.ndarray, protocol: Protocol, labels: int) -> bool:
    """Whether every training set has so many rows, and two of each class to draw from."""
    sets = [y[split.train] for split in protocol.splits(users)]
    return all(len(s) >= labels and min(s.sum(), len(s) - s.sum()) >= 2 for s in sets)
