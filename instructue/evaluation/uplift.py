"""Uplift: whom treatment moves, judged where it was given at random. A score is good if treating its best pays.

Qini curve (Radcliffe 2007, Using control groups to target on predicted lift): among the best-scored share of all
users, positives of the treated minus those of the controls scaled to as many, per treated user of the task. So its
height is the extra positives per user of the task that come from treating that share, its end the average effect.

qini: area between that curve and the straight line to its end (treating at random), over the same area for the best
order there could be, treated positives first and control positives last (Radcliffe's Q). 0 is random; 1 is out of
reach, for it needs to know what came; below 0 is worse than random.
auuc: area under the uplift curve, share treated x (rate of positives among its treated - among its controls): the
joint, relative form of Devriendt et al. 2020, Learning to rank for uplift modeling, IEEE TKDE 34(10). It is the extra
positives per user of the task, averaged over all shares; not divided by anything.
"""

from typing import Any

import numpy as np

from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import Learner, Method
from instructue.evaluation.protocol import Protocol, interval, within_folds
from instructue.evaluation.tasks import TaskSpec

UPLIFT = ("qini", "auuc")
LEAST = 10  # positives, and negatives, that either arm needs
POINTS = 101


def judge_uplift(
    method: Method,
    task: TaskSpec,
    x: np.ndarray,
    y: np.ndarray,
    treated: np.ndarray,
    users: np.ndarray,
    protocol: Protocol,
) -> Judged:
    """Out-of-fold uplift by two models, one of the treated and one of the controls (T-learner, Kuenzel et al. 2019).

    x [rows, columns], y and treated [rows] in {0, 1}, users [rows] positions. Scores are ranks within the fold of
    the difference of the two chances; metrics are averaged over the repeats.
    """
    scores, arm = np.full((len(protocol.folds), len(y)), np.nan), treated.astype(bool)
    for split in protocol.splits(users):
        chances = []
        for side in (True, False):
            own = arm[split.train] == side
            taught = split.train[own]
            chances.append(_chances(method.learner, x[taught], y[taught], x[split.test], split.inner[own]))
        scores[split.repeat, split.test] = within_folds(chances[0] - chances[1], split)
    draws = uplift_metrics(scores, y, treated, protocol.weights[:, users])
    kept = scores.astype(np.float32)
    return Judged(task.name, task.family, method.name, "all", len(y), int(y.sum()), draws, kept)


def _chances(learner: Learner, x: np.ndarray, y: np.ndarray, x_new: np.ndarray, inner: np.ndarray) -> np.ndarray:
    if not len(y) or y.min() == y.max():
        return np.full(len(x_new), y.mean() if len(y) else 0.0)
    return 1 / (1 + np.exp(-np.clip(learner(x, y, x_new, inner), -30, 30)))


def too_few(y: np.ndarray, treated: np.ndarray) -> str | None:
    """Why uplift cannot be judged on such labels, in words; None if it can."""
    for side, name in ((1, "treated"), (0, "control")):
        own = y[treated == side]
        if min(own.sum(), len(own) - own.sum()) < LEAST:
            return f"{int(own.sum())} positives of {len(own)} {name} rows are too few to judge uplift by"
    return None


def doubt(judged: Judged) -> str | None:
    """What to say of a treatment that is foreseen better than by chance, for then it was not random; else None.

    `judged` is a method judged with the treatment in the label's place (prediction.judge).
    """
    draws = judged.draws["auc"]
    ends = interval(draws[1:])
    # Four deviations: folds that learn from one another's users move an AUC without signal more than draws show.
    if ends is None or draws[0] - 0.5 <= 4 * np.nanstd(draws[1:]):
        return None
    return (
        f"{judged.task}: {judged.method} foresees who was treated (AUC {draws[0]:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]), "
        "so treatment was not random and its uplift may only reflect who was chosen"
    )


def uplift_metrics(
    scores: np.ndarray, y: np.ndarray, treated: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """qini and auuc per draw, [draws], averaged over repeats; NaN where a draw lacks an arm or any positive.

    scores [repeats, n], y and treated [n] in {0, 1}, weights [draws, n]. Rows of equal score are taken together: the
    curves are straight between one group and the next.
    """
    best = np.where(y == 1, np.where(treated == 1, 2, 0), 1)
    best_share, best_qini, _ = curves(best, y, treated, weights)
    random = best_qini[:, -1] / 2  # every order's curve ends at the average effect
    reach = _area(best_share, best_qini) - random
    found: dict[str, list[np.ndarray]] = {name: [] for name in UPLIFT}
    for repeat in scores:
        share, qini, uplift = curves(repeat, y, treated, weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            found["qini"].append(np.where(reach > 0, (_area(share, qini) - random) / reach, np.nan))
        found["auuc"].append(np.where(reach > 0, _area(share, uplift), np.nan))
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def curves(
    scores: np.ndarray, y: np.ndarray, treated: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """share, Qini curve and uplift curve, [draws, 1 + groups] each, from the origin on, best score first.

    NaN from the origin's next point on where a draw lacks an arm.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    drawn = weights[:, order].astype(np.float32)
    right, arm = y[order].astype(bool), treated[order].astype(bool)

    def counted(rows: np.ndarray) -> np.ndarray:
        """How many of these rows stand up to the end of each group, 0 first; float32 holds counts exactly."""
        groups = np.add.reduceat(drawn * rows, starts, axis=1).cumsum(axis=1)
        return np.concatenate([np.zeros((len(groups), 1), np.float32), groups], axis=1)

    with np.errstate(divide="ignore", invalid="ignore"):
        n_treated, n_control = counted(arm), counted(~arm)
        won, lost = counted(arm & right), counted(~arm & right)
        share = (n_treated + n_control) / (n_treated[:, -1:] + n_control[:, -1:])
        # Before the first control there is nothing to take off; likewise for the treated.
        rate = np.divide(lost, n_control, out=np.zeros_like(lost), where=n_control > 0)
        gain = np.divide(won, n_treated, out=np.zeros_like(won), where=n_treated > 0)
        qini = (won - rate * n_treated) / n_treated[:, -1:]
    one_arm = (n_treated[:, -1:] == 0) | (n_control[:, -1:] == 0)
    return share, np.where(one_arm, np.nan, qini), np.where(one_arm, np.nan, share * (gain - rate))


def uplift_curve(scores: np.ndarray, y: np.ndarray, treated: np.ndarray) -> dict[str, Any]:
    """share and gain of the Qini curve at 0%, 1% ... 100%, averaged over repeats: results.UpliftCurve's fields.

    scores [repeats, n], y and treated [n] in {0, 1}, both arms present.
    """
    at, whole = np.linspace(0, 1, POINTS), np.ones((1, len(y)), np.float32)
    found = []
    for repeat in scores:
        share, qini, _ = curves(repeat, y, treated, whole)
        found.append(np.interp(at, share[0], qini[0]))
    return {"share": np.round(at, 4).tolist(), "gain": np.round(np.mean(found, axis=0), 6).tolist()}


def _area(share: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Area under each draw's curve by trapezes, [draws]."""
    middle = (height[:, 1:] + height[:, :-1]) / 2
    return (np.diff(share, axis=1) * middle).sum(axis=1, dtype=np.float64)
