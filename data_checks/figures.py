"""Rules that any source's table as a whole should keep: is it fresh, whole, in order, by the right clock, as large as
before? They all warn: data may be unusual and right."""

from datetime import date, datetime

import polars as pl

from data_checks.own_rules import CLOSED
from data_checks.rules import Counted, figure_is, figure_within, share_within
from instructue.sources.spec import DatasetSpec, SourceSpec

HOUR = 3_600_000_000  # microseconds
FEW = 1000  # rows below which shares and rhythms mean little
LATE_DAYS = 7  # days without an event that any source may have at its ends
DENSE = 30  # events on a usual day, from which on a day without any is a day that was lost
NAMED = 5  # lost days that are named
NIGHT = 5  # hours that people sleep
ASLEEP = (23, 5)  # the hours between which the quietest five begin
RHYTHM = 0.5  # events of the quietest hours against an even share: above it there is no rhythm to read
BLOCK, SPREAD = 64, 20  # rows that lie together in a file, and days that they may spread over
SAMPLE = 200_000  # rows that the order is judged on
MIXED_UP = 0.05
BUSIEST = 0.2  # share of all rows, for one user
CHANGE = 0.2  # of the number of rows since the last time


def clock(dataset: DatasetSpec, source: SourceSpec, rows: pl.DataFrame) -> Counted:
    """Rules on when things happened. Only times inside the data set's bounds count: others have their own rule."""
    if source.kind != "events" or "time" not in rows.columns:
        return [], {}
    start, end = (datetime.fromisoformat(d) for d in (source.not_before or dataset.start, dataset.end))
    # Neighbours often share their hour, as a user's rows lie together: runs of it are counted, not rows.
    runs = rows.select(run=(pl.col("time").dt.timestamp("us") // HOUR).rle()).unnest("run")
    whole = runs.group_by(hour="value").agg(n=pl.col("len").sum()).drop_nulls()
    hours = whole.with_columns((pl.col("hour") * HOUR).cast(pl.Datetime("us"))).sort("hour")
    hours = hours.filter(pl.col("hour").is_between(start, end, closed="left"))
    if hours.is_empty():
        return [], {}
    days = hours.group_by(day=pl.col("hour").dt.date()).agg(n=pl.col("n").sum()).sort("day")
    parts = [_ends(source, days, start.date(), end.date()), _lost_days(dataset, days), _night(hours), _order(rows)]
    return [r for rules, _ in parts for r in rules], {k: v for _, values in parts for k, v in values.items()}


def _ends(source: SourceSpec, days: pl.DataFrame, start: date, end: date) -> Counted:
    """How long before the end the last event lies, and after the start the first; rare events may take their time."""
    first, last = days["day"][0], days["day"][-1]
    longest = int(days["day"].diff().dt.total_days().max() or 0)  # type: ignore[arg-type]
    most = max(LATE_DAYS, 2 * longest)
    rules = [figure_within("fresh", f"the last event lies at most {most} days before {end}", 0, most)]
    figures = {"fresh": (end - last).days}
    if source.not_before is None:
        rules.append(figure_within("begins", f"the first event lies at most {most} days after {start}", 0, most))
        figures["begins"] = (first - start).days
    return rules, figures


def _lost_days(dataset: DatasetSpec, days: pl.DataFrame) -> Counted:
    """Days without an event, of a source that has many on most days."""
    every = pl.date_range(days["day"][0], days["day"][-1], "1d", eager=True).alias("day").to_frame()
    every = every.join(days, on="day", how="left").with_columns(pl.col("n").fill_null(0))
    if every["n"].median() < DENSE:  # type: ignore[operator]
        return [], {}
    closed = [date.fromisoformat(d) for d in CLOSED.get(dataset.name, [])]
    lost = every.filter(pl.col("n") == 0, ~pl.col("day").is_in(closed)).sort("day")["day"].to_list()
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    said = ", ".join(map(str, lost[:NAMED])) + more or "none"
    rule = figure_is("no_day_lost", "no day between the first and the last is without an event", "none", "warning")
    return [rule], {"no_day_lost": said}


def _night(hours: pl.DataFrame) -> Counted:
    """People sleep: where the quietest hours lie by day, the clock is another than the described one."""
    counts = [0] * 24
    for hour, n in hours.group_by(pl.col("hour").dt.hour()).agg(pl.col("n").sum()).iter_rows():
        counts[hour] = n
    windows = [sum(counts[(h + i) % 24] for i in range(NIGHT)) for h in range(24)]
    even = sum(counts) * NIGHT / 24
    if sum(counts) < FEW or sum(n > 0 for n in counts) < 12 or min(windows) > RHYTHM * even:
        return [], {}
    quiet = windows.index(min(windows))
    late, early = ASLEEP
    words = f"between {late}:00 and {early}:00"
    sentence = f"the quietest {NIGHT} hours of the day begin {words}, else the clock is shifted"
    said = words if quiet >= late or quiet <= early else f"at {quiet}:00"
    return [figure_is("night_is_quiet", sentence, words, "warning")], {"night_is_quiet": said}


def _order(rows: pl.DataFrame) -> Counted:
    """Day and month mixed up: only days up to 12 can be, so only their rows lie far in time from their neighbours."""
    if rows.height < FEW or "row" not in rows.columns:
        return [], {}
    step = max(1, rows.height // SAMPLE)
    block = pl.col("row") // BLOCK
    found = (
        rows.lazy()
        .select("row", "time")
        .filter(block % step == 0)
        .group_by(block.alias("block"), early=pl.col("time").dt.day() <= 12)
        .agg(n=pl.len(), spread=(pl.col("time").max() - pl.col("time").min()).dt.total_days() > SPREAD)
        .filter(pl.col("n") > 1)
        .group_by("early")
        .agg(pl.col("spread").mean())
        .drop_nulls()
        .collect()
    )
    share = dict(found.iter_rows())
    sentence = "days up to the 12th are as much in the file's order as later ones, else day and month are mixed up"
    figure = max(0.0, share.get(True, 0.0) - share.get(False, 0.0))
    return [share_within("day_before_month", sentence, MIXED_UP)], {"day_before_month": figure}


def numbers(source: SourceSpec, rows: pl.DataFrame) -> Counted:
    """Numbers that are all the same tell nothing, and were not so when they were measured."""
    there = [c for c in source.columns if c in rows.columns]
    if rows.height < FEW or not there:
        return [], {}
    spans = rows.select((pl.col(c).max() > pl.col(c).min()).alias(c) for c in there).row(0, named=True)
    said = ", ".join(c for c, spans_any in spans.items() if not spans_any) or "none"
    rule = figure_is("numbers_vary", "no number is the same on all rows", "none", "warning")
    return [rule], {"numbers_vary": said}


def users(rows: pl.DataFrame) -> Counted:
    """One user with a large part of all rows is a robot, a default or a till's own card."""
    if rows.height < FEW or "user" not in rows.columns:
        return [], {}
    user = rows["user"]  # as staged, sorted
    counts = user.rle().struct.field("len") if user.is_sorted() else user.value_counts(name="n")["n"]
    most = counts.max()
    sentence = f"the busiest user has at most {BUSIEST:.0%} of the rows"
    return [share_within("no_single_user", sentence, BUSIEST)], {"no_single_user": most / rows.height}  # type: ignore[operator]


def volume(rows: pl.DataFrame, before: int | None) -> Counted:
    """The number of rows against what was last published; the first time there is nothing to compare with."""
    change = abs(rows.height / before - 1) if before else 0.0
    sentence = f"the number of rows differs by at most {CHANGE:.0%} from when it was last published"
    return [share_within("volume_kept", sentence, CHANGE)], {"volume_kept": change}
