"""From rows as read to one tidy table per source and one dictionary of unique event texts.

A tidy event table has: row (number in the origin file), user, time (zone-aware, microseconds),
text_id, amount if the source has one, its further numbers, and its key columns.
An attribute table becomes rows without a time: row, user, attribute, text_id; one per user and filled attribute.
"""

import re

import polars as pl

from instructue.sources.spec import DatasetSpec, SourceSpec
from instructue.sources.values import MISSING, shown


def stable_sample(users: pl.Series, keep: int, seed: int = 0) -> pl.Series:
    """At most `keep` distinct users, chosen by a hash that does not depend on order or platform; 0 keeps all."""
    distinct = users.drop_nulls().unique().sort()
    if keep == 0:
        return distinct
    mixed = ((distinct.reinterpret(signed=False) + seed) * 2654435761 % 4294967296).alias("h")
    return distinct.to_frame("user").with_columns(mixed).sort("h", "user").head(keep)["user"]


def tidy(dataset: DatasetSpec, source: SourceSpec, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One source's tidy table and its texts.

    Returns (events, texts): events as in the module's head but with the text's attributes in place of
    text_id; texts with columns source, text and the source's attributes, one row per distinct tuple.
    """
    if source.kind == "attributes":
        return _tidy_attributes(source, rows)
    mapped = [_mapped(source, name) for name in source.attributes]
    time = pl.col("time").cast(pl.Datetime("us"))
    if source.stamped_in == "utc":
        time = time.dt.replace_time_zone("UTC").dt.convert_time_zone(dataset.timezone)
    else:
        time = time.dt.replace_time_zone(dataset.timezone, ambiguous="earliest", non_existent="null")
    numbers = [pl.col(name).cast(pl.Float64) for name in source.columns]
    keys = [pl.col(name) for name in source.key if name not in {"time", "user", dataset.user, *source.attributes}]
    events = rows.select(pl.col("row").cast(pl.UInt32), "user", time.alias("time"), *numbers, *keys, *mapped)
    texts = events.select(source.attributes).unique().with_columns(_render(source).alias("text"))
    return events, texts.with_columns(pl.lit(source.name).alias("source"))


def _tidy_attributes(source: SourceSpec, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    long = (
        rows.select(pl.col("row").cast(pl.UInt32), "user", *[pl.col(a).cast(pl.String) for a in source.attributes])
        .unpivot(index=["row", "user"], variable_name="attribute", value_name="value")
        .drop_nulls("value")
    )
    words = pl.col("attribute").str.replace_all("_", " ")
    text = pl.format(_format_string(source.text), words, pl.col("value"))
    texts = (
        long.select("attribute", "value").unique().with_columns(text.alias("text"), pl.lit(source.name).alias("source"))
    )
    return long, texts


def _mapped(source: SourceSpec, name: str) -> pl.Expr:
    column = pl.col(name).cast(pl.String)
    if name in source.maps:
        # An unlisted code keeps its own text, so that nothing is lost and validation can name it.
        column = column.replace(source.maps[name])
    return column.fill_null(MISSING).alias(name)


def _format_string(template: str) -> str:
    return re.sub(r"\{(\w+)\}", "{}", template)


def _render(source: SourceSpec) -> pl.Expr:
    return pl.format(_format_string(source.text), *[pl.col(name) for name in shown(source)])


def number_texts(texts: list[pl.DataFrame]) -> pl.DataFrame:
    """All sources' texts in one dictionary with text_id 0..n-1, in an order that only depends on their content."""
    union = pl.concat(texts, how="diagonal")
    attributes = sorted(set(union.columns) - {"source", "text"})
    ordered = union.select("source", "text", *attributes).sort("source", "text", *attributes, nulls_last=True)
    return ordered.with_row_index("text_id")


def text_columns(source: SourceSpec) -> list[str]:
    """The columns that tell one of a source's texts from another."""
    return ["attribute", "value"] if source.kind == "attributes" else source.attributes


def sorted_by(source: SourceSpec) -> list[str]:
    """The order of a source's table; rows that are equal in it stay as they were read."""
    return ["user", "row", "text_id"] if source.kind == "attributes" else ["user", "time", "row"]


def with_text_ids(source: SourceSpec, events: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Replace the attribute columns by text_id and sort by user, time, row."""
    on = text_columns(source)
    own = texts.filter(pl.col("source") == source.name).select("text_id", *on)
    kept = {"attribute"} if source.kind == "attributes" else set()
    joined = events.join(own, on=on, how="left", maintain_order="left").drop(set(on) - kept)
    return joined.sort(sorted_by(source), maintain_order=True)
