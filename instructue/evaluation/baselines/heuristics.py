"""Rules for yes-or-no tasks that learn nothing: they rank rows by what the past alone says."""

from collections.abc import Callable

import numpy as np
import polars as pl

from instructue.evaluation.population import Population
from instructue.evaluation.rules import Occurs, Responds, filtered
from instructue.evaluation.tasks import TaskSpec

PRIOR_OFFERS = 2.0  # a user's share of answered offers counts as if so many more had been answered at the common rate


def own_frequency(population: Population, task: TaskSpec, labelled: pl.DataFrame) -> np.ndarray | None:
    """How often the very thing happened before, [rows]; None for tasks about attributes or a hidden source.

    For `occurs` past occasions of an event that meets the condition, ties to those with more events of the source;
    for `responds` the share of past offers that were answered.
    """
    if isinstance(task.label, Responds):
        return _answered(population, task, task.label, labelled)
    happened = _happened(population, task)
    if happened is None or not isinstance(task.label, Occurs):
        return None
    # Rows of one moment are one occasion. Most users tie at none: of these the busier are likelier to begin.
    times = happened.select("position", "time").unique()["position"].to_numpy()
    busy = np.bincount(population.past(task.label.source)["position"].to_numpy(), minlength=population.size)
    counts = np.bincount(times, minlength=population.size) + busy / (busy.max(initial=0) + 1)
    return counts[population.positions(labelled["user"])]


def recency(population: Population, task: TaskSpec, labelled: pl.DataFrame) -> np.ndarray | None:
    """Minus the days since the thing, or the last answer to an offer, happened, [rows]; None as own_frequency."""
    happened = _happened(population, task)
    if happened is None:
        return None
    who, age = happened["position"].to_numpy(), happened["age"].to_numpy().astype(float)
    # Finite, so that users to whom it never happened tie below all others.
    since = np.full(population.size, age.max(initial=0) + 1)
    np.minimum.at(since, who, age)
    return -since[population.positions(labelled["user"])]


def activity(population: Population, task: TaskSpec, labelled: pl.DataFrame) -> np.ndarray | None:
    """Number of past events of all sources that are not hidden, [rows]; None if all are hidden."""
    seen = [s.name for s in population.tables.dataset.event_sources if s.name not in task.hides]
    if not seen:
        return None
    total = sum(np.bincount(population.past(s)["position"].to_numpy(), minlength=population.size) for s in seen)
    return np.asarray(total, float)[population.positions(labelled["user"])]


def _happened(population: Population, task: TaskSpec) -> pl.DataFrame | None:
    """Past events of the kind that makes a positive; None where the past holds none to look at."""
    rule = task.label
    source = rule.source if isinstance(rule, Occurs) else rule.response if isinstance(rule, Responds) else None
    if source is None or source in task.hides:
        return None
    past = population.past(source)
    return filtered(population.with_attributes(source, past), rule.where) if isinstance(rule, Occurs) else past


def _answered(population: Population, task: TaskSpec, rule: Responds, labelled: pl.DataFrame) -> np.ndarray | None:
    """Share of a user's past offers that got an answer, drawn to the common share where offers are few."""
    if {rule.offer, rule.response} & set(task.hides):
        return None
    counts = []
    for source in (rule.response, rule.offer):
        past = population.with_attributes(source, population.past(source)).select("position", rule.by).unique()
        counts.append(np.bincount(past["position"].to_numpy(), minlength=population.size).astype(float))
    answers, offers = counts
    common = answers.sum() / max(offers.sum(), 1)
    return ((answers + PRIOR_OFFERS * common) / (offers + PRIOR_OFFERS))[population.positions(labelled["user"])]


Heuristic = Callable[[Population, TaskSpec, pl.DataFrame], np.ndarray | None]
# A score per labelled row, greater is likelier; None where the rule has nothing to say about the task.
HEURISTICS: dict[str, Heuristic] = {"own_frequency": own_frequency, "recency": recency, "activity": activity}
