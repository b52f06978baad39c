"""What a person wants to see of a data set before training, computed from its rows as read, not yet validated."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from instructue.sources.events import tidy
from instructue.sources.readers import Reader
from instructue.sources.spec import DatasetSpec, SourceSpec
from instructue.sources.values import MISSING

EXAMPLES = 8
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class SourceFigures:
    """Figures of one source. months: (year-month, events); missing: column -> share of rows without a value, in [0, 1];
    lengths: quantiles SHARES of events per user; numbers: column -> (least, median, largest)."""

    name: str
    title: str
    kind: str
    rows: int
    users: int
    distinct_texts: int
    first: str | None
    last: str | None
    outside: int
    missing: dict[str, float]
    numbers: dict[str, tuple[float, float, float]]
    months: list[tuple[str, int]]
    texts: list[tuple[str, int]]
    lengths: list[float]


@dataclass(frozen=True)
class Figures:
    """Figures of a data set. histogram: (fewest, most, users) of users by the events of all sources together."""

    name: str
    title: str
    timezone: str
    start: str
    end: str
    users: int
    events: int
    sources: list[SourceFigures]
    lengths: list[float]
    histogram: list[tuple[int, int, int]]


def describe(dataset: DatasetSpec, folder: Path) -> Figures:
    """Read every source once and count. Raises as Reader.rows."""
    sources, counts = [], []
    with Reader(dataset, folder) as reader:
        for source in dataset.sources:
            events, texts = tidy(dataset, source, reader.rows(source))
            sources.append(_source(dataset, source, events, texts))
            if source.kind == "events":
                counts.append(events.drop_nulls("user").group_by("user").agg(pl.len().alias("n")))
    each = pl.concat(counts).group_by("user").agg(pl.col("n").sum())["n"]
    return Figures(
        dataset.name, dataset.title, dataset.timezone, dataset.start, dataset.end, len(each), int(each.sum()),
        sources, quantiles(each), doubling(each),
    )  # fmt: skip


def quantiles(values: pl.Series) -> list[float]:
    """Quantiles SHARES of some numbers; none of no numbers."""
    return [float(values.quantile(s, "nearest") or 0) for s in SHARES] if len(values) else []


def doubling(values: pl.Series) -> list[tuple[int, int, int]]:
    """How many values lie in 1, 2 to 3, 4 to 7, 8 to 15, ...: (from, to, how many), up to the largest."""
    if not len(values):
        return []
    steps = values.cast(pl.Float64).log(2).floor().cast(pl.Int64)
    many = dict(steps.value_counts().rows())
    return [(2**s, 2 ** (s + 1) - 1, many.get(s, 0)) for s in range(int(steps.max()) + 1)]  # type: ignore[arg-type]


def _source(dataset: DatasetSpec, source: SourceSpec, events: pl.DataFrame, texts: pl.DataFrame) -> SourceFigures:
    each = events.drop_nulls("user").group_by("user").agg(pl.len().alias("n"))["n"]
    on = ["attribute", "value"] if source.kind == "attributes" else source.attributes
    often = events.group_by(on).agg(pl.len().alias("n")).join(texts, on=on)
    top = often.sort(["n", "text"], descending=[True, False]).select("text", "n").head(EXAMPLES)
    first, last, outside, months = _times(dataset, source, events) if source.kind == "events" else (None, None, 0, [])
    return SourceFigures(
        source.name, source.title, source.kind, events.height, len(each), texts.height, first, last, outside,
        _missing(source, events), _numbers(source, events), months, top.rows(), quantiles(each),
    )  # fmt: skip


def _times(
    dataset: DatasetSpec, source: SourceSpec, events: pl.DataFrame
) -> tuple[str | None, str | None, int, list[tuple[str, int]]]:
    days = events["time"].drop_nulls().dt.date()
    if not len(days):
        return None, None, 0, []
    start, end = date.fromisoformat(source.not_before or dataset.start), date.fromisoformat(dataset.end)
    inside = days.is_between(start, end, closed="left")
    per = days.to_frame("day").group_by(pl.col("day").dt.truncate("1mo").alias("month")).agg(pl.len().alias("n"))
    # Months without an event show as gaps.
    whole = pl.date_range(per["month"].min(), per["month"].max(), "1mo", eager=True).alias("month").to_frame()  # type: ignore[arg-type]
    months = whole.join(per, on="month", how="left").with_columns(pl.col("n").fill_null(0)).sort("month")
    named = months.select(pl.col("month").dt.strftime("%Y-%m"), "n").rows()
    return str(days.min()), str(days.max()), int((~inside).sum()), named


def _missing(source: SourceSpec, events: pl.DataFrame) -> dict[str, float]:
    if not events.height:
        return {}
    if source.kind == "attributes":
        filled = events.group_by("attribute").agg(pl.col("user").n_unique().alias("n"))
        users = max(1, events["user"].n_unique())
        found = dict(filled.rows())
        return {a: 1 - found.get(a, 0) / users for a in source.attributes}
    columns = ["user", "time", *source.columns]
    empty = {c: events[c].null_count() / events.height for c in columns}
    return empty | {a: float((events[a] == MISSING).mean() or 0) for a in source.attributes}  # type: ignore[arg-type]


def _numbers(source: SourceSpec, events: pl.DataFrame) -> dict[str, tuple[float, float, float]]:
    found = {}
    for name in source.columns if source.kind == "events" else []:
        values = events[name].drop_nulls().drop_nans()
        if len(values):
            found[name] = (float(values.min()), float(values.median()), float(values.max()))  # type: ignore[arg-type]
    return found
