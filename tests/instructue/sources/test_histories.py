"""As-of histories against a brute-force filter, and leaks planted to be caught."""

from datetime import datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from instructue.errors import LeakageError
from instructue.sources.histories import as_of_ranges, build_histories, check_labels_unseen, check_no_leak
from instructue.sources.snapshots import Snapshot, plan_snapshots
from instructue.sources.spec import load_dataset

ZONE = "America/New_York"


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("complete_journey")


@pytest.fixture(scope="module")
def tables(staged, dataset) -> dict[str, pl.DataFrame]:
    return {s.name: pl.read_parquet(staged[1].table(s.name, staged=True)) for s in dataset.sources}


@pytest.fixture(scope="module")
def snapshots(staged, dataset) -> list[Snapshot]:
    return plan_snapshots(staged[0].histories, dataset.timezone)


@pytest.fixture(scope="module")
def histories(dataset, tables, snapshots) -> pl.DataFrame:
    return build_histories(dataset, tables, snapshots, min_events=10)


def test_ranges_hold_exactly_the_events_before_and_in_the_horizon(dataset, tables, histories):
    moments = {c: histories[c].dt.timestamp().to_numpy() for c in ("snapshot", "horizon_end")}
    for source in dataset.event_sources:
        users, times = tables[source.name]["user"].to_numpy(), tables[source.name]["time"].dt.timestamp().to_numpy()
        ends = [histories[f"{source.name}_{part}"].to_numpy() for part in ("start", "end", "horizon")]
        for i, user in enumerate(histories["user"]):
            own = users == user
            before = np.flatnonzero(own & (times < moments["snapshot"][i]))
            within = np.flatnonzero(own & (times >= moments["snapshot"][i]) & (times < moments["horizon_end"][i]))
            start, end, horizon = (e[i] for e in ends)
            assert np.array_equal(np.arange(start, end), before), (source.name, user, histories["snapshot"][i])
            assert np.array_equal(np.arange(end, horizon), within), (source.name, user, histories["snapshot"][i])


def test_everyone_with_enough_earlier_events_enters_each_snapshot(tables, snapshots, histories):
    for snapshot in snapshots:
        earlier = tables["purchase"].filter(pl.col("time") < snapshot.at).group_by("user").len()
        enough = set(earlier.filter(pl.col("len") >= 10)["user"])
        assert set(histories.filter(pl.col("snapshot") == snapshot.at)["user"]) == enough
    assert histories["example"].to_list() == list(range(histories.height))
    assert histories.select("user", "snapshot").is_unique().all()


def test_ranges_agree_with_brute_force_where_times_tie():
    # Baskets of many lines at one moment, some at the very snapshot: the case that an as-of join gets wrong.
    random = np.random.default_rng(5)
    start = datetime(2017, 3, 1, tzinfo=ZoneInfo(ZONE))
    moments = [start + timedelta(days=d) for d in range(6)]
    for _ in range(20):
        n = 400
        events = pl.DataFrame(
            {"user": random.integers(0, 9, n), "time": [moments[i] for i in random.integers(0, 6, n)]},
            schema_overrides={"time": pl.Datetime("us", ZONE)},
        ).sort("user", "time")
        grid = pl.DataFrame(
            [(u, a, b) for u, (a, b) in product(range(11), [(moments[2], moments[4]), (moments[0], moments[5])])],
            schema={"user": pl.Int64, "snapshot": pl.Datetime("us", ZONE), "horizon_end": pl.Datetime("us", ZONE)},
            orient="row",
        )
        ranges = as_of_ranges(grid, events, "e")
        lists = events.group_by("user").agg("time")
        times = dict(zip(lists["user"], lists["time"].to_list(), strict=True))
        for (user, at, end), (first, stop, last) in zip(grid.iter_rows(), ranges.iter_rows(), strict=True):
            own = times.get(user, [])
            assert stop - first == sum(t < at for t in own) and last - stop == sum(at <= t < end for t in own)
            assert not own or events["user"][first] == user


def test_a_source_without_events_gives_empty_ranges(dataset, tables, histories):
    for none in (tables["trip"].head(0), tables["trip"].head(0).lazy()):
        ranges = as_of_ranges(histories.select("user", "snapshot", "horizon_end"), none, "trip")
        assert ranges.height == histories.height and set(ranges.row(-1)) == {0} and ranges.unique().height == 1
        check_no_leak(dataset, {**tables, "trip": none}, histories.with_columns(ranges))


