"""Whether predicted chances may be taken at their word: what was predicted against what came."""

from typing import Any

import numpy as np

from instructue.evaluation.protocol import interval

BINS = 10


def calibration(chances: np.ndarray, y: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """Brier score, expected calibration error with its 95% interval, and the bins of a reliability plot.

    chances [repeats, n] out of fold, y [n] in {0, 1}, weights [1 + draws, n], the first row all ones; the result has
    the fields of results.Calibration but task and method. Figures are means over the repeats.

    brier: mean squared distance (Brier 1950). ece: mean distance of predicted from observed over ten equally filled
    bins of the whole sample (Naeini et al. 2015, AAAI; equally filled as in Nguyen and O'Connor 2015, EMNLP); rows
    with the same chance share a bin. Noise adds to it, and again in every draw: perfect chances of 2,000 rows have
    one of about 0.02. So the interval is that of the draws moved to lie about the value, cut off at zero.
    """
    y, chances = y.astype(np.float64), chances.astype(np.float64)
    errors, parts = [], []
    for chance in chances:
        bins = equal_bins(chance)
        inside = np.eye(BINS)[bins]
        gaps = weights @ (inside * (chance - y)[:, None]).astype(np.float32)
        errors.append(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))
        parts.append(np.stack([inside.sum(axis=0), inside.T @ chance, inside.T @ y]))
    ece = np.stack(errors).astype(np.float64).mean(axis=0)
    low, high = interval(ece[1:] - ece[1:].mean() + ece[0]) or (None, None)
    return {
        "brier": round(float(((chances - y) ** 2).mean()), 6),
        "ece": round(float(ece[0]), 6),
        "ece_low": None if low is None else round(max(low, 0.0), 6),
        "ece_high": None if high is None else round(high, 6),
        "bins": _bins(np.stack(parts)),
    }


def equal_bins(chances: np.ndarray) -> np.ndarray:
    """The bin 0..9 of each chance [n], by the middle rank of all that are equal to it."""
    from scipy.stats import rankdata

    return ((rankdata(chances) - 0.5) / len(chances) * BINS).astype(int).clip(0, BINS - 1)


def _bins(parts: np.ndarray) -> list[dict[str, Any]]:
    """Bins over all repeats together; parts [repeats, 3, bins] holds rows, sum of chances, positives."""
    n, predicted, observed = parts.sum(axis=0)
    return [
        {
            "predicted": round(float(predicted[b] / n[b]), 6),
            "observed": round(float(observed[b] / n[b]), 6),
            "n": max(1, round(float(n[b]) / len(parts))),
        }
        for b in np.flatnonzero(n)
    ]
