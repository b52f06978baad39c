"""The UserQA suite on a small good table, and on each way of spoiling it."""

from datetime import date, datetime, timedelta
from functools import reduce
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from data_checks.userqa_suite import check_userqa
from instructue.userqa.schema import OWN_PAIRS, conform

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


def spoilt(*ways):
    """One after the other."""
    return lambda frame: reduce(lambda f, way: way(f), ways, frame)


def lopsided(frame: pl.DataFrame) -> pl.DataFrame:
    """All yes but two: questions only, as those about the history have no yes."""
    turned = pl.col("polarity").is_not_null() & (pl.col("triplet") > 4) & ~pl.col("polarity")
    return frame.with_columns(
        polarity=pl.col("polarity") | turned,
        answer=pl.when(turned).then("opposite").otherwise("answer"),
        opposite=pl.when(turned).then("answer").otherwise("opposite"),
    )


def by_value(frame: pl.DataFrame) -> pl.DataFrame:
    """Balanced as a whole, yet tea is always a yes and ale always a no; every question names its value."""
    ale = pl.col("answer").str.starts_with("No ")
    named = pl.when(ale).then(pl.lit("ale")).otherwise("value")
    asks = pl.col("instruction").str.replace("tea", "ale")
    return frame.with_columns(value=named, instruction=pl.when(ale).then(asks).otherwise("instruction"))


def crowded(frame: pl.DataFrame) -> pl.DataFrame:
    """Twenty-one kinds, of which one has half of all triplets."""
    many = pl.format("most_{}", pl.col("triplet") % 20)
    return frame.with_columns(kind=pl.when(pl.col("polarity").is_null()).then(many).otherwise("kind"))


LATE = datetime(2017, 10, 1, 0, 0, 1, tzinfo=ZoneInfo(ZONE))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (at(3, instruction=None), {"instruction_given": ("failed", [3])}),
        (at(3, answer=None), {"answer_given": ("failed", [3])}),
        (at(3, answer="?"), {"answer_length": ("failed", [3])}),
        (at(3, instruction="x" * 401), {"instruction_length": ("failed", [3])}),
        (at(3, answer="Will it buy tea in four weeks?"), {"answer_differs": ("failed", [3])}),
        (at(3, answer="Yes, tea."), {"answer_differs": ("failed", [3]), "polarity_said": ("failed", [3])}),
        (at(3, horizon_end=LATE), {"horizon_seen": ("failed", [3])}),
        (at(3, horizon_end=None), {"horizon_seen": ("failed", [3])}),
        (at(3, horizon_end=datetime(2017, 9, 3, tzinfo=ZoneInfo(ZONE))), {"horizon_seen": ("failed", [3])}),
        (at(50, horizon_end=LATE - timedelta(seconds=1)), {"horizon_seen": ("failed", [50])}),
        (at(50, snapshot=LATE), {"history_seen": ("failed", [50]), "example_one_history": ("failed", [])}),
        (at(3, opposite=None), {"choice_given": ("failed", [3])}),
        (at(3, polarity=None), {"polarity_whole": ("failed", [])}),
        (at(3, triplet=2), {"key_unique": ("failed", [3])}),
        (at(3, example=2), {"asked_once": ("failed", [3]), "example_one_history": ("failed", [])}),
        (at(3, answer_by="oracle"), {"answer_by_known": ("failed", [3])}),
        (lambda f: f.filter(pl.col("polarity").is_null() | pl.col("polarity") | (pl.col("triplet") < 8)), {}),
        (lopsided, {"polarity_balanced": ("failed", []), "answer_not_guessed": ("warned", [])}),
        (by_value, {"answer_not_guessed": ("warned", [])}),
        (crowded, {"kinds_even": ("failed", [])}),
        (at(3, user=3), {"example_one_history": ("failed", [])}),
        (spoilt(
            at(3, answer="Yes, it will.", opposite="No, never."),
            at(5, opposite="Yes, {}."), at(50, instruction="What did {who} buy?"), at(51, answer="Mostly {answer}."),
            at(7, opposite="Yes, \u202eaet."), at(52, answer="Mostly\ntea."), at(53, instruction="What did\x07 it?"),
            at(54, instruction="What did it buy, mostly tea?"),
            at(55, instruction="Mostly tea, or mostly ale?", opposite="Mostly ale."),
        ), {
            "polarity_said": ("failed", [3]), "slots_filled": ("failed", [5, 50, 51]),
            "characters_seen": ("failed", [7, 52, 53]), "answer_withheld": ("failed", [54]),
        }),
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


def worded(frame: pl.DataFrame) -> pl.DataFrame:
    """Questions about the horizon in two wordings, each with its value."""
    other = pl.col("instruction").str.replace("Will it", "Is it going to").str.replace("in four", "within four")
    return frame.with_columns(instruction=pl.when(pl.col("triplet") % 2 == 0).then(other).otherwise("instruction"))


def test_wordings_on_file_are_in_use(triplets):
    two = {"buy": {"instruction": ["Will it buy {value}?", "Does it buy {value}?"]}, "most": {"instruction": ["What?"]}}
    found = {o.name: (o.verdict, o.observed) for o in check_userqa(worded(triplets), EVALUATION, two) if not o.passed}
    assert found == {}
    # One wording where the file has two.
    found = {o.name: (o.verdict, o.observed) for o in check_userqa(triplets, EVALUATION, two) if not o.passed}
    assert found == {"wordings_used": ("warned", "buy 1 of 2")}
    # Too few triplets for three wordings to be sure to come up.
    three = two | {"buy": {"instruction": [*two["buy"]["instruction"], "Buys it {value}?"]}}
    assert all(o.passed for o in check_userqa(triplets, EVALUATION, three))
    found = {o.name: (o.verdict, o.observed) for o in check_userqa(triplets, EVALUATION, {}) if not o.passed}
    assert found == {"kinds_worded": ("failed", "buy, most")}


def test_pairs_by_hand_are_judged_by_row_and_not_by_kind(triplets):
    by_hand = pl.col("polarity").is_null()
    own = triplets.with_columns(
        kind=pl.when(by_hand).then(pl.lit(OWN_PAIRS)).otherwise("kind"),
        instruction_by=pl.when(by_hand).then(pl.lit("team")).otherwise("instruction_by"),
        instruction=pl.when(by_hand).then(pl.lit("Was it mostly tea?")).otherwise("instruction"),
    )
    outcomes = check_userqa(own, EVALUATION, {"buy": {"instruction": ["Will it buy {value}?"]}})
    assert [o.name for o in outcomes if not o.passed] == []
    assert failing(at(50, answer="{value}")(own)) == {"slots_filled": ("failed", [50])}
