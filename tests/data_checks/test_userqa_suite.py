"""The UserQA suite on a small good table, and on each way of spoiling it."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from data_checks.userqa_suite import check_userqa
from instructue.userqa.schema import conform

ZONE = "America/New_York"
EVALUATION = date(2017, 10, 1)


@pytest.fixture(scope="module")
def triplets() -> pl.DataFrame:
    """Forty yes/no questions about a horizon that ends with the evaluation snapshot, and forty about the history."""
    n, at = 40, datetime(2017, 9, 3, tzinfo=ZoneInfo(ZONE))
    kinds = pl.DataFrame({"about": ["horizon"] * n + ["history"] * n, "number": [*range(n), *range(n)]}).with_row_index(
        "triplet"
    )
    yes, number, ahead = pl.col("number") % 2 == 0, pl.col("number"), pl.col("about") == "horizon"
    stamp = pl.Datetime("us", ZONE)
    return conform(kinds.with_columns(
        example=number, user=number + 1, snapshot=pl.lit(at, stamp), source=pl.lit("purchase"),
        kind=pl.when(ahead).then(pl.lit("buy")).otherwise(pl.lit("most")),
        instruction=pl.when(ahead).then(pl.lit("Will it buy tea in four weeks?")).otherwise(pl.lit("What did it buy?")),
        answer=pl.when(~ahead).then(pl.lit("Mostly tea.")).when(yes).then(pl.lit("Yes, tea."))
        .otherwise(pl.lit("No tea.")),
        opposite=pl.when(~ahead).then(None).when(yes).then(pl.lit("No tea.")).otherwise(pl.lit("Yes, tea.")),
        polarity=pl.when(ahead).then(yes), value=pl.lit("tea"),
        instruction_by=pl.lit("llm"), answer_by=pl.lit("template"),
        horizon_end=pl.when(ahead).then(pl.lit(at + timedelta(days=28), stamp)),
    ), ZONE)  # fmt: skip


def failing(frame: pl.DataFrame) -> dict[str, tuple[str, list[int]]]:
    return {o.name: (o.verdict, o.bad.tolist()) for o in check_userqa(frame, EVALUATION) if not o.passed}


def test_a_good_table_passes_and_says_what_it_looked_at(triplets):
    outcomes = check_userqa(triplets, EVALUATION)
    assert [o.name for o in outcomes if not o.passed] == [] and len(outcomes) > 20
    assert {o.checked for o in outcomes} == {80} and {o.source for o in outcomes} == {"userqa"}


def at(row: int, **values):
    hit = pl.int_range(pl.len()) == row
    return lambda f: f.with_columns(
        **{k: pl.when(hit).then(pl.lit(v, dtype=f.schema[k])).otherwise(k) for k, v in values.items()}
    )


def lopsided(frame: pl.DataFrame) -> pl.DataFrame:
    """All yes but two: questions only, as those about the history have no yes."""
    later = pl.col("polarity").is_not_null() & (pl.col("triplet") > 4)
    return frame.with_columns(polarity=pl.when(later).then(True).otherwise("polarity"))


LATE = datetime(2017, 10, 1, 0, 0, 1, tzinfo=ZoneInfo(ZONE))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (at(3, instruction=None), {"instruction_given": ("failed", [3])}),
        (at(3, answer=None), {"answer_given": ("failed", [3])}),
        (at(3, answer="?"), {"answer_length": ("failed", [3])}),
        (at(3, instruction="x" * 401), {"instruction_length": ("failed", [3])}),
        (at(3, answer="Will it buy tea in four weeks?"), {"answer_differs": ("failed", [3])}),
        (at(3, answer="Yes, tea."), {"answer_differs": ("failed", [3])}),
        (at(3, horizon_end=LATE), {"horizon_seen": ("failed", [3])}),
        (at(3, horizon_end=None), {"horizon_seen": ("failed", [3])}),
        (at(3, horizon_end=datetime(2017, 9, 3, tzinfo=ZoneInfo(ZONE))), {"horizon_seen": ("failed", [3])}),
        (at(50, horizon_end=LATE - timedelta(seconds=1)), {"horizon_seen": ("failed", [50])}),
        (at(50, snapshot=LATE), {"history_seen": ("failed", [50])}),
        (at(3, opposite=None), {"choice_given": ("failed", [3])}),
        (at(3, polarity=None), {"polarity_whole": ("failed", [])}),
        (at(3, triplet=2), {"key_unique": ("failed", [3])}),
        (at(3, example=2), {"asked_once": ("failed", [3])}),
        (at(3, answer_by="oracle"), {"answer_by_known": ("failed", [3])}),
        (lambda f: f.filter(pl.col("polarity").is_null() | pl.col("polarity") | (pl.col("triplet") < 8)), {}),
        (lopsided, {"polarity_balanced": ("warned", [])}),
        (lambda f: f.drop("opposite"), {"columns": ("failed", [])}),
        (lambda f: f.with_columns(pl.col("user").cast(pl.String)), {"types": ("failed", [])}),
        (lambda f: f.clear(), {"not_empty": ("failed", [])}),
    ],
)  # fmt: skip
def test_what_is_spoilt_is_found_and_nothing_else(triplets, spoil, found):
    assert failing(spoil(triplets)) == found


def test_the_evaluation_snapshot_may_come_as_a_date_or_a_moment(triplets):
    for moment in (date(2017, 10, 1), datetime(2017, 10, 1), datetime(2017, 10, 1, 4, tzinfo=ZoneInfo("UTC"))):
        assert all(o.passed for o in check_userqa(triplets, moment)), moment
    late = {o.name: o.failed for o in check_userqa(triplets, date(2017, 9, 30)) if not o.passed}
    assert late == {"horizon_seen": 40}
