"""Local wall-clock times of a whole column at once."""

from datetime import timedelta

import polars as pl

MOST_CHANGES = 6  # of a zone's offset inside the data, up to which adding them up beats looking each time up
STEP = "30m"  # clocks change at full or half hours
LONGEST = timedelta(days=366 * 4)


def local_times(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the zone-aware column `time`, if there is one, as naive local clock.

    Over a few years a zone's offset changes a few times: each change is one comparison per row.
    """
    dtype = rows.schema.get("time")
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        return rows
    utc = pl.col("time").dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    low, high = rows.select(low=utc.min(), high=utc.max()).row(0)
    if low is None or high - low > LONGEST:
        return rows.with_columns(pl.col("time").dt.replace_time_zone(None))
    day = timedelta(days=1)
    begin = low.replace(hour=0, minute=0, second=0, microsecond=0)
    steps = pl.datetime_range(begin, high + day, STEP, time_unit="us", eager=True).alias("at").to_frame()
    there = pl.col("at").dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone).dt.replace_time_zone(None)
    changes = steps.with_columns(offset=there - pl.col("at")).with_columns(by=pl.col("offset").diff())
    first = changes["offset"][0]
    changes = changes.filter(pl.col("by") != timedelta(0))
    if changes.height > MOST_CHANGES:
        return rows.with_columns(pl.col("time").dt.replace_time_zone(None))
    added = utc + first
    for at, by in changes.select("at", "by").iter_rows():
        added = added + pl.when(utc >= at).then(pl.lit(by, pl.Duration("us"))).otherwise(pl.lit(timedelta(0)))
    return rows.with_columns(time=added)
