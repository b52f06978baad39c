"""Yes-or-no tasks of both families: out-of-fold scores of a probe, and their metrics over draws of users."""

import numpy as np

from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import Method
from instructue.evaluation.metrics import BINARY, binary_metrics
from instructue.evaluation.protocol import Protocol, within_folds
from instructue.evaluation.tasks import TaskSpec


def out_of_fold(
    method: Method, x: np.ndarray, y: np.ndarray, users: np.ndarray, protocol: Protocol, labels: int | None
) -> np.ndarray:
    """Scores [repeats, rows] by probes that saw no row of the row's user; comparable within a repeat.

    x [rows, columns], y [rows] in {0, 1}, users [rows] positions. `labels` limits the training rows; None takes all.
    """
    scores = np.full((len(protocol.folds), len(y)), np.nan)
    for split in protocol.splits(users):
        taught = split if labels is None else protocol.few(split, y, labels)
        found = method.learner(x[taught.train], y[taught.train], x[taught.test], taught.inner)
        scores[split.repeat, split.test] = within_folds(found, split)
    return scores


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
    repeats = [binary_metrics(s, y, weights, names) for s in out_of_fold(method, x, y, users, protocol, labels)]
    draws = {name: np.mean([r[name] for r in repeats], axis=0) for name in names}
    return Judged(task.name, task.family, method.name, "all" if labels is None else labels, len(y), int(y.sum()), draws)


def enough(y: np.ndarray, users: np.ndarray, protocol: Protocol, labels: int) -> bool:
    """Whether every training set has so many rows, and two of each class to draw from."""
    sets = [y[split.train] for split in protocol.splits(users)]
    return all(len(s) >= labels and min(s.sum(), len(s) - s.sum()) >= 2 for s in sets)
