"""Columns of a team's file, read as what they are meant to be: users, truths, times, texts.

What cannot be read is one error that names file, row and value. Rows are numbered from 1, a CSV header not counted.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import polars as pl

from instructue.errors import DataError, LeakageError

TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# A date alone is its local midnight; without an offset, a time is one of the data set's clock.
LOCAL = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d")
OFFSET = ("%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%:z", "%Y-%m-%d %H:%M%:z")


@dataclass(frozen=True)
class TeamFile:
    """A Parquet or CSV file. Nothing is read before a column is asked for, and the same bytes only once."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def rows(self) -> pl.DataFrame:
        """Raises DataError if the file is not there, of another kind or damaged."""
        if not self.path.is_file():
            raise DataError(f"{self.path} is not there; a relative path starts at the folder of the tasks file")
        stat = self.path.stat()
        return _read(self.path, (stat.st_mtime_ns, stat.st_size))

    def column(self, name: str) -> "Column":
        """Raises DataError if the file has no such column."""
        if name not in self.rows.columns:
            raise DataError(f"{self.path} has no column {name!r}; it has {self.rows.columns}")
        return Column(self, self.rows[name])

    def problems(self, field: str, columns: dict[str, str]) -> list[str]:
        """What is wrong with the file named in a task's `field`, or with its `columns` by field, as lines."""
        try:
            found = self.rows.columns
        except DataError as error:
            return [f"{field}: {error}"]
        hint = "; separate its columns by commas" if len(found) == 1 and any(c in found[0] for c in ";\t|") else ""
        missing = {f: name for f, name in columns.items() if name not in found}
        return [
            f"{f}: {self.path} has no column {name!r}; it has {found}{hint}. Say which one with `{f.split()[0]}:`"
            for f, name in missing.items()
        ]

    def refuse_repeats(self, keys: pl.DataFrame, mend: str) -> None:
        """Raise DataError naming the first two rows with the same keys."""
        repeated = keys.is_duplicated().arg_true()
        if len(repeated):
            first = keys.row(repeated[0], named=True)
            again = next(r for r in repeated[1:] if keys.row(r, named=True) == first)
            said = ", ".join(f"{name} {value!r}" for name, value in first.items() if value != "")
            raise DataError(f"{self.path}: rows {repeated[0] + 1} and {again + 1} are both of {said}; {mend}")


@dataclass(frozen=True)
class Column:
    """One column of a file, as it was read."""

    file: TeamFile
    values: pl.Series

    def texts(self) -> pl.Series:
        """Every value as text, String. A whole number keeps no decimals, so that 7.0 of one file is 7 of another."""
        if self.values.dtype.is_float() and (self.values == self.values.floor()).all():
            words = self.values.cast(pl.Int64, strict=False).cast(pl.String)
        else:
            words = self._words()
        self._refuse(words.is_null() | (words == ""), "it must not be empty; fill it in or remove the row")
        return words

    def users(self, dtype: pl.DataType) -> pl.Series:
        """User ids in the type that the data set has them in."""
        words = self._words()
        found = words.str.replace(r"\.0+$", "").cast(dtype, strict=False) if dtype.is_integer() else words.cast(dtype)
        self._refuse(found.is_null(), "users of this data set are whole numbers; is this the column of users?")
        return found

    def truths(self) -> pl.Series:
        """true/false, 1/0 or yes/no, in any case, as Boolean."""
        words = self._words().str.to_lowercase().str.replace(r"\.0+$", "")
        found = words.replace_strict(TRUTHS, default=None, return_dtype=pl.Boolean)
        self._refuse(found.is_null(), "write true or false, 1 or 0, yes or no")
        return found

    def times(self, timezone: str, *, not_before: datetime | None = None) -> pl.Series:
        """Moments in the data set's time zone, microseconds. Raises LeakageError for one before `not_before`."""
        values = self.values
        if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
            stamps = values.cast(pl.Datetime("us", getattr(values.dtype, "time_zone", None))).to_frame("t")
            found = stamps.select(_zoned(pl.col("t"), values.dtype, timezone))["t"]
        else:
            found = _parsed(self._words(), timezone)
        self._refuse(found.is_null(), "write a time like 2017-10-05, 2017-10-05 13:30 or 2017-10-05T13:30:00+02:00")
        early = pl.Series([], dtype=pl.UInt32) if not_before is None else (found < not_before).arg_true()
        if len(early):
            raise LeakageError(
                f"{self.file.path}, row {early[0] + 1}: {values.name} is {found[early[0]]}, before the evaluation "
                f"snapshot {not_before}, so histories may hold what it labels ({len(early)} such rows); "
                "remove these rows, or set histories.evaluation_snapshot to a day before them"
            )
        return found

    def _words(self) -> pl.Series:
        try:
            return self.values.cast(pl.String).str.strip_chars()
        except pl.exceptions.PolarsError:
            name, dtype = self.values.name, self.values.dtype
            raise DataError(f"{self.file.path}: column {name!r} holds {dtype}; one value a row is needed") from None

    def _refuse(self, wrong: pl.Series, mend: str) -> None:
        rows = wrong.arg_true()
        if len(rows):
            said = "empty" if self.values[rows[0]] in (None, "") else repr(self.values[rows[0]])
            count = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
            raise DataError(f"{self.file.path}, row {rows[0] + 1}: {self.values.name} is {said}{count}; {mend}")


@lru_cache(maxsize=4)
def _read(path: Path, stamp: tuple[int, int]) -> pl.DataFrame:
    """`stamp` is the file's time and size: a file that changed is read again."""
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            return pl.read_parquet(path)
        if path.suffix.lower() == ".csv":
            return pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    raise DataError(f"{path} is neither .parquet nor .csv; export it as one of them")


def _parsed(words: pl.Series, timezone: str) -> pl.Series:
    text = pl.col("t").str.replace("T", " ", literal=True).str.replace(r"Z$", "+00:00")
    local = [_zoned(text.str.to_datetime(f, time_unit="us", strict=False), pl.Datetime("us"), timezone) for f in LOCAL]
    offset = [
        text.str.to_datetime(f, time_unit="us", strict=False, time_zone="UTC").dt.convert_time_zone(timezone)
        for f in OFFSET
    ]
    return words.to_frame("t").select(pl.coalesce(*local, *offset))["t"]


def _zoned(times: pl.Expr, dtype: pl.DataType, timezone: str) -> pl.Expr:
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return times.dt.convert_time_zone(timezone)
    # An hour that the clock skips in spring is the one after it.
    zoned = [t.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null") for t in
             (times, times + pl.duration(hours=1))]  # fmt: skip
    return pl.coalesce(*zoned)
