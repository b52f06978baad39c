"""A source is a row of data: one pydantic model describes any of them, read from datasets/*.yaml."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from instructue.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Range(_Spec):
    """Inclusive bounds for a numeric column; None leaves a side open."""

    min: float | None = None
    max: float | None = None


class SourceSpec(_Spec):
    """One source of one data set: where its rows lie, which column is what, how an event reads as text."""

    name: Name
    kind: Literal["events", "attributes"] = Field("events", description="A stream with times, or one row per user")
    title: str = Field(description="Noun phrase for people: 'purchases at the till'")
    event: str = Field(description="Singular noun of one event, as used in questions: 'purchase'")
    file: str = Field(description="The table whose row numbers trace an event back to its origin")
    query: str = Field(description="DuckDB SQL over the data set's tables; local(ts) turns a UTC stamp into local time")
    stamped_in: Literal["utc", "local"] = Field("utc", description="What clock the time column was written by")
    key: list[str] = Field(description="Columns that together name a row; must be unique")
    amount: Range | None = Field(None, description="Bounds of the amount column; None when there is none")
    numbers: dict[Name, Range] = Field({}, description="Further numeric columns and their bounds")
    attributes: list[Name] = Field(description="Text columns that make up the event's text")
    maps: dict[Name, dict[str, str]] = Field({}, description="Attribute -> code -> words")
    text: str = Field(description="Template over attributes, e.g. '{category}, {type}'")
    not_before: str | None = Field(None, description="Earliest plausible local date, if other than the data set's start")

    @model_validator(mode="after")
    def _consistent(self) -> "SourceSpec":
        for name in self.maps:
            if name not in self.attributes:
                raise ValueError(f"maps names {name!r}, which is not among attributes {self.attributes}")
        return self

    @property
    def columns(self) -> list[str]:
        """Numeric columns that enter the model beside the text: amount first, if any, then numbers."""
        return (["amount"] if self.amount else []) + list(self.numbers)


class FactSpec(_Spec):
    """One kind of fact to ask about: a row of data read by instructue.userqa.facts."""

    name: Name
    shape: Literal["occurs", "any", "change", "count", "top", "new", "when", "habit", "absent"]
    source: Name
    attribute: Name | None = Field(None, description="The attribute whose values are asked about")
    where: str | None = Field(None, description="Polars SQL condition on the event, e.g. 'coupon > 0'")
    measure: str | None = Field(None, description="'count' or a numeric column, for change and count")
    days: int = Field(28, ge=1, le=366, description="Length of the horizon in days")
    ask: str = Field(description="Template of the instruction; {value} and {days} may appear")
    yes: str = Field(description="Template of the answer, or of its positive form")
    no: str | None = Field(None, description="Template of the negative form, for yes/no shapes")


class DatasetSpec(_Spec):
    """A described data set: its tables, its clock, its sources, the facts to ask about."""

    name: Name
    title: str
    package: str | None = Field(None, description="Python package that carries the files")
    folder: str = Field("", description="Folder of the files, inside the package or absolute")
    timezone: str = Field("UTC", description="IANA name of the local clock")
    start: str = Field(description="First local date that an event may have")
    end: str = Field(description="First local date that no event may have")
    user: str = Field(description="Column that names the user in every query")
    who: str = Field("user", description="Noun for one user in questions: 'household'")
    tables: dict[Name, str] = Field(description="Table name -> Parquet file")
    sources: list[SourceSpec]
    facts: list[FactSpec] = []

    @model_validator(mode="after")
    def _consistent(self) -> "DatasetSpec":
        names = [s.name for s in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"source names must be unique, got {names}")
        for source in self.sources:
            if source.file not in self.tables:
                raise ValueError(f"source {source.name!r}: file {source.file!r} is not among tables {list(self.tables)}")
        for fact in self.facts:
            if fact.source not in names:
                raise ValueError(f"fact {fact.name!r}: unknown source {fact.source!r}; known: {names}")
        return self

    @property
    def event_sources(self) -> list[SourceSpec]:
        return [s for s in self.sources if s.kind == "events"]

    @property
    def attribute_sources(self) -> list[SourceSpec]:
        return [s for s in self.sources if s.kind == "attributes"]

    def source(self, name: str) -> SourceSpec:
        """The source called `name`; raises ConfigError if there is none."""
        for source in self.sources:
            if source.name == name:
                return source
        raise ConfigError(f"data set {self.name!r} has no source {name!r}; it has {[s.name for s in self.sources]}")


def load_dataset(name_or_path: str) -> DatasetSpec:
    """Read a described data set: one of ours by name, or a team's own YAML file by path.

    Raises ConfigError naming the file and each wrong field.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = Path(__file__).parent.parent / "datasets" / f"{name_or_path}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in (Path(__file__).parent.parent / "datasets").glob("*.yaml"))
        raise ConfigError(f"no data set description at {path}; known by name: {known}, or give a path to a .yaml file")
    try:
        return DatasetSpec.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
