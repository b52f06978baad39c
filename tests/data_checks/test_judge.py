"""Rules put to the real Great Expectations."""

import sys
from datetime import datetime

import polars as pl
import pytest

from data_checks.judge import judge
from data_checks.rules import (
    Rule,
    among,
    at_least_one_row,
    between_times,
    figure_is,
    figure_within,
    form,
    free_of,
    given,
    long,
    share_within,
    unique,
    within,
)  # fmt: skip


def one(rule: Rule, rows: dict | pl.DataFrame, figures: dict | None = None):
    (outcome,) = judge("s", [rule], pl.DataFrame(rows), figures)
    return outcome


@pytest.mark.parametrize(
    ("rule", "values", "bad", "texts"),
    [
        (given("x"), [1.0, None, float("nan"), float("inf")], [1, 2], ["empty", "NaN"]),
        (within("x", 0, 10), [0.0, 10.0, -0.1, 10.1, None, float("inf")], [2, 3, 5], ["-0.1", "10.1", "inf"]),
        (within("x", None, None), [-1e300, 1e300, float("inf"), float("-inf")], [2, 3], ["inf", "-inf"]),
        (within("x", 1, None), [1.0, 0.0, sys.float_info.max, float("inf")], [1, 3], ["0.0", "inf"]),
        (among("a", "x is a or b", "x", ["a", "b"], "a or b"), ["a", "c", "b", None], [1], ["c"]),
        (long("x", 2, 3), ["ab", "a", "abc", "abcd"], [1, 3], ["a", "abcd"]),
        (unique(["x"]), [5, 7, 5, 7, 7, 9], [2, 3, 4], ["5", "7", "7"]),
    ],
    ids=["given", "within", "finite", "at least", "among", "long", "unique"],
)
def test_exactly_the_bad_rows_are_found(rule, values, bad, texts):
    outcome = one(rule, {"x": values})
    assert not outcome.passed and outcome.blocking and outcome.verdict == "failed"
    assert outcome.bad.tolist() == bad and outcome.bad_values == texts
    assert (outcome.checked, outcome.failed) == (len(values), len(bad))
    assert one(rule, {"x": [v for i, v in enumerate(values) if i not in bad]}).passed


def test_times_hold_from_the_start_until_before_the_end_in_any_century():
    rule = between_times("t", datetime(2017, 1, 1), datetime(2018, 1, 1))
    stamps = [
        datetime(2017, 1, 1), datetime(2016, 12, 31, 23, 59, 59, 999_999), datetime(2017, 12, 31, 23, 59, 59, 999_999),
        datetime(2018, 1, 1), datetime(9999, 12, 31), datetime(1, 1, 1), datetime(2602, 1, 1),
    ]  # fmt: skip
    outcome = one(rule, pl.DataFrame({"t": stamps}, schema={"t": pl.Datetime("us")}))
    assert outcome.bad.tolist() == [1, 3, 4, 5, 6]
    assert outcome.bad_values[2].startswith("9999-12-31")


def test_large_keys_beside_a_gap_are_not_merged():
    # As floats, 2^53 + 1 and 2^53 are one number.
    keys = pl.DataFrame({"a": [2**53 + 1, 2**53, None, 2**53 + 1], "b": [1, 1, 1, 2]})
    assert one(unique(["a", "b"]), keys).passed
    assert one(unique(["a"]), keys).bad.tolist() == [3]


def test_of_rows_that_share_a_key_the_first_of_the_file_is_good():
    rows = pl.DataFrame({"row": [9, 2, 5, 7], "a": [1, 1, 1, 2], "b": ["x", "x", "x", "x"]})
    outcome = one(unique(["a", "b"]), rows)
    assert outcome.bad.tolist() == [0, 2] and outcome.bad_values == ["a 1, b x"] * 2


def test_an_expectation_that_raises_has_failed():
    outcome = one(within("nowhere", 0, 1), {"x": [1.0]})
    assert not outcome.passed and outcome.verdict == "failed" and "nowhere" in outcome.observed


def test_figures_of_the_table_are_judged_as_one():
    rules = [
        at_least_one_row(), figure_is("form", "the form is", "right"), share_within("share", "at most a half", 0.5),
        figure_within("gap", "no more than 3", 0, 3, "critical"),
    ]  # fmt: skip
    good = judge("s", rules, pl.DataFrame({"x": [1]}), {"form": "right", "share": 0.5, "gap": 3})
    assert [o.verdict for o in good] == ["passed"] * 4 and good[2].observed == "50.00%"
    bad = judge("s", rules, pl.DataFrame({"x": []}), {"form": "wrong", "share": 0.51, "gap": float("nan")})
    assert [o.verdict for o in bad] == ["failed", "failed", "warned", "failed"]
    assert all(len(o.bad) == 0 for o in bad)


def test_the_form_of_a_table_names_what_is_missing_and_what_is_wrong():
    rules, figures, sound = form(
        {"a": pl.Int64(), "b": pl.String(), "c": None, "d": pl.Int64()},
        {"a": pl.Int64(), "b": pl.Int8(), "c": pl.Date()},
    )
    assert figures == {"columns": "d missing", "types": "b is Int8"} and sound == ["a", "c"]
    assert [o.passed for o in judge("s", rules, pl.DataFrame({"a": [1]}), figures)] == [False, False]


def test_great_expectations_finds_the_same_rows():
    """The column expressions against the engine whose names they have, on values of every odd kind."""
    import great_expectations as gx
    import great_expectations.expectations as gxe

    numbers = [0.0, -0.1, 10.0, 10.1, None, float("inf"), float("-inf"), 5.0, 5.0, 3.0]
    words = ["ab", "a", "abc", "abcd", None, "", "é", "ab", "b\x07", "ab"]
    rows = pl.DataFrame(
        {"x": numbers, "t": words, "k": [1, 1, 2, 3, 4, 5, 6, 7, 7, 8], "l": [1, 1, 1, 1, 1, 1, 1, 2, 2, 1]}
    )
    rules = [
        given("x"), given("t"), within("x", 0, 10), among("a", "s", "t", ["a", "ab"], "e"), long("t", 1, 3),
        free_of("f", "s", "t", "[\x00-\x1f]|c", "e"),
    ]  # fmt: skip
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("both").add_dataframe_asset("both")
    batch = asset.add_batch_definition_whole_dataframe("both").get_batch({"dataframe": rows.to_pandas()})
    for rule, ours in zip(rules, judge("s", rules, rows), strict=True):
        theirs = batch.validate(getattr(gxe, rule.expectation)(**rule.arguments), result_format="COMPLETE")
        assert ours.bad.tolist() == sorted(theirs.result["unexpected_index_list"]), rule.name
        assert len(ours.bad), f"{rule.name} is not put to the test"
    # Great Expectations names all rows of a key, we all but the first.
    theirs = batch.validate(gxe.ExpectCompoundColumnsToBeUnique(column_list=["k", "l"]), result_format="COMPLETE")
    assert theirs.result["unexpected_index_list"] == [0, 1, 7, 8]
    assert one(unique(["k", "l"]), rows).bad.tolist() == [1, 8]
