"""As-of histories without copying: row ranges into the published tables, which are sorted by user and time.

histories.parquet has one row per user and snapshot: example, user, snapshot, horizon_end, split and,
for each event source, S_start, S_end, S_horizon: its history is rows [S_start, S_end) of the source's
table, its horizon rows [S_end, S_horizon).
"""

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from instructue.errors import LeakageError
from instructue.sources.snapshots import Snapshot
from instructue.sources.spec import DatasetSpec

Table = pl.DataFrame | pl.LazyFrame
PART = 5_000_000  # rows of a table on disk that are in memory at a time


def as_of_ranges(users: pl.DataFrame, events: Table, name: str, rows: int = PART) -> pl.DataFrame:
    """Row ranges of one source for each row of `users` (columns user, snapshot, horizon_end).

    `events` is sorted by user, time; of a LazyFrame, `rows` rows are in memory at a time. Returns name_start,
    name_end, name_horizon, in the order of `users`.
    """
    moments = [users[column].dt.timestamp("us").to_numpy() for column in ("snapshot", "horizon_end")]
    first, earlier = np.full(users.height, -1), np.zeros((2, users.height), np.int64)
    for start, part in parts(events, rows):
        if part.is_empty():
            continue
        held = part.with_columns(position=pl.int_range(pl.len())).group_by("user")
        held = held.agg(low=pl.col("position").min(), high=pl.col("position").max() + 1)
        inside = users["user"].is_between(part["user"].min(), part["user"].max()).fill_null(False).arg_true()
        asked = users.select("user").with_columns(place=pl.int_range(pl.len()))[inside].join(held, on="user")
        place, low, high = (asked[column].to_numpy() for column in ("place", "low", "high"))
        first[place] = np.where(first[place] < 0, start + low, first[place])
        times = part["time"].dt.timestamp("us").to_numpy()
        for count, moment in zip(earlier, moments, strict=True):
            # Where a user's events go on in the next part, both parts' earlier ones add up.
            count[place] += _before(times, low, high, moment[place]) - low
    begin = first.clip(0)
    ranges = {"start": begin, "end": begin + earlier[0], "horizon": begin + earlier[1]}
    return pl.DataFrame({f"{name}_{part}": values.astype(np.uint32) for part, values in ranges.items()})


def _before(times: np.ndarray, low: np.ndarray, high: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Per range [low, high) of ascending `times` the position of the first that is not before the range's moment."""
    while (open_ := low < high).any():
        middle = np.where(open_, (low + high) // 2, 0)
        earlier = times[middle] < moments
        low, high = np.where(open_ & earlier, middle + 1, low), np.where(open_ & ~earlier, middle, high)
    return low


def parts(table: Table, rows: int = PART) -> Iterator[tuple[int, pl.DataFrame]]:
    """(first position, user and time) of a table's parts: one if it is in memory, else of `rows` rows each."""
    if isinstance(table, pl.DataFrame):
        table, whole = table.lazy(), table.height
        rows = max(whole, 1)
    else:
        whole = table.select(pl.len()).collect().item()
    for start in range(0, max(whole, 1), rows):
        yield start, table.select("user", "time").slice(start, rows).collect()


def build_histories(
    dataset: DatasetSpec, tables: Mapping[str, Table], snapshots: list[Snapshot], min_events: int, rows: int = PART
) -> pl.DataFrame:
    """All users at all snapshots, with at least `min_events` earlier events of the first source."""
    first = dataset.event_sources[0].name
    users = tables[first].lazy().select(pl.col("user").unique().sort()).collect(engine="streaming")
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
    ranges = [as_of_ranges(grid, tables[s.name], s.name, rows) for s in dataset.event_sources]
    everyone = pl.concat([grid, *ranges], how="horizontal")
    kept = everyone.filter(pl.col(f"{first}_end") - pl.col(f"{first}_start") >= min_events)
    return kept.sort("snapshot", "user").with_row_index("example")


def check_no_leak(dataset: DatasetSpec, tables: Mapping[str, Table], histories: pl.DataFrame, rows: int = PART) -> None:
    """Raise LeakageError if any history holds an event at or after its snapshot, or of another user.

    Checks the outermost rows of each range, which suffices as tables are sorted by user and time; that
    they are is checked too. Of a LazyFrame, `rows` rows are in memory at a time.
    """
    for source in dataset.event_sources:
        name = source.name
        filled = histories.filter(pl.col(f"{name}_end") > pl.col(f"{name}_start"))
        last, head = _outermost(name, tables[name], filled, rows)
        seen = pl.concat(
            [
                filled.select("example", "user", "snapshot"),
                last.select(last_user="user", last_time="time"),
                head.select(first_user="user"),
            ],
            how="horizontal",
        )
        # A range that reaches past the table's end has no last row.
        bad = seen.filter(
            (pl.col("last_time") >= pl.col("snapshot")).fill_null(True)
            | pl.col("last_user").ne_missing(pl.col("user"))
            | pl.col("first_user").ne_missing(pl.col("user"))
        )
        if bad.height:
            row = bad.row(0, named=True)
            raise LeakageError(
                f"{bad.height} histories of source {name!r} reach past their snapshot; first: user {row['user']} "
                f"at {row['snapshot']} holds an event of user {row['last_user']} at {row['last_time']}"
            )


def _outermost(name: str, table: Table, filled: pl.DataFrame, rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The last and the first row of each range. Raises LeakageError if the table is not sorted by user and time."""
    ends, starts = (filled[f"{name}_{part}"].to_numpy().astype(np.int64) for part in ("end", "start"))
    places, found, before = {"last": ends - 1, "head": starts}, {"last": [], "head": []}, None
    for start, part in parts(table, rows):
        joined = part if before is None else pl.concat([before, part])
        if not joined.select(_ordered=pl.struct("user", "time").is_sorted()).item():
            raise LeakageError(f"source {name!r} is not sorted by user and time; run `sources` and `validation` again")
        before = part.tail(1)
        for side, at in places.items():
            inside = np.flatnonzero((at >= start) & (at < start + part.height))
            found[side].append(part[at[inside] - start].with_columns(place=pl.Series(inside, dtype=pl.Int64)))
    order = pl.DataFrame({"place": pl.int_range(filled.height, dtype=pl.Int64, eager=True)})
    last, head = (
        order.join(pl.concat(found[side]), on="place", how="left", maintain_order="left") for side in ("last", "head")
    )
    return last, head


def check_labels_unseen(histories: pl.DataFrame) -> None:
    """Raise LeakageError if a training horizon overlaps the evaluation's label window."""
    starts = histories.filter(pl.col("split") == "evaluation")["snapshot"]
    late = histories.filter((pl.col("split") == "train") & (pl.col("horizon_end") > starts.min()))
    if late.height:
        raise LeakageError(
            f"{late.height} training horizons end after the evaluation snapshot {starts.min()}, "
            f"the latest at {late['horizon_end'].max()}"
        )
