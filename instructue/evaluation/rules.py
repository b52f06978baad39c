"""What happened to whom: the label of a task as a row of data, in four kinds. No source or column is named here.

A rule reads a Population's future (or its attribute tables) and says who enters the task and with which label.
Two more kinds, in label_files.py, read a team's own files.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from instructue.errors import ConfigError
from instructue.evaluation.population import Population
from instructue.sources.spec import DatasetSpec, Name

Days = Annotated[int, Field(ge=1, le=366, description="Local calendar days after the snapshot")]


class Rule(BaseModel, ABC):
    """What all kinds can be asked; tasks.LabelRule lists them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def labels(self, population: Population) -> pl.DataFrame:
        """One row per user and context: user, context (empty where there is one per user), label; maybe treated."""

    def offers(self, population: Population) -> pl.DataFrame:
        """The rows of `labels` (user, context) with the columns that an instruction may name."""
        return self.labels(population).select("user", "context")

    def words(self, dataset: DatasetSpec) -> list[str]:
        """The columns that an instruction may name, beside who."""
        return []

    def problems(self, dataset: DatasetSpec) -> list[str]:
        """What the rule names that is not there, as lines for people; empty if all is there."""
        return []

    def notes(self, population: Population) -> list[str]:
        """What a reader of the results should know: what was left out or cannot be checked."""
        return []

    def files(self) -> list[Path]:
        """The files that the labels come from, beside the published tables."""
        return []


class AttributeIn(Rule):
    """Users with a filled attribute; positive if its value is one of `values`."""

    rule: Literal["attribute_in"]
    source: Name
    attribute: Name
    values: list[str] = Field(min_length=1)

    def labels(self, population: Population) -> pl.DataFrame:
        rows = population.profile(self.source).filter(pl.col("attribute") == self.attribute)
        return rows.select("user", context=pl.lit(""), label=pl.col("value").is_in(self.values))

    def problems(self, dataset: DatasetSpec) -> list[str]:
        return lacking(dataset, {"source": self.source}, "attributes", self.attribute)


class Occurs(Rule):
    """All users; positive if an event that meets `where` happens within `days`."""

    rule: Literal["occurs"]
    source: Name
    where: str = Field(description="SQL condition on an event's numbers and attributes: \"category = 'coffee'\"")
    days: Days

    def labels(self, population: Population) -> pl.DataFrame:
        found = filtered(population.future(self.source, self.days), self.where)["user"].unique()
        label = population.users.is_in(found.implode())
        return population.users.to_frame("user").with_columns(context=pl.lit(""), label=label)

    def problems(self, dataset: DatasetSpec) -> list[str]:
        return lacking(dataset, {"source": self.source}, "events")


class Responds(Rule):
    """One row per user and offer received soon after the snapshot; positive if a response to it follows.

    `by` is the attribute that names the offer in both sources, and the row's context.
    """

    rule: Literal["responds"]
    offer: Name
    response: Name
    by: Name
    offered_within_days: Days
    days: Days

    def offers(self, population: Population) -> pl.DataFrame:
        """Distinct (user, context) with the offer's attributes, the first of a user's where it came twice."""
        offers = population.future(self.offer, self.offered_within_days).with_columns(context=pl.col(self.by))
        ordered = offers.sort("user", "context", "time", "row")
        return ordered.unique(["user", "context"], keep="first", maintain_order=True)

    def labels(self, population: Population) -> pl.DataFrame:
        responses = population.future(self.response, self.days).select("user", context=pl.col(self.by), answered="time")
        offers = self.offers(population).select("user", "context", "time")
        last = responses.group_by("user", "context").agg(pl.col("answered").max())
        label = (pl.col("answered") >= pl.col("time")).fill_null(False)
        joined = offers.join(last, on=["user", "context"], how="left", maintain_order="left")
        return joined.select("user", "context", label=label)

    def words(self, dataset: DatasetSpec) -> list[str]:
        found = [source for source in dataset.sources if source.name == self.offer]
        return [name for s in found for name in (*s.attributes, *s.columns, *s.key)]

    def problems(self, dataset: DatasetSpec) -> list[str]:
        return lacking(dataset, {"offer": self.offer, "response": self.response}, "events", self.by)