@pytest.mark.parametrize("rows", [997, 20_000])
def test_tables_on_disk_give_the_same_histories_in_parts(staged, dataset, tables, snapshots, histories, rows):
    # Parts end within users' events, and within moments that several events share.
    lazy = {name: pl.scan_parquet(staged[1].table(name, staged=True)) for name in tables}
    assert build_histories(dataset, lazy, snapshots, min_events=10, rows=rows).equals(histories)
    check_no_leak(dataset, lazy, histories, rows)
    last = histories.filter(pl.col("trip_horizon") > pl.col("trip_end"))["example"][-1]
    leaky = histories.with_columns(trip_end=pl.col("trip_end") + (pl.col("example") == last))
    with pytest.raises(LeakageError, match="^1 histories of source 'trip' reach past"):
        check_no_leak(dataset, lazy, leaky, rows)


def test_disorder_between_two_parts_is_caught(dataset, tables, histories):
    rows = 1000
    ends = tables["purchase"][rows - 1 : rows + 1]
    assert ends["user"][0] == ends["user"][1]
    at = pl.int_range(pl.len())
    early = pl.when(at == rows).then(pl.lit(ends["time"][0]).dt.offset_by("-1s")).otherwise("time")
    moved = tables["purchase"].with_columns(time=early)
    with pytest.raises(LeakageError, match="'purchase' is not sorted by user and time"):
        check_no_leak(dataset, {**tables, "purchase": moved.lazy()}, histories, rows)


def test_an_event_at_the_snapshot_belongs_to_the_horizon(dataset, tables, histories, snapshots):
    first = histories.filter(pl.col("snapshot") == snapshots[0].at).row(0, named=True)
    at = first["purchase_end"]
    moved = tables["purchase"].with_columns(
        time=pl.when(pl.int_range(pl.len()) == at)
        .then(pl.lit(snapshots[0].at, dtype=pl.Datetime("us", ZONE)))
        .otherwise("time")
    )
    again = build_histories(dataset, {**tables, "purchase": moved}, snapshots, min_events=10)
    row = again.filter(pl.col("snapshot") == snapshots[0].at, pl.col("user") == first["user"]).row(0, named=True)
    assert row["purchase_end"] == at and row["purchase_horizon"] > at


def test_clean_histories_hold_no_leak(dataset, tables, histories):
    check_no_leak(dataset, tables, histories)
    check_labels_unseen(histories)
    # The checks had something to look at: every source has histories, and both splits are there.
    for source in dataset.event_sources:
        assert (histories[f"{source.name}_end"] > histories[f"{source.name}_start"]).any(), source.name
    assert set(histories["split"]) == {"train", "evaluation"}


@pytest.mark.parametrize("name", ["purchase", "trip", "promotion", "campaign", "redemption"])
def test_one_event_too_many_is_caught(dataset, tables, histories, name):
    # The first history of this source with an event in its horizon is stretched over it.
    victim = histories.filter(pl.col(f"{name}_horizon") > pl.col(f"{name}_end")).row(0, named=True)
    hit = pl.col("example") == victim["example"]
    leaky = histories.with_columns(
        pl.when(hit).then(pl.col(f"{name}_end") + 1).otherwise(f"{name}_end").alias(f"{name}_end")
    )
    with pytest.raises(LeakageError, match=f"source '{name}' reach past .* user {victim['user']} "):
        check_no_leak(dataset, tables, leaky)


def test_another_users_event_is_caught(dataset, tables, histories):
    victim = histories.filter(pl.col("trip_start") > 0).row(0, named=True)
    hit = pl.col("example") == victim["example"]
    leaky = histories.with_columns(trip_start=pl.when(hit).then(pl.col("trip_start") - 1).otherwise("trip_start"))
    with pytest.raises(LeakageError, match="source 'trip'"):
        check_no_leak(dataset, tables, leaky)


def test_an_event_out_of_order_is_caught(dataset, tables, histories):
    # A later event hidden in the middle of a history, where the outermost rows cannot show it.
    victim = histories.filter(pl.col("purchase_end") - pl.col("purchase_start") > 5).row(0, named=True)
    hit = pl.int_range(pl.len()) == victim["purchase_start"] + 2
    late = tables["purchase"].with_columns(time=pl.when(hit).then(pl.col("time").max()).otherwise("time"))
    with pytest.raises(LeakageError, match="'purchase' is not sorted by user and time"):
        check_no_leak(dataset, {**tables, "purchase": late}, histories)


def test_a_training_horizon_past_the_evaluation_snapshot_is_caught(histories):
    second = pl.duration(microseconds=1)
    evaluation = histories.filter(pl.col("split") == "evaluation")["snapshot"][0]
    hit = (pl.col("split") == "train") & (pl.int_range(pl.len()) == 0)
    leaky = histories.with_columns(
        horizon_end=pl.when(hit)
        .then(pl.lit(evaluation, dtype=pl.Datetime("us", ZONE)) + second)
        .otherwise("horizon_end")
    )
    with pytest.raises(LeakageError, match="1 training horizons end after the evaluation snapshot"):
        check_labels_unseen(leaky)
