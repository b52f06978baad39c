"""Who learns, who is scored, and how sure one can be: folds over users, few-label draws, bootstrap draws.

One protocol is drawn per evaluation and serves every method and task, so that differences are paired.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from instructue.config import EvaluationConfig
from instructue.evaluation.population import Population
from instructue.evaluation.rules import AttributeIn, Responds
from instructue.evaluation.tasks import TaskSpec


@dataclass(frozen=True)
class Split:
    """One training set and the rows that it scores, as row numbers of a task, with the training rows' inner folds."""

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray
    inner: np.ndarray


@dataclass(frozen=True)
class Protocol:
    """folds and inner [repeats, users]: fold of each user; weights [1 + draws, users]: how often each user is drawn.

    The first row of weights is all ones, so that one pass gives the value and its draws.
    """

    folds: np.ndarray
    inner: np.ndarray
    weights: np.ndarray
    seed: int
    few_draws: int = 1

    @classmethod
    def draw(cls, config: EvaluationConfig, population: Population, tasks: list[TaskSpec]) -> "Protocol":
        """`tasks` are all of the data set's, also where only some are run: they balance the folds."""
        rng = np.random.default_rng(config.seed)
        groups = strata(population, tasks)
        folds = np.stack([deal(groups, config.folds, rng) for _ in range(config.repeats)])
        inner = np.stack([deal(groups, config.inner_folds, rng) for _ in range(config.repeats)])
        n = population.size
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=config.bootstrap)
        return cls(
            folds, inner, np.concatenate([np.ones((1, n)), drawn]).astype(np.float32), config.seed, config.few_draws
        )

    def splits(self, users: np.ndarray) -> Iterator[Split]:
        """Each fold of each repeat, for task rows that belong to `users` (positions, may repeat)."""
        for repeat, (folds, inner) in enumerate(zip(self.folds, self.inner, strict=True)):
            for fold in range(int(folds.max()) + 1):
                held = folds[users] == fold
                train = np.flatnonzero(~held)
                yield Split(repeat, fold, train, np.flatnonzero(held), inner[users[train]])

    def few_splits(self, users: np.ndarray, y: np.ndarray, labels: int) -> Iterator[Split]:
        """Splits with only `labels` training rows: a draw per fold, over as many passes as give `few_draws` of them.

        `repeat` counts the passes; each scores every row once. The folds are those of the full training sets.
        """
        passes = -(-self.few_draws // (int(self.folds.max()) + 1))
        full = list(self.splits(users))
        for number in range(passes):
            for split in full:
                if split.repeat == number % len(self.folds):
                    yield replace(self.few(split, y, labels, number), repeat=number)

    def few(self, split: Split, y: np.ndarray, labels: int, number: int = 0) -> Split:
        """The same split with only `labels` training rows, drawn at the rate of positives of its training set.

        The draw depends on the split, `labels` and `number` alone: every method learns from the same rows. At least
        two of them are of either class; call it only where the training set has as many.
        """
        rng = np.random.default_rng([self.seed, split.repeat, split.fold, labels, number])
        positive = y[split.train].astype(bool)
        ones, zeros = split.train[positive], split.train[~positive]
        count = int(np.clip(round(labels * positive.mean()), max(2, labels - len(zeros)), min(labels - 2, len(ones))))
        drawn = [rng.choice(ones, count, replace=False), rng.choice(zeros, labels - count, replace=False)]
        chosen = np.sort(np.concatenate(drawn))
        inner = deal(y[chosen].astype(int), int(self.inner.max()) + 1, rng)
        return Split(split.repeat, split.fold, chosen, split.test, inner)


def deal(groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """A fold per member, dealt like cards: sizes differ by one at most, and so nearly does every group's share."""
    order = np.lexsort((rng.random(len(groups)), groups))
    dealt = np.empty(len(groups), np.int64)
    dealt[order] = (np.arange(len(groups)) + rng.integers(folds)) % folds
    return dealt


def strata(population: Population, tasks: list[TaskSpec]) -> np.ndarray:
    """Groups to balance folds by, int [users]: attribute rows or none, offers or none, tercile of activity."""
    attributed, offered = np.zeros((2, population.size), bool)
    for task in tasks:
        if isinstance(task.label, AttributeIn):
            attributed[population.positions(population.profile(task.label.source)["user"])] = True
        elif isinstance(task.label, Responds):
            offered[population.positions(task.label.offers(population)["user"])] = True
    first = population.tables.dataset.event_sources[0].name
    activity = population.histories.select(pl.col(f"{first}_end") - pl.col(f"{first}_start")).to_series().to_numpy()
    tercile = np.searchsorted(np.quantile(activity, [1 / 3, 2 / 3]), activity)
    return attributed * 6 + offered * 3 + tercile


def within_folds(scores: np.ndarray, split: Split) -> np.ndarray:
    """Scores of one split's test rows as shares of those below, in (0, 1): comparable between probes of other folds."""
    from scipy.stats import rankdata

    return (rankdata(scores) - 0.5) / max(len(split.test), 1)


def interval(draws: np.ndarray) -> tuple[float, float] | None:
    """2.5% and 97.5% of bootstrap draws that are numbers; None if there is none."""
    sound = draws[np.isfinite(draws)]
    return None if not len(sound) else (float(np.quantile(sound, 0.025)), float(np.quantile(sound, 0.975)))