class Ranking(Rule):
    """Users with at least one relevant item; the items of a catalogue are ranked for each.

    With `new_only`, a user's items are those that he or she never had before the snapshot.
    """

    new_only: bool = False

    @abstractmethod
    def catalogue(self, population: Population) -> list[str]:
        """Names of the items that are ranked, ascending."""

    @abstractmethod
    def occasions(self, population: Population, catalogue: list[str], *, future: bool) -> np.ndarray:
        """Distinct times per user and item, float32 [population, items]: before the snapshot, or in the horizon."""

    def texts(self, population: Population) -> list[str]:
        """What each item of the catalogue is in words, in the catalogue's order."""
        return self.catalogue(population)

    def labels(self, population: Population) -> pl.DataFrame:
        """The users who enter the task; their relevant items are in `relevant`."""
        some = pl.Series(np.asarray(self.relevant(population, self.catalogue(population)).any(axis=1)))
        return population.users.filter(some).to_frame("user").with_columns(context=pl.lit(""), label=pl.lit(True))

    def relevant(self, population: Population, catalogue: list[str]) -> np.ndarray:
        """Which items are right for whom, bool [population, items]."""
        happened = self.occasions(population, catalogue, future=True) > 0
        return happened & ~(self.occasions(population, catalogue, future=False) > 0) if self.new_only else happened


class Items(Ranking):
    """An item is a value of `attribute`; it is right for those who have an event with it within `days`.

    The catalogue holds the values that at least `min_users` users had before the snapshot in events that meet `where`.
    """

    rule: Literal["items"]
    source: Name
    attribute: Name
    where: str | None = None
    min_users: int = Field(ge=1)
    days: Days

    def catalogue(self, population: Population) -> list[str]:
        past = population.with_attributes(self.source, population.past(self.source))
        events = filtered(past, self.where) if self.where else past
        support = events.group_by(self.attribute).agg(pl.col("user").n_unique().alias("users"))
        return support.filter(pl.col("users") >= self.min_users)[self.attribute].drop_nulls().sort().to_list()

    def occasions(self, population: Population, catalogue: list[str], *, future: bool) -> np.ndarray:
        if future:
            events = population.future(self.source, self.days)
            events = events.with_columns(position=pl.Series(population.positions(events["user"])))
        else:
            events = population.past(self.source)
        values = population.tables.texts[self.attribute].gather(events["text_id"])
        return occasions_of(events.select("position", "time", item=values), catalogue, population.size)

    def problems(self, dataset: DatasetSpec) -> list[str]:
        return lacking(dataset, {"source": self.source}, "events", self.attribute)


def occasions_of(events: pl.DataFrame, catalogue: list[str], size: int) -> np.ndarray:
    """Distinct times per position and item, float32 [size, items], of events with position, item (a name) and time."""
    counts = np.zeros((size, len(catalogue)), np.float32)
    if not catalogue:
        return counts
    place = pl.col("item").replace_strict(catalogue, range(len(catalogue)), default=-1, return_dtype=pl.Int64)
    times = events.select("position", "time", item=place).filter(pl.col("item") >= 0).unique()
    found = times.group_by("position", "item").len()
    counts[found["position"].to_numpy(), found["item"].to_numpy()] = found["len"].to_numpy()
    return counts


def filtered(events: pl.DataFrame, where: str) -> pl.DataFrame:
    """Events that meet a SQL condition. Raises ConfigError if it does not parse or names an unknown column."""
    try:
        return events.filter(pl.sql_expr(where))
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise ConfigError(f"condition {where!r} cannot be applied: {error}; columns are {events.columns}") from None


def lacking(dataset: DatasetSpec, named: dict[str, str], kind: str, attribute: str | None = None) -> list[str]:
    """What the data set lacks of the sources named in a rule's fields, and of an attribute that each must have."""
    problems = []
    options = {s.name: s for s in dataset.sources if s.kind == kind}
    for field, name in named.items():
        if name not in options:
            problems.append(f"{field} {name!r} is not a source of kind {kind}; those are {list(options)}")
        elif attribute and attribute not in options[name].attributes:
            problems.append(f"source {name!r} has no attribute {attribute!r}; it has {options[name].attributes}")
    return problems
