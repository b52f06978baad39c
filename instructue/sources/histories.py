"""As-of histories without copying: row ranges into the published tables, which are sorted by user and time.

histories.parquet has one row per user and snapshot: example, user, snapshot, horizon_end, split and,
for each event source, S_start, S_end, S_horizon: its history is rows [S_start, S_end) of the source's
table, its horizon rows [S_end, S_horizon).
"""

import polars as pl

from instructue.errors import LeakageError
from instructue.sources.snapshots import Snapshot
from instructue.sources.spec import DatasetSpec


def as_of_ranges(users: pl.DataFrame, events: pl.DataFrame, name: str) -> pl.DataFrame:
    """Row ranges of one source for each row of `users` (columns user, snapshot, horizon_end).

    `events` is sorted by user, time. Returns name_start, name_end, name_horizon, in the order of `users`.
    """
    indexed = events.select("user", "time").with_row_index("position")
    first = indexed.group_by("user").agg(pl.col("position").min().alias("first"))
    out = users.with_row_index("order").join(first, on="user", how="left")
    for column, moment in ((f"{name}_end", "snapshot"), (f"{name}_horizon", "horizon_end")):
        # The last event strictly before the moment; the range ends one past it.
        found = out.sort(moment).join_asof(
            # All lines of a basket share one time; the last of them must come last.
            indexed.sort("time", "position"),
            left_on=moment,
            right_on="time",
            by="user",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
            coalesce=False,
        )
        end = (pl.col("position") + 1).alias(column)
        out = found.select(pl.exclude("time", "position"), end).with_columns(pl.col(column).fill_null(pl.col("first")))
    zero = pl.lit(0, dtype=pl.UInt32)
    return out.sort("order").select(
        pl.coalesce("first", zero).cast(pl.UInt32).alias(f"{name}_start"),
        pl.coalesce(f"{name}_end", zero).cast(pl.UInt32).alias(f"{name}_end"),
        pl.coalesce(f"{name}_horizon", zero).cast(pl.UInt32).alias(f"{name}_horizon"),
    )


def build_histories(
    dataset: DatasetSpec, tables: dict[str, pl.DataFrame], snapshots: list[Snapshot], min_events: int
) -> pl.DataFrame:
    """All users at all snapshots, with at least `min_events` earlier events of the first source."""
    first = dataset.event_sources[0].name
    users = tables[first].select(pl.col("user").unique().sort())
    moments = pl.DataFrame(
        {
            "snapshot": [s.at for s in snapshots],
            "horizon_end": [s.horizon_end for s in snapshots],
            "split": [s.split for s in snapshots],
        },
        schema_overrides={
            "snapshot": pl.Datetime("us", dataset.timezone),
            "horizon_end": pl.Datetime("us", dataset.timezone),
        },
    )
    grid = moments.join(users, how="cross").select("user", "snapshot", "horizon_end", "split")
    ranges = [as_of_ranges(grid, tables[s.name], s.name) for s in dataset.event_sources]
    everyone = pl.concat([grid, *ranges], how="horizontal")
    kept = everyone.filter(pl.col(f"{first}_end") - pl.col(f"{first}_start") >= min_events)
    return kept.sort("snapshot", "user").with_row_index("example")


def check_no_leak(dataset: DatasetSpec, tables: dict[str, pl.DataFrame], histories: pl.DataFrame) -> None:
    """Raise LeakageError if any history holds an event at or after its snapshot, or of another user.

    Checks the outermost rows of each range, which suffices as tables are sorted by user and time; that
    they are is checked too.
    """
    for source in dataset.event_sources:
        name, table = source.name, tables[source.name]
        if not table.select(_ordered=pl.struct("user", "time").is_sorted()).item():
            raise LeakageError(f"source {name!r} is not sorted by user and time; run `sources` and `validation` again")
        start, end = pl.col(f"{name}_start"), pl.col(f"{name}_end")
        filled = histories.filter(end > start)
        last = table[filled[f"{name}_end"] - 1].select(last_user="user", last_time="time")
        head = table[filled[f"{name}_start"]].select(first_user="user")
        seen = pl.concat([filled.select("example", "user", "snapshot"), last, head], how="horizontal")
        bad = seen.filter(
            (pl.col("last_time") >= pl.col("snapshot"))
            | (pl.col("last_user") != pl.col("user"))
            | (pl.col("first_user") != pl.col("user"))
        )
        if bad.height:
            row = bad.row(0, named=True)
            raise LeakageError(
                f"{bad.height} histories of source {name!r} reach past their snapshot; first: user {row['user']} "
                f"at {row['snapshot']} holds an event of user {row['last_user']} at {row['last_time']}"
            )


def check_labels_unseen(histories: pl.DataFrame) -> None:
    """Raise LeakageError if a training horizon overlaps the evaluation's label window."""
    starts = histories.filter(pl.col("split") == "evaluation")["snapshot"]
    late = histories.filter((pl.col("split") == "train") & (pl.col("horizon_end") > starts.min()))
    if late.height:
        raise LeakageError(
            f"{late.height} training horizons end after the evaluation snapshot {starts.min()}, "
            f"the latest at {late['horizon_end'].max()}"
        )
