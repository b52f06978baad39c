"""The suite of UserQA triplets: whole, worded, balanced, and blind to what comes after the evaluation snapshot."""

from datetime import date, datetime
from typing import Any

import polars as pl

from data_checks.judge import judge
from data_checks.outcome import CheckOutcome
from data_checks.rules import Rule, among, at_least_one_row, figure_is, form, given, long, unique
from instructue.userqa.schema import ABOUT, BY, COLUMNS, SHARE_OF_YES

LONGEST = 400  # characters; what the network cuts is counted in tokens and warned of there
FEWEST = 30  # triplets of a kind before its share of yes means anything


def check_userqa(triplets: pl.DataFrame, evaluation_snapshot: datetime | date) -> list[CheckOutcome]:
    """Judge a triplets table; `evaluation_snapshot` is a local date, or a moment in the table's zone or without one.

    No row is dropped on these grounds: what is `bad` is to be mended where it was made.
    """
    moment = _local(triplets, evaluation_snapshot)
    wanted = {c: t() if t is not pl.Datetime else None for c, (t, _, _) in COLUMNS.items()}
    rules, figures, sound = form(wanted, dict(triplets.schema))
    rules.append(at_least_one_row())
    rows = triplets.select(sound).with_row_index("row")
    times = [triplets.schema.get(c) for c in ("snapshot", "horizon_end")]
    if rows.height and len(sound) == len(COLUMNS) and all(isinstance(t, pl.Datetime) for t in times):
        rows = _derived(rows, moment)
        rules += _rules()
        more, values = _balance(rows)
        rules, figures = [*rules, *more], figures | values
    return judge("userqa", rules, rows, figures)


def _local(triplets: pl.DataFrame, moment: datetime | date) -> datetime:
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day)
    zone = getattr(triplets.schema.get("snapshot"), "time_zone", None)
    if moment.tzinfo is None or zone is None:
        return moment.replace(tzinfo=None)
    from zoneinfo import ZoneInfo

    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _derived(rows: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Rows with what the rules on several columns read, as words."""
    naive = rows.with_columns(pl.col("snapshot", "horizon_end").dt.replace_time_zone(None))
    after, snapshot = pl.col("horizon_end"), pl.col("snapshot")
    horizon = (
        pl.when(pl.col("about") == "history")
        .then(pl.when(after.is_null()).then(pl.lit("none")).otherwise(pl.lit("not asked for")))
        .when(after.is_null())
        .then(pl.lit("missing"))
        .when(after <= snapshot)
        .then(pl.lit("before its snapshot"))
        .otherwise(pl.when(after <= moment).then(pl.lit("seen")).otherwise(pl.format("reaches to {}", after)))
    )
    answer = pl.col("answer")
    echo = pl.when(answer == pl.col("instruction")).then(pl.lit("the instruction")).when(answer == pl.col("opposite"))
    return naive.with_columns(
        horizon=horizon,
        echo=echo.then(pl.lit("its opposite")).otherwise(pl.lit("none")),
        history=pl.when(snapshot < moment).then(pl.lit("seen")).otherwise(pl.format("snapshot at {}", snapshot)),
        choice=pl.when(pl.col("polarity").is_null() | pl.col("opposite").is_not_null())
        .then(pl.lit("given"))
        .otherwise(pl.lit("missing")),
    )


def _rules() -> list[Rule]:
    horizon = "every horizon ends after its snapshot, at or before the evaluation snapshot"
    return [
        *[given(c) for c, (_, nullable, _) in COLUMNS.items() if not nullable],
        unique(["triplet"]),
        unique(["example", "instruction"], "asked_once"),
        long("instruction", 8, LONGEST),
        long("answer", 2, LONGEST),
        among(
            "answer_differs", "the answer is neither the instruction nor its own opposite", "echo", ["none"], "neither"
        ),
        among("about_known", f"about is one of {', '.join(ABOUT)}", "about", list(ABOUT), "known"),
        among(
            "instruction_by_known",
            f"instructions are worded by one of {', '.join(BY)}",
            "instruction_by",
            list(BY),
            "known",
        ),
        among("answer_by_known", f"answers are worded by one of {', '.join(BY)}", "answer_by", list(BY), "known"),
        among("history_seen", "every snapshot lies before the evaluation snapshot", "history", ["seen"], "before it"),
        among("horizon_seen", horizon, "horizon", ["seen", "none"], "by then"),
        among("choice_given", "every yes or no has its opposite", "choice", ["given"], "given"),
    ]


def _balance(rows: pl.DataFrame) -> tuple[list[Rule], dict[str, Any]]:
    """Kinds answer yes or no always or never, and then neither nearly always."""
    polarity = pl.col("polarity")
    kinds = rows.group_by("kind").agg(n=pl.len(), open=polarity.null_count(), yes=polarity.mean())
    mixed = kinds.filter((pl.col("open") > 0) & (pl.col("open") < pl.col("n"))).sort("kind")["kind"].to_list()
    low, high = SHARE_OF_YES
    lopsided = kinds.filter(pl.col("n") >= FEWEST, ~pl.col("yes").is_between(low, high)).sort("kind")
    figures = {
        "polarity_whole": ", ".join(mixed) or "all",
        "polarity_balanced": ", ".join(f"{k} {y:.0%}" for k, y in lopsided.select("kind", "yes").iter_rows()) or "all",
    }
    sentence = f"in every kind that answers yes or no, {low:.0%} to {high:.0%} are yes"
    return [
        figure_is("polarity_whole", "a kind answers yes or no on all of its rows or on none", "all"),
        figure_is("polarity_balanced", sentence, "all", "warning"),
    ], figures
