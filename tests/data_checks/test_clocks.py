"""The quick way to local times gives what the sure one gives."""

from datetime import datetime

import polars as pl
import pytest

from data_checks.clocks import local_times


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("end", [datetime(2017, 3, 12, 8), datetime(2018, 1, 1), datetime(2030, 1, 1)])
def test_local_times_are_those_of_the_zone(zone, end):
    times = pl.datetime_range(datetime(2017, 1, 1, 0, 7), end, "17m", time_zone="UTC", time_unit="us", eager=True)
    rows = pl.DataFrame({"time": pl.concat([times, pl.Series([None], dtype=times.dtype)]).dt.convert_time_zone(zone)})
    assert local_times(rows).equals(rows.with_columns(pl.col("time").dt.replace_time_zone(None)))


def test_rows_without_times_or_with_none_stay():
    assert local_times(pl.DataFrame({"a": [1]})).columns == ["a"]
    empty = pl.DataFrame({"time": [None]}, schema={"time": pl.Datetime("us", "Europe/Berlin")})
    assert local_times(empty)["time"].to_list() == [None]
