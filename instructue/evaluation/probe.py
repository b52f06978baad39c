"""Linear probes on frozen features: L2 logistic regression and ridge, each with its strength chosen on inner folds.

All inner folds and strengths of one training set are solved at once: in the eigenbasis of the training features
one matrix product serves every column, and the bound X'X/4 on the logistic Hessian (Boehning and Lindsay 1988)
is diagonal there, so that Nesterov's gradient steps (with the restart of O'Donoghue and Candes 2015) converge quickly.

Shapes: n rows, p features, c columns (one per inner fold and strength), m items.
"""

from dataclasses import dataclass

import numpy as np

from instructue.evaluation.metrics import ndcg

# Inverse strengths C as in scikit-learn: the penalty is |w|^2 / 2C beside the summed log loss.
STRENGTHS = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
PENALTIES = np.array([1e2, 1e3, 1e4, 1e5])
ITEM_PENALTIES = np.array([0.1, 1.0, 10.0])


@dataclass(frozen=True)
class Basis:
    """Standardised features in the eigenbasis of their training rows, so that the training Gram matrix is diagonal."""

    mean: np.ndarray  # [p]
    turn: np.ndarray  # [p, r], scaling included
    gram: np.ndarray  # [r] diagonal of the turned training Gram matrix

    @classmethod
    def fit(cls, x: np.ndarray, *, standardise: bool = True) -> "Basis":
        """Mean, scale and eigenbasis of training rows x [n, p]. Constant features are left out."""
        mean = x.mean(axis=0)
        centred = x - mean
        scale = centred.std(axis=0) if standardise else np.ones_like(mean)
        scale = np.where(scale > 1e-6 * (1 + np.abs(mean)), scale, np.inf).astype(np.float32)
        centred /= scale
        if centred.shape[1] <= centred.shape[0]:
            gram, turn = np.linalg.eigh(centred.T @ centred)
        else:
            gram, left = np.linalg.eigh(centred @ centred.T)
            turn = centred.T @ (left / np.sqrt(np.maximum(gram, 1e-12)))
        kept = gram > 1e-5 * max(gram[-1], 1e-12)
        return cls(mean, (turn[:, kept] / scale[:, None]).astype(np.float32), gram[kept].astype(np.float32))

    def turned(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) @ self.turn


