"""From bootstrap draws to rows and words: values, paired differences, averages over tasks."""

from collections.abc import Sequence

import numpy as np

from instructue.evaluation.judged import figures
from instructue.evaluation.protocol import interval
from instructue.evaluation.report.names import interval as worded
from instructue.evaluation.report.names import number, signed
from instructue.evaluation.results import MACRO, StudyRow

Draws = dict[str, np.ndarray]  # task -> [1 + bootstrap], the value first


def weights(users: int, draws: int, seed: int) -> np.ndarray:
    """How often each user is drawn, float32 [1 + draws, users]; the first row is all ones."""
    drawn = np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), size=draws)
    return np.concatenate([np.ones((1, users)), drawn]).astype(np.float32)


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over users, [draws]; values [users], weights [draws, users]. NaN where a draw holds nobody."""
    total = weights.sum(axis=1)
    return np.divide(weights @ values, total, out=np.full(len(total), np.nan), where=total > 0)


def with_macro(draws: Draws) -> Draws:
    """The same and, of more than one task, their mean on the same draws, first."""
    return {MACRO: np.mean(list(draws.values()), axis=0)} | draws if len(draws) > 1 else draws


def overall(draws: Draws) -> np.ndarray:
    """The mean over tasks, or the only task."""
    return next(iter(with_macro(draws).values()))


def minus(a: Draws, b: Draws) -> Draws:
    return {task: a[task] - b[task] for task in a}


def rows(
    draws: Draws,
    method: str,
    setting: str | float,
    metric: str,
    n: int | dict[str, int] | None,
    baseline: str | None = None,
) -> list[StudyRow]:
    """One row per task and, of several, one for their mean. `n` by task, or one for all."""
    return [
        StudyRow(
            task=task,
            method=method,
            setting=setting,
            metric=metric,
            **figures(found, "value"),
            n=n.get(task) if isinstance(n, dict) else n,
            baseline=baseline,
        )
        for task, found in with_macro(draws).items()
    ]


def said(draws: np.ndarray, form=number) -> str:
    """'0.812 (95% interval 0.790 to 0.834)'."""
    ends = interval(draws[1:])
    return form(float(draws[0])) + (f" (95% interval {worded(*ends, form)})" if ends else " (no interval)")


def gain(draws: np.ndarray) -> str:
    """The same of a difference, with its sign."""
    return said(draws, signed)


def side(draws: np.ndarray) -> int:
    """1 if the 95% interval lies above zero, -1 if below, 0 if it holds zero or is not there."""
    low, high = interval(draws[1:]) or (-1.0, 1.0)
    return 1 if low > 0 else -1 if high < 0 else 0


def verdict(draws: np.ndarray, words: Sequence[str]) -> str:
    """Of (below, undecided, above) the words for where the interval lies."""
    return words[side(draws) + 1]
