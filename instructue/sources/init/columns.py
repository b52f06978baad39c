"""What a column seems to be: kind, how full, how many values; and whether its values are moments, keys or words."""

import re
from dataclasses import dataclass
from datetime import datetime

import polars as pl

SAMPLE = 50_000  # rows looked at per table
MOMENTS = (datetime(1985, 1, 1).timestamp(), datetime(2040, 1, 1).timestamp())
SCALES = ((1, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds"))
WRITTEN = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M",
           "%m/%d/%Y %H:%M", "%Y/%m/%d %H:%M:%S", "%Y%m%dT%H%M%S", "%Y%m%d%H%M%S", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y",
           "%Y%m%d", "%b %d, %Y", "%d %b %Y")  # fmt: skip
TIME_NAME = re.compile(r"(^|_)(time|timestamp|ts|date|datetime|at|on|when|day|moment|created|ordered|occurred)(_|$)")
LATER = re.compile(r"update|modif|end|expir|delet|birth|deliver|ship|due|last")
USER_NAME = re.compile(r"(^|_)(user|customer|client|member|account|household|person|visitor|patient|subscriber|buyer|"
                       r"guest|player|student|reader|uid|cust|holder)s?(_|$)")  # fmt: skip
ID_NAME = re.compile(r"(^|_)(id|ids|uid|uuid|guid|key|no|nr|number|num|code|sku|upc|ean|hash)$")
AMOUNT_NAME = re.compile(
    r"(^|_)(amount|price|total|value|cost|revenue|paid|payment|spend|spent|sales|sum|fee|charge)(_|$)"
)
PERSONAL = re.compile(
    r"e?mail|phone|mobile|(first|last|sur|full|family)_?name|address|street|iban|passport|ssn|birth|(^|_)ip(_|$)"
)
LINK = re.compile(r"^(https?://|www\.)")


def snake(name: str) -> str:
    """A column's or file's name as we write names: 'movieId' -> 'movie_id'."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    plain = re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")
    return plain if re.match(r"[a-z]", plain) else f"c_{plain}"


@dataclass
class Column:
    """One column of a table's first rows. `kind` is number, text, truth, moment or other."""

    name: str
    kind: str
    values: pl.Series
    filled: float
    distinct: int

    @property
    def called(self) -> str:
        return snake(self.name)

    @property
    def whole(self) -> bool:
        """Whether all its numbers are whole."""
        return self.kind == "number" and bool((self.values.drop_nulls() % 1 == 0).all())

    @property
    def length(self) -> float:
        """Letters per text, on average."""
        return float(self.values.str.len_chars().mean() or 0) if self.kind == "text" else 0.0  # type: ignore[arg-type]

    @property
    def identifies(self) -> bool:
        """Whether it names things rather than says or measures something: by its name, or codes without spaces."""
        if ID_NAME.search(self.called):
            return self.kind in {"number", "text"}
        if self.kind != "text" or self.distinct < 0.9 * max(1, self.values.len()):
            return False
        return self.length >= 8 and not self.values.drop_nulls().str.contains(r"\s").any()

    def left_out(self) -> str | None:
        """Why a column is of no use in a text; None if it may be used."""
        if PERSONAL.search(self.called):
            return "personal data"
        if self.filled < 0.02:
            return "almost never filled"
        if self.distinct <= 1:
            return "always the same"
        if self.kind == "text" and self.values.drop_nulls().head(50).str.contains(LINK.pattern).any():
            return "links"
        return "a kind that no text is made of" if self.kind == "other" else None


def look(name: str, values: pl.Series) -> Column:
    """Describe one column from its first rows."""
    dtype = values.dtype
    if dtype.is_decimal():
        values = values.cast(pl.Float64)
    kind = "number" if dtype.is_numeric() else "text" if dtype in (pl.String, pl.Categorical, pl.Enum) else (
        "truth" if dtype == pl.Boolean else "moment" if dtype in (pl.Date, pl.Datetime) else "other"
    )  # fmt: skip
    distinct = 0 if kind == "other" else values.drop_nulls().n_unique()
    return Column(name, kind, values, 1 - values.null_count() / max(1, len(values)), distinct)


@dataclass(frozen=True)
class Moment:
    """How a column is read as a time: `sql` over the column, by which clock, and why it is taken for one."""

    sql: str
    clock: str
    reason: str
    score: float


def as_moment(column: Column, sql: str) -> Moment | None:
    """How to read a column as a time, or None if it holds none; `sql` is the column in SQL."""
    named = bool(TIME_NAME.search(column.called))
    score = 2.0 * named + column.filled - 1.5 * bool(LATER.search(column.called))
    values = column.values.drop_nulls()
    if not len(values):
        return None
    if column.kind == "moment":
        if getattr(values.dtype, "time_zone", None):
            return Moment(f"timezone('UTC', {sql})", "utc", "stamps with a zone", score + 2)
        if values.dtype == pl.Date:
            return Moment(sql, "local", "dates without a time of day", score + 1)
        return Moment(sql, "local", "stamps without a zone, taken to be of the local clock: see timezone", score + 2)
    if column.kind == "number" and named:
        return _from_number(values, sql, score)
    return _from_text(values, sql, score) if column.kind == "text" else None


def _from_number(values: pl.Series, sql: str, score: float) -> Moment | None:
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    for scale, unit in SCALES:
        if MOMENTS[0] * scale <= low and high <= MOMENTS[1] * scale:
            said = f"whole numbers that are {unit} since 1970"
            return Moment(f"make_timestamp(({sql} * {int(1e6 / scale)})::bigint)", "utc", said, score)
    if low >= 19850101 and high <= 20401231:
        return Moment(f"strptime({sql}::bigint::varchar, '%Y%m%d')", "local", "numbers like 20240131", score)
    return None


def _from_text(values: pl.Series, sql: str, score: float) -> Moment | None:
    few = values.head(2000)
    if few.head(20).str.contains(r"\d").sum() < min(20, len(few)):
        return None
    fits = [form for form in WRITTEN if _parses(few, form)]
    if not fits:
        iso = (
            few.str.to_datetime(strict=False, time_zone="UTC") if few.str.contains(r"^\d{4}-\d\d-\d\d").all() else None
        )
        if iso is None or iso.null_count():
            return None
        zoned = bool(few.str.contains(r"(Z|[+-]\d\d:?\d\d)$").any())
        cast = f"timezone('UTC', {sql}::timestamptz)" if zoned else f"{sql}::timestamp"
        return Moment(cast, "utc" if zoned else "local", "texts like " + repr(few[0]), score)
    said = f"texts like {few[0]!r}, read as {fits[0]!r}"
    if len(fits) > 1:
        said += f"; {fits[1]!r} fits as well: CHECK which of day and month comes first"
    return Moment(f"strptime({sql}, '{fits[0]}')", "local", said, score)


def _parses(values: pl.Series, form: str) -> bool:
    dated = values.str.to_datetime(form, strict=False) if "%H" in form else values.str.to_date(form, strict=False)
    return dated.null_count() == 0
