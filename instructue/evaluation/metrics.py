"""How good a ranking is, for one sample of users or for a thousand bootstrap draws of them at once.

Binary tasks: rows scored once, `weights` [draws, n] says how often each row was drawn. Recommendation: one value
per user and metric. Every metric is greater-is-better; results.PRIMARY names the one that a family is judged by.
"""

import numpy as np

BINARY = ("auc", "ks", "average_precision", "lift@10%")
RANKING = ("ndcg@10", "hr@10", "recall@10")
TOP = 10


def binary_metrics(
    scores: np.ndarray, y: np.ndarray, weights: np.ndarray, names: tuple[str, ...] = BINARY
) -> dict[str, np.ndarray]:
    """Each metric per draw, [draws]; NaN where a draw holds one class only.

    scores [n], y [n] in {0, 1}, weights [draws, n] >= 0. Ties count half in the AUC and are taken together elsewhere.
    auc: chance that a positive ranks above a negative. ks: widest gap between the two score distributions.
    average_precision: mean precision over the positives. lift@10%: positives among the best tenth over those expected.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    right = y[order].astype(bool)
    # Counts per group of ties, best first; float32 holds them exactly.
    drawn = weights[:, order].astype(np.float32)
    hits = np.add.reduceat(drawn * right, starts, axis=1)
    misses = np.add.reduceat(drawn * ~right, starts, axis=1)
    hits_by, misses_by = hits.cumsum(axis=1), misses.cumsum(axis=1)
    positives, negatives = hits_by[:, -1:].copy(), misses_by[:, -1:].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = {
            "auc": lambda: _area(hits, misses, misses_by) / (positives * negatives)[:, 0],
            "ks": lambda: (hits_by / positives - misses_by / negatives).max(axis=1),
            "average_precision": lambda: (hits * _precision(hits_by, misses_by)).sum(axis=1) / positives[:, 0],
            "lift@10%": lambda: _lift(hits, misses, hits_by, misses_by),
        }
        found = {name: ways[name]().astype(np.float64) for name in names}
    one_class = ((positives == 0) | (negatives == 0))[:, 0]
    return {name: np.where(one_class, np.nan, value) for name, value in found.items()}


def _area(hits: np.ndarray, misses: np.ndarray, misses_by: np.ndarray) -> np.ndarray:
    """Pairs of a positive above a negative, ties as halves."""
    below = misses_by[:, -1:] - misses_by + 0.5 * misses
    return (hits * below).sum(axis=1, dtype=np.float64)


def _precision(hits_by: np.ndarray, misses_by: np.ndarray) -> np.ndarray:
    total = hits_by + misses_by
    return np.divide(hits_by, total, out=np.zeros_like(total), where=total > 0)


def _lift(
    hits: np.ndarray, misses: np.ndarray, hits_by: np.ndarray, misses_by: np.ndarray, share: float = 0.1
) -> np.ndarray:
    size, total = hits + misses, hits_by[:, -1:] + misses_by[:, -1:]
    # The group that the boundary cuts counts in proportion.
    taken = np.clip(share * total - (hits_by + misses_by - size), 0, size)
    caught = (hits * np.divide(taken, size, out=np.zeros_like(size), where=size > 0)).sum(axis=1)
    return caught / (share * hits_by[:, -1])


def top_items(scores: np.ndarray, k: int = TOP) -> np.ndarray:
    """Places of the k best items per row, best first, int64 [n, min(k, m)]; ties go to the lower place."""
    k = min(k, scores.shape[1])
    # One more than asked shows whether a tie crosses the boundary.
    part = np.argpartition(-scores, min(k, scores.shape[1] - 1), axis=1)[:, :k]
    part.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    return np.take_along_axis(part, order, axis=1)


def _found(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    best = top_items(scores)
    # An excluded item (minus infinity) never counts as found.
    return np.take_along_axis(relevant, best, axis=1) & np.isfinite(np.take_along_axis(scores, best, axis=1))


def ndcg(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """NDCG@10 per user with binary gains, [n]; scores and relevant [n, m]. NaN for a user without relevant items."""
    return _ndcg(_found(scores, relevant), relevant.sum(axis=1))


def _ndcg(found: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    discount = 1 / np.log2(np.arange(found.shape[1]) + 2)
    ideal = np.append(0, discount.cumsum())[np.minimum(relevant, found.shape[1])]
    return np.divide(found @ discount, ideal, out=np.full(len(found), np.nan), where=ideal > 0)


def ranking_metrics(scores: np.ndarray, relevant: np.ndarray) -> dict[str, np.ndarray]:
    """Per-user values [n] of NDCG@10, HR@10 (any relevant item in the first ten) and Recall@10 (share of them)."""
    found, count = _found(scores, relevant), relevant.sum(axis=1)
    recall = np.divide(found.sum(axis=1), count, out=np.full(len(found), np.nan), where=count > 0)
    return {"ndcg@10": _ndcg(found, count), "hr@10": found.any(axis=1).astype(float), "recall@10": recall}
