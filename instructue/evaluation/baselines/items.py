"""What each user did with each item before the snapshot, and rankings by it alone."""

import numpy as np
import polars as pl

from instructue.evaluation.baselines.learners import popularity
from instructue.evaluation.population import Population
from instructue.evaluation.rules import Items

WINDOWS = (28, 91)  # days before the snapshot
HALF_LIVES = (28, 56, 91, 182, 364)  # days after which an occasion counts half
NEVER = 400.0  # days given to what was never had


def occasions(rule: Items, population: Population, catalogue: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (user, item, time) of the past: place of user and item in a flat [users x items], and age in days."""
    events = population.past(rule.source)
    values = population.tables.texts[rule.attribute].gather(events["text_id"])
    item = values.replace_strict(catalogue, range(len(catalogue)), default=-1, return_dtype=pl.Int64)
    times = events.select("position", "time", "age").with_columns(item=item).filter(pl.col("item") >= 0).unique()
    times = times.sort("position", "item", "age")  # one order of summation, so the same sums every time
    return times["position"].to_numpy() * len(catalogue) + times["item"].to_numpy(), times["age"].to_numpy()


def windows(rule: Items, population: Population, catalogue: list[str]) -> dict[str, np.ndarray]:
    """`last_N` occasions in the last N days and `since` days since the last one, float32 [population, items] each."""
    place, age = occasions(rule, population, catalogue)
    shape = (population.size, len(catalogue))
    found = {f"last_{days}": _summed(place[age <= days], None, shape) for days in WINDOWS}
    since = np.full(shape[0] * shape[1], NEVER, np.float32)
    np.minimum.at(since, place, age)
    return found | {"since": since.reshape(shape)}


def recent_frequency(rule: Items, population: Population, catalogue: list[str]) -> dict[str, np.ndarray]:
    """Occasions that fade with age, per half-life: float32 [population, items]; popularity breaks ties."""
    place, age = occasions(rule, population, catalogue)
    shape = (population.size, len(catalogue))
    liked = 0.5 * popularity(_summed(place, None, shape))
    return {f"half-life {days} days": _summed(place, 0.5 ** (age / days), shape) + liked for days in HALF_LIVES}


def recency(rule: Items, population: Population, catalogue: list[str]) -> np.ndarray:
    """Items by days since the user had them, latest first, then by popularity: float32 [population, items]."""
    had = windows(rule, population, catalogue)["since"]
    return popularity((had < NEVER).astype(np.float32)) - had


def _summed(place: np.ndarray, weight: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    return np.bincount(place, weight, minlength=shape[0] * shape[1]).astype(np.float32).reshape(shape)
