"""From a caller's columns to a published table: numbers checked, texts found in the dictionary or added to it."""

from datetime import datetime

import polars as pl

from instructue.errors import DataError
from instructue.sources.events import tidy
from instructue.sources.spec import DatasetSpec, SourceSpec


class Texts:
    """The dictionary of event texts (see sources.tables.Tables), which grows by what it does not hold yet."""

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table

    def of(self, source: SourceSpec) -> pl.DataFrame:
        return self.table.filter(pl.col("source") == source.name)

    def numbered(self, source: SourceSpec, events: pl.DataFrame, own: pl.DataFrame, on: list[str]) -> pl.DataFrame:
        """The events with text_id in place of the columns `on`; `own` holds their texts, one row per distinct `on`."""
        # A text may stand for several rows of attributes; by its words alone the first is taken.
        known = self.of(source).unique(subset=on, keep="first", maintain_order=True)
        new = own.join(known, on=on, how="anti").sort(on).with_columns(source=pl.lit(source.name))
        start = self.table.height
        added = new.with_row_index("text_id", offset=start).with_columns(pl.col("text_id").cast(pl.UInt32))
        self.table = pl.concat([self.table, added], how="diagonal_relaxed")
        everything = pl.concat([known, added], how="diagonal_relaxed").select("text_id", *on)
        kept = [name for name in on if name != "attribute"]
        return events.join(everything, on=on, how="left", maintain_order="left").drop(kept)


def described(dataset: DatasetSpec, source: SourceSpec, frame: pl.DataFrame, texts: Texts) -> pl.DataFrame:
    """One source's given table as published: user, then time and numbers or attribute, then text_id.

    Raises DataError naming source, row and column.
    """
    if source.kind == "attributes":
        return _attributes(dataset, source, frame, texts)
    frame = _with_numbers(source, frame)
    if "text_id" in frame.columns:
        return _by_id(source, frame, texts)
    if set(source.attributes) <= set(frame.columns):
        # Keys trace an event to its origin and reach no vector; the clock was set before.
        absent = [pl.lit(None).alias(key) for key in source.key if key not in frame.columns]
        stamp = pl.lit(datetime(2000, 1, 1)).alias("time")
        events, own = tidy(dataset, source, frame.with_columns(stamp, *absent))
        return texts.numbered(source, events.with_columns(frame["time"]), own, source.attributes)
    return _by_text(source, frame, texts)


def refuse(source: str, frame: pl.DataFrame, wrong: pl.Series, column: str, says: str) -> None:
    """Raise DataError naming the first row where `wrong` is true, if any."""
    if len(places := wrong.arg_true()):
        place = int(places[0])
        raise DataError(f"source {source!r}, row {frame['row'][place]}: {column} {frame[column][place]!r} {says}")


def _with_numbers(source: SourceSpec, frame: pl.DataFrame) -> pl.DataFrame:
    for column in source.columns:
        if column not in frame.columns:
            raise DataError(f"source {source.name!r} has no column {column!r}; its numbers are {source.columns}")
        cast = frame[column].cast(pl.Float64, strict=False)
        refuse(source.name, frame, ~cast.is_finite().fill_null(False), column, "is no number")
        frame = frame.with_columns(cast)
    return frame


def _by_id(source: SourceSpec, frame: pl.DataFrame, texts: Texts) -> pl.DataFrame:
    known = frame["text_id"].is_in(texts.of(source)["text_id"].implode()).fill_null(False)
    refuse(source.name, frame, ~known, "text_id", "is none of its texts")
    return frame


def _by_text(source: SourceSpec, frame: pl.DataFrame, texts: Texts) -> pl.DataFrame:
    if "text" not in frame.columns:
        instead = sorted(set(source.attributes) - set(frame.columns))
        raise DataError(f"source {source.name!r} has neither a column 'text' nor its columns {instead}")
    frame = frame.with_columns(pl.col("text").cast(pl.String))
    refuse(source.name, frame, frame["text"].str.strip_chars().fill_null("") == "", "text", "is empty")
    on = ["attribute", "text"] if source.kind == "attributes" else ["text"]
    return texts.numbered(source, frame, frame.select(on).unique(), on)


def _attributes(dataset: DatasetSpec, source: SourceSpec, frame: pl.DataFrame, texts: Texts) -> pl.DataFrame:
    """From a row per user (its attributes as columns) or a row per user and attribute (text or text_id)."""
    if "attribute" not in frame.columns:
        there = [name for name in source.attributes if name in frame.columns]
        if not there:
            raise DataError(f"source {source.name!r} has none of its columns {source.attributes}")
        absent = [pl.lit(None, dtype=pl.String).alias(name) for name in source.attributes if name not in there]
        long, own = tidy(dataset, source, frame.with_columns(absent))
        events = texts.numbered(source, long, own, ["attribute", "value"])
    else:
        strange = ~frame["attribute"].is_in(source.attributes).fill_null(False)
        refuse(source.name, frame, strange, "attribute", f"is none of {source.attributes}")
        events = _by_id(source, frame, texts) if "text_id" in frame.columns else _by_text(source, frame, texts)
    twice = events.select(pl.struct("user", "attribute").is_duplicated()).to_series()
    refuse(source.name, events, twice, "attribute", "is given twice for one user")
    return events
