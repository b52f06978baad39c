"""A source is a row of data: one pydantic model describes any of them, read from datasets/*.yaml."""

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    ValidationError,
    model_validator,
)

from instructue.errors import ConfigError
from instructue.sources.table_spec import TableSpec, check_place
from instructue.sources.yaml_lines import explain, line_of

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
# A path alone, or a path with how to read it; told apart first, so that an error speaks of the one that was meant.
Place = Annotated[
    Annotated[str, AfterValidator(check_place), Tag("path")] | Annotated[TableSpec, Tag("mapping")],
    Discriminator(lambda raw: "path" if isinstance(raw, str) else "mapping"),
]


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
    not_before: str | None = Field(
        None, description="Earliest plausible local date, if other than the data set's start"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SourceSpec":
        for name in self.maps:
            if name not in self.attributes:
                raise ValueError(f"maps names {name!r}, which is not among attributes {self.attributes}")
        slots = ["attribute", "value"] if self.kind == "attributes" else self.attributes
        if odd := sorted(set(re.findall(r"\{([^{}]*)\}", self.text)) - set(slots)):
            raise ValueError(f"text names {odd}, which are not among {slots}")
        if self.kind == "attributes" and self.columns:
            raise ValueError("an attribute table takes neither amount nor numbers; name such a column in attributes")
        return self

    @property
    def columns(self) -> list[str]:
        """Numeric columns that enter the model beside the text: amount first, if any, then numbers."""
        return (["amount"] if self.amount else []) + list(self.numbers)


class FactSpec(_Spec):
    """One kind of fact to ask about: a row of data read by instructue.userqa.facts.

    Templates may hold {who} (the data set's noun for a user), {span} (the window in words), {value} (what is
    asked about, for shapes with an attribute and a yes or no) and {answer} (what was true, for the others).
    """

    name: Name
    shape: Literal["occurs", "new", "absent", "any", "follows", "change", "share", "count", "when", "top", "is"]
    about: Literal["horizon", "history"] = Field("horizon", description="Which side of the snapshot the fact lies on")
    source: Name
    attribute: Name | None = Field(None, description="The attribute whose values are asked about or answered with")
    where: str | None = Field(None, description="SQL condition on an event's numbers and attributes: 'coupon > 0'")
    measure: str = Field("count", description="'count' of events, or the numeric column to sum")
    mean: bool = Field(False, description="count: the measure per event in place of its sum")
    days: int | None = Field(28, ge=1, le=366, description="Length of the window; null takes the whole history")
    at_least: int = Field(1, ge=1, description="Events that make a yes; for open answers, events needed to have one")
    then: Name | None = Field(None, description="follows: the source whose event answers one of `source`")
    match: Name | None = Field(None, description="follows: the attribute that both sources share")
    rank: Literal["count", "telling"] = Field(
        "count", description="top: by measure, or by measure x rarity among users"
    )
    fresh: bool = Field(False, description="top: only values that the history lacks")
    size: int = Field(3, ge=1, le=5, description="top: longest list")
    bounds: list[float] = Field([], description="change, share, count: ascending limits between the words")
    words: list[str] = Field([], description="change, share, count: what {answer} says, one more than bounds")
    skip: list[str] = Field([], description="Values that mean nothing and are never asked about")
    ask: str = Field(description="Template of the instruction")
    also: list[str] = Field([], description="Other ways to put it, which the teacher words too")
    answer: str = Field(description="Template of the answer, or of its positive form")
    otherwise: str | None = Field(None, description="Template of the negative form, for yes/no shapes")

    @property
    def binary(self) -> bool:
        """Whether the answer is yes or no."""
        return self.shape in {"occurs", "new", "absent", "any", "follows"}

    @property
    def slot(self) -> bool:
        """Whether the instruction asks about one value of the attribute."""
        return self.binary and self.shape != "any"

    @model_validator(mode="after")
    def _complete(self) -> "FactSpec":
        problem = next((text for wrong, text in self._problems() if wrong), None)
        if problem:
            raise ValueError(f"fact {self.name!r} ({self.shape}): {problem}")
        return self

    def _problems(self) -> list[tuple[bool, str]]:
        bucketed = self.shape in {"change", "share", "count"}
        texts = [self.ask, self.answer, self.otherwise or ""]
        slots = {slot for text in texts for slot in re.findall(r"{(\w*)}", text)}
        inner = "{value}" if self.slot else "{answer}"
        needs_slot = texts if self.slot else [] if self.binary else [self.answer]
        ahead = self.shape in {"new", "follows", "change"} or self.fresh
        return [
            (self.binary != (self.otherwise is not None), "a yes/no shape needs `otherwise`, another must not have it"),
            (self.shape not in {"any", "share", "count", "change"} and self.attribute is None, "needs an attribute"),
            (bucketed and len(self.words) != len(self.bounds) + 1, "needs one word more than bounds"),
            (not bucketed and bool(self.words or self.bounds), "takes neither bounds nor words"),
            (sorted(set(self.bounds)) != self.bounds, f"bounds must ascend, got {self.bounds}"),
            (self.shape == "share" and self.where is None, "needs `where`: the share of what?"),
            ((self.shape == "follows") != (self.then is not None), "`then` is for follows"),
            ((self.shape == "follows") != (self.match is not None), "`match` is for follows"),
            (ahead and self.about != "horizon", "is about the horizon"),
            (self.shape == "absent" and self.about != "history", "is about the history's last days"),
            (self.shape == "absent" and self.days is None, "needs the history's last days"),
            (self.about == "horizon" and self.days is None, "a horizon needs days"),
            (self.shape == "is" and (self.about, self.days) != ("history", None), "needs `about: history, days: null`"),
            (self.shape == "is" and (self.where is not None or self.measure != "count"), "takes no where or measure"),
            (not slots <= {"who", "span", "value", "answer"}, f"unknown slots in {sorted(slots)}"),
            (any(inner not in text for text in needs_slot), f"every template that needs it must hold {inner}"),
        ]


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
    tables: dict[Name, Place] = Field(description="Table name -> file, glob or folder, or a mapping that says more")
    sources: list[SourceSpec]
    facts: list[FactSpec] = []
    synonyms: list[list[str]] = Field([], description="Phrases of a line mean the same in questions and answers")
    _file: Path | None = PrivateAttr(None)  # the description's own, if it was read from one

    @model_validator(mode="after")
    def _consistent(self) -> "DatasetSpec":
        names = [s.name for s in self.sources]
        _check_clock(self.timezone, self.start, self.end)
        for table in self.tables:
            if table in {"row", "user", "time"}:
                raise ValueError(f"table {table!r} has the name of a column that we make; call it otherwise")
        if len(set(names)) != len(names):
            raise ValueError(f"source names must be unique, got {names}")
        for source in self.sources:
            if source.file not in self.tables:
                raise ValueError(
                    f"source {source.name!r}: file {source.file!r} is not among tables {list(self.tables)}"
                )
        for fact in self.facts:
            if fact.source not in names:
                raise ValueError(f"fact {fact.name!r}: unknown source {fact.source!r}; known: {names}")
        if not self.event_sources:
            raise ValueError("at least one source must be of kind events")
        return self

    def table(self, name: str) -> TableSpec:
        """How table `name` is read."""
        place = self.tables[name]
        return TableSpec(file=place) if isinstance(place, str) else place

    def at(self, *where: str | int) -> str:
        """'FILE, line N' of a field of the description, for errors; its name if it was read from no file."""
        if self._file is None:
            return f"data set {self.name!r}"
        return f"{self._file}, line {line_of(self._file.read_text(encoding='utf-8'), where)}"

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
        known = sorted(p.stem for p in (Path(__file__).parent.parent / "datasets").glob("*.yaml") if "." not in p.stem)
        raise ConfigError(f"no data set description at {path}; known by name: {known}, or give a path to a .yaml file")
    return read_dataset(path)


def read_dataset(path: Path) -> DatasetSpec:
    """The description in one file; a relative `folder` starts at the file's own. Raises ConfigError as load_dataset."""
    try:
        text = path.read_text(encoding="utf-8")
        raw: Any = yaml.safe_load(text)
        spec = DatasetSpec.model_validate(raw)
    except ValidationError as error:
        lines = explain(error, text, DatasetSpec)
        raise ConfigError(f"{path} is not a valid data set description:\n" + "\n".join(lines)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if spec.package is None:
        spec = spec.model_copy(update={"folder": str(path.parent / spec.folder)})
    spec._file = path
    return spec


def _check_clock(zone: str, start: str, end: str) -> None:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"timezone {zone!r} is not known; give an IANA name such as Europe/Berlin, or UTC") from None
    try:
        ordered = date.fromisoformat(start) < date.fromisoformat(end)
    except ValueError as error:
        raise ValueError(f"start and end are dates such as 2024-01-31: {error}") from None
    if not ordered:
        raise ValueError(f"start {start} must lie before end {end}")
