"""Labels and items from a team's own Parquet and CSV files. docs/tasks.md teaches how to write them.

Every row is checked before anything is judged by it; rows are numbered from 1, a CSV file's header not counted.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field, ValidationInfo, field_validator, model_validator

from instructue.errors import DataError
from instructue.evaluation.columns import TeamFile
from instructue.evaluation.population import Population
from instructue.evaluation.rules import Days, Ranking, Rule, occasions_of
from instructue.sources.spec import DatasetSpec

UNCHECKED = "has no times, so whether its labels came after the snapshot cannot be checked"
File = Field(description="A .parquet or .csv file; a relative path starts at the folder of the tasks file")


class FileLabels(Rule):
    """One row per user, or per user and what `context` columns say; further columns are left alone."""

    rule: Literal["file"]
    path: Path = File
    user: str = "user"
    label: str = Field("label", description="Column of true/false, 1/0 or yes/no")
    time: str | None = Field(None, description="Column of when the label came about; never before the snapshot")
    context: list[str] = Field([], description="Columns that tell a user's rows apart; an instruction may name them")
    treatment: str | None = Field(None, description="Column of whether the user was treated, drawn at random")

    @field_validator("path")
    @classmethod
    def _beside(cls, path: Path, info: ValidationInfo) -> Path:
        return beside(path, info)

    @model_validator(mode="after")
    def _distinct(self) -> "FileLabels":
        named = [c for c in (self.user, self.label, self.time, self.treatment, *self.context) if c is not None]
        if repeated := sorted({c for c in named if named.count(c) > 1}):
            raise ValueError(f"column {repeated[0]!r} is named twice; each serves one purpose")
        if taken := {"who", "user"} & {*self.context} or (len(self.context) > 1 and {"context"} & {*self.context}):
            raise ValueError(f"a context column may not be called {taken}; rename it in the file")
        return self

    def labels(self, population: Population) -> pl.DataFrame:
        """Raises DataError naming file and row of what cannot be read, LeakageError for labels before the snapshot."""
        rows = self._rows(population)
        return rows.select("user", "context", "label", *(["treated"] if self.treatment else []))

    def offers(self, population: Population) -> pl.DataFrame:
        rows, named = self._rows(population), {name: pl.col(f"context {name}") for name in self.context}
        return rows.with_columns(**named).select(*dict.fromkeys(["user", "context", *self.context]))

    def _rows(self, population: Population) -> pl.DataFrame:
        """Checked rows of judged users: user, context, label, treated, and each context column as 'context NAME'."""
        file = TeamFile(self.path)
        named = {f"context {name}": file.column(name).texts() for name in self.context}
        context = pl.concat_str(list(named), separator=" | ") if named else pl.lit("")
        rows = pl.DataFrame(
            {
                "user": file.column(self.user).users(population.users.dtype),
                "label": file.column(self.label).truths(),
                **({"treated": file.column(self.treatment).truths()} if self.treatment else {}),
                **named,
            }
        ).with_columns(context=context)
        if self.time:
            file.column(self.time).times(population.tables.dataset.timezone, not_before=population.snapshot)
        mend = "keep one row each" if named else "keep one row each, or name under `context` what tells them apart"
        file.refuse_repeats(rows.select("user", "context"), mend)
        return rows.filter(pl.col("user").is_in(population.users.implode())).sort("user", "context")

    def words(self, dataset: DatasetSpec) -> list[str]:
        return self.context

    def problems(self, dataset: DatasetSpec) -> list[str]:
        fields = ("user", "label", "time", "treatment")
        named = {f: name for f in fields if (name := getattr(self, f))}
        return TeamFile(self.path).problems("path", named | {f"context {name}": name for name in self.context})

    def notes(self, population: Population) -> list[str]:
        file, kept = TeamFile(self.path), self._rows(population).height
        return [*strangers(file, file.rows.height - kept), *([] if self.time else [f"{file.name} {UNCHECKED}"])]

    def files(self) -> list[Path]:
        return [self.path]


class ItemFile(Ranking):
    """An item is right for the users whom the file gives it; with `time`, for those who have it within `days`.

    The catalogue is the `items` file; with `min_users`, only what so many users had before the snapshot.
    """

    rule: Literal["item_file"]
    path: Path = File
    user: str = "user"
    item: str = Field("item", description="Column of the item's name, in both files")
    time: str | None = Field(None, description="Column of when; rows before the snapshot are the past")
    days: Days | None = None
    items: Path = Field(description="A .parquet or .csv file with one row per item, as path")
    text: str = Field("text", description="Column of the items file: the item in words")
    min_users: int = Field(0, ge=0)

    @field_validator("path", "items")
    @classmethod
    def _beside(cls, path: Path, info: ValidationInfo) -> Path:
        return beside(path, info)

    @model_validator(mode="after")
    def _timed(self) -> "ItemFile":
        if (self.time is None) != (self.days is None):
            raise ValueError("time and days go together: name the column of times and the length of the horizon")
        if self.time is None and (self.new_only or self.min_users):
            raise ValueError("new_only and min_users look at the past, which only a file with times has; name `time`")
        return self

    def catalogue(self, population: Population) -> list[str]:
        items = self._items()["item"].sort().to_list()
        if not self.min_users:
            return items
        support = self._had(population, future=False).group_by("item").agg(pl.col("position").n_unique())
        enough = set(support.filter(pl.col("position") >= self.min_users)["item"])
        return [item for item in items if item in enough]

    def occasions(self, population: Population, catalogue: list[str], *, future: bool) -> np.ndarray:
        return occasions_of(self._had(population, future=future), catalogue, population.size)

    def texts(self, population: Population) -> list[str]:
        items = self._items()
        text = dict(zip(items["item"], items["text"], strict=True))
        return [text[item] for item in self.catalogue(population)]

    def _items(self) -> pl.DataFrame:
        file = TeamFile(self.items)
        rows = pl.DataFrame({"item": file.column(self.item).texts(), "text": file.column(self.text).texts()})
        file.refuse_repeats(rows.select("item"), "keep one row per item")
        return rows

    def _rows(self, population: Population) -> pl.DataFrame:
        """user, item and time (null without times) of every row of the file, checked.

        Raises DataError naming file and row of what cannot be read, or if no item is in the items file.
        """
        file, zone = TeamFile(self.path), population.tables.dataset.timezone
        user, item = file.column(self.user).users(population.users.dtype), file.column(self.item).texts()
        if len(item) and not item.is_in(self._items()["item"].implode()).any():
            raise DataError(
                f"{file.path}: no {self.item!r} of it is in {self.items}; both must write an item's name alike, "
                f"here it is like {item[0]!r}"
            )
        time = file.column(self.time).times(zone) if self.time else None
        return pl.DataFrame({"user": user, "item": item, "time": time})

    def _had(self, population: Population, *, future: bool) -> pl.DataFrame:
        """position, item and time of what judged users had in the horizon, or before the snapshot."""
        rows = self._rows(population).filter(pl.col("user").is_in(population.users.implode()))
        if self.time:
            start, end = pl.lit(population.snapshot), pl.lit(population.snapshot).dt.offset_by(f"{self.days}d")
            rows = rows.filter(
                pl.col("time").is_between(start, end, closed="left") if future else pl.col("time") < start
            )
        elif not future:
            rows = rows.clear()
        position = pl.Series("position", population.positions(rows["user"]), pl.Int64)
        return rows.select("item", "time").with_columns(position)

    def problems(self, dataset: DatasetSpec) -> list[str]:
        named = {f: name for f in ("user", "item", "time") if (name := getattr(self, f))}
        items = TeamFile(self.items).problems("items", {"item": self.item, "text": self.text})
        return TeamFile(self.path).problems("path", named) + items

    def notes(self, population: Population) -> list[str]:
        file, rows = TeamFile(self.path), self._rows(population)
        unknown = rows.filter(~pl.col("item").is_in(self._items()["item"].implode()))
        found = strangers(file, rows.filter(~pl.col("user").is_in(population.users.implode())).height)
        if unknown.height:
            found.append(
                f"{file.name}: {unknown['item'].n_unique()} items of it are not in {self.items.name}; "
                f"{unknown.height} of {rows.height} rows left out"
            )
        return [*found, *([] if self.time else [f"{file.name} {UNCHECKED}; nothing is known of the past"])]

    def files(self) -> list[Path]:
        return [self.path, self.items]


def beside(path: Path, info: ValidationInfo) -> Path:
    """The path as seen from the folder of the tasks file, which the validation's context tells."""
    return Path((info.context or {}).get("folder", "")) / path


def strangers(file: TeamFile, count: int) -> list[str]:
    """What to say of rows that belong to users who are not judged."""
    if not count:
        return []
    return [f"{file.name}: {count} of {file.rows.height} rows are of users who are not judged; left out"]
