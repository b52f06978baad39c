"""The events around each training snapshot, and the guard that no fact looks where it must not.

history = events before the snapshot, horizon = events from it on, up to the example's horizon_end.
"""

import numpy as np
import polars as pl

from instructue.errors import LeakageError
from instructue.sources.spec import FactSpec
from instructue.sources.tables import Tables


def training_examples(tables: Tables) -> pl.DataFrame:
    """Rows of histories that UserQA may use, in order of example."""
    return tables.histories.filter(pl.col("split") == "train").sort("example")


def events_around(tables: Tables, examples: pl.DataFrame, source: str) -> pl.DataFrame:
    """Every event of one source in the history or horizon of each example; checked for leaks.

    Columns: example, past (whether in the history), day (local calendar days from the snapshot, negative before
    it), text_id and the source's numbers. Raises LeakageError if a range reaches past its moment.
    """
    spec = tables.dataset.source(source)
    start, end, last = (
        examples[f"{source}_{part}"].to_numpy().astype(np.int64) for part in ("start", "end", "horizon")
    )
    length = last - start
    owner = np.repeat(np.arange(examples.height), length)
    position = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length) + start[owner]
    found = tables.events[source].select("time", "text_id", *spec.columns)[position]
    around = found.with_columns(
        example=examples["example"].gather(owner),
        past=pl.Series(position < end[owner]),
        snapshot=examples["snapshot"].gather(owner),
        horizon_end=examples["horizon_end"].gather(owner),
    )
    check_windows(around, source)
    # Snapshots are local midnights, so that calendar days part the windows exactly, whatever the clocks do.
    day = (pl.col("time").dt.date() - pl.col("snapshot").dt.date()).dt.total_days().cast(pl.Int16)
    return around.select("example", "past", "text_id", *spec.columns, day=day)


def check_windows(around: pl.DataFrame, source: str) -> None:
    """Raise LeakageError if an event counted as history is not before its snapshot, or a later one not within."""
    past, time, snapshot = pl.col("past"), pl.col("time"), pl.col("snapshot")
    bad = around.filter((past & (time >= snapshot)) | (~past & ((time < snapshot) | (time >= pl.col("horizon_end")))))
    if bad.height:
        row = bad.row(0, named=True)
        side = "history" if row["past"] else "horizon"
        raise LeakageError(
            f"{bad.height} events of source {source!r} lie outside their window; first: example {row['example']}, "
            f"snapshot {row['snapshot']}, an event of {row['time']} in its {side}; run `histories` again"
        )


def fact_end(fact: FactSpec) -> pl.Expr:
    """When a fact's horizon ends, in calendar days of the local clock; null for facts about the history."""
    if fact.about == "history":
        return pl.lit(None, dtype=pl.Datetime("us"))
    return pl.col("snapshot").dt.offset_by(f"{fact.days}d")


def eligible(fact: FactSpec, examples: pl.DataFrame) -> pl.DataFrame:
    """The examples whose horizon is long enough for the fact."""
    return examples if fact.about == "history" else examples.filter(fact_end(fact) <= pl.col("horizon_end"))


def within(fact: FactSpec) -> pl.Expr:
    """Whether an event lies in the fact's window."""
    if fact.about == "horizon":
        return ~pl.col("past") & (pl.col("day") < fact.days)
    return pl.col("past") if fact.days is None else pl.col("past") & (pl.col("day") >= -fact.days)


def check_triplets(triplets: pl.DataFrame, histories: pl.DataFrame) -> None:
    """Raise LeakageError unless every triplet's horizon lies in its example's and ends by the evaluation snapshot.

    A triplet about the history must name no horizon; every triplet must belong to a training example.
    """
    evaluation = histories.filter(pl.col("split") == "evaluation")["snapshot"].min()
    known = histories.select("example", "split", at="snapshot", until="horizon_end")
    joined = triplets.join(known, on="example", how="left")
    end, horizon = pl.col("horizon_end"), pl.col("about") == "horizon"
    rules = {
        "is not of a training example": pl.col("split").ne_missing("train"),
        "has another snapshot than its example": pl.col("snapshot").ne_missing(pl.col("at")),
        "is about the history but names a horizon": ~horizon & end.is_not_null(),
        "has a horizon outside its example's": horizon
        & ((end <= pl.col("at")) | (end > pl.col("until")) | end.is_null()),
        "sees past the evaluation snapshot": horizon & (end > evaluation) if evaluation is not None else pl.lit(False),
    }
    for what, broken in rules.items():
        bad = joined.filter(broken)
        if bad.height:
            row = bad.row(0, named=True)
            raise LeakageError(
                f"{bad.height} triplets: each {what}; first: kind {row['kind']!r}, example {row['example']}, "
                f"snapshot {row['snapshot']}, horizon_end {row['horizon_end']}, example's until {row['until']}, "
                f"evaluation from {evaluation}"
            )