def solve_logistic(
    z: np.ndarray,
    gram: np.ndarray,
    y: np.ndarray,
    masks: np.ndarray,
    strengths: np.ndarray,
    *,
    steps: int = 300,
    tolerance: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise summed log loss + |w|^2 / 2C for each column, over the rows that its mask keeps.

    z [n, r] centred, with z'z = diag(gram); y [n] in {0, 1}; masks [n, c] in {0, 1}; strengths [c].
    Returns weights [r, c] and intercepts [c]; the intercept carries no penalty. Ends when every gradient has
    fallen below `tolerance` of the first one.
    """
    z = np.concatenate([z, np.ones((len(z), 1), np.float32)], axis=1)
    penalty = np.append(np.ones(len(gram), np.float32), np.float32(0))[:, None] / strengths.astype(np.float32)
    bound = np.append(gram, np.float32(len(z)))[:, None] / 4 + penalty
    kept, target = masks.astype(np.float32), (y[:, None] * masks).astype(np.float32)
    w = np.zeros_like(bound)
    ahead, momentum, first = w, np.ones(len(strengths), np.float32), None
    for _ in range(steps):
        logits = z @ ahead
        # In place: this and the two products are the whole cost.
        np.multiply(logits, 0.5, out=logits)
        np.tanh(logits, out=logits)
        logits += 1
        logits *= 0.5
        logits *= kept
        logits -= target
        gradient = z.T @ logits + penalty * ahead
        size = (gradient * gradient / bound).sum(axis=0)
        first = size if first is None else first
        after = ahead - gradient / bound
        if (size <= tolerance**2 * first).all():
            w = after
            break
        # A column whose step turns against its gradient starts its momentum anew.
        momentum = np.where((gradient * (after - w)).sum(axis=0) > 0, 1, momentum).astype(np.float32)
        grown = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / grown * (after - w)
        w, momentum = after, grown
    return w[:-1], w[-1]


def probe_logistic(
    x: np.ndarray,
    y: np.ndarray,
    x_new: np.ndarray,
    inner: np.ndarray,
    *,
    standardise: bool = True,
    strengths: np.ndarray = STRENGTHS,
) -> tuple[np.ndarray, float]:
    """Train on x [n, p], y [n] and score x_new [n', p]; the strength is the one best on the inner folds of x.

    inner [n]: fold number of each training row. Returns logits [n'] and the strength. Nothing of x_new takes part
    in any choice. With one class only, all scores are equal.
    """
    if y.min() == y.max():
        return np.zeros(len(x_new)), float(strengths[0])
    basis = Basis.fit(x, standardise=standardise)
    z = basis.turned(x)
    folds = np.unique(inner)
    taught = inner[:, None] != np.repeat(folds, len(strengths))
    masks = np.concatenate([taught, np.ones((len(x), len(strengths)), bool)], axis=1)
    weights, intercepts = solve_logistic(z, basis.gram, y, masks, np.tile(strengths, len(folds) + 1))
    held = z @ weights + intercepts
    loss = np.logaddexp(0, held) - y[:, None] * held  # [n, c]
    outside = (loss * ~masks).sum(axis=0)[: len(folds) * len(strengths)].reshape(len(folds), -1).sum(axis=0)
    best = int(outside.argmin())
    column = len(folds) * len(strengths) + best
    return basis.turned(x_new) @ weights[:, column] + intercepts[column], float(strengths[best])


def probe_ridge(
    x: np.ndarray,
    y: np.ndarray,
    x_new: np.ndarray,
    inner: np.ndarray,
    seen: np.ndarray,
    seen_new: np.ndarray,
    relevant: np.ndarray,
    *,
    penalties: np.ndarray = PENALTIES,
    standardise: bool = True,
) -> tuple[np.ndarray, float]:
    """Ridge regression onto all items at once; the penalty is the one with the best NDCG@10 on the inner folds.

    x [n, p], targets y [n, m], x_new [n', p], inner [n]; `seen` marks items that may not be recommended, `relevant`
    those that are right [n, m]. Returns scores [n', m], minus infinity where seen, and the penalty.
    """
    gains = np.zeros(len(penalties))
    for fold in np.unique(inner):
        held = inner == fold
        for place, scores in enumerate(_ridge_path(x[~held], y[~held], x[held], penalties, standardise)):
            scores[seen[held]] = -np.inf
            gains[place] += ndcg(scores, relevant[held]).sum()
    best = int(gains.argmax())
    scores = next(_ridge_path(x, y, x_new, penalties[best : best + 1], standardise))
    scores[seen_new] = -np.inf
    return scores, float(penalties[best])


def _ridge_path(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, penalties: np.ndarray, standardise: bool = True):
    """Scores [n', m] for one penalty after another, from one decomposition."""
    basis = Basis.fit(x, standardise=standardise)
    mean = y.mean(axis=0)
    moment = basis.turned(x).T @ (y - mean)
    z = basis.turned(x_new)
    for penalty in penalties.astype(np.float32):
        yield (z / (basis.gram + penalty)) @ moment + mean


def probe_bilinear(
    x: np.ndarray,
    y: np.ndarray,
    x_new: np.ndarray,
    items: np.ndarray,
    inner: np.ndarray,
    seen: np.ndarray,
    seen_new: np.ndarray,
    relevant: np.ndarray,
) -> np.ndarray:
    """Score users and items by mean + x W v', v the item's text vector: what is learnt of one serves those like it.

    W minimises |y - mean - x W v'|^2 with a ridge on either side, in closed form in both eigenbases; both strengths
    are those with the best NDCG@10 on the inner folds. items [m, q]; the rest and the result as probe_ridge's.
    """
    turn = Basis.fit(items, standardise=False)
    v, grid = turn.turned(items), [(a, b) for a in PENALTIES for b in ITEM_PENALTIES]
    gains = np.zeros(len(grid))
    for fold in np.unique(inner):
        held = inner == fold
        for place, scores in enumerate(_bilinear_path(x[~held], y[~held], x[held], v, turn.gram, grid)):
            scores[seen[held]] = -np.inf
            gains[place] += ndcg(scores, relevant[held]).sum()
    best = grid[int(gains.argmax())]
    scores = next(_bilinear_path(x, y, x_new, v, turn.gram, [best]))
    scores[seen_new] = -np.inf
    return scores


def _bilinear_path(
    x: np.ndarray, y: np.ndarray, x_new: np.ndarray, v: np.ndarray, gram: np.ndarray, grid: list[tuple[float, float]]
):
    """Scores [n', m] for one pair of penalties after another, from one decomposition."""
    basis, mean = Basis.fit(x), y.mean(axis=0)
    moment = basis.turned(x).T @ (y - mean) @ v
    z = basis.turned(x_new)
    for user, item in grid:
        weights = moment / np.outer(basis.gram + np.float32(user), gram + np.float32(item))
        yield (z @ weights) @ v.T + mean
