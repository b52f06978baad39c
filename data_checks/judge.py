"""Puts rules to their engine: rules on rows to column expressions, rules on figures to Great Expectations.

Great Expectations takes a pandas copy and about 0.1 s per million rows and rule; one row of figures costs it nothing.
Its suites are made in code, in an ephemeral context. Both engines answer with the same `CheckOutcome`.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache, partial
from typing import Any

import numpy as np
import polars as pl

from data_checks.columns import NONE, UNIQUE, bad_rows, values
from data_checks.outcome import CheckOutcome
from data_checks.rules import Part, Rule


def judge(
    source: str,
    rules: list[Rule],
    rows: pl.DataFrame,
    figures: dict[str, Any] | None = None,
    texts: pl.DataFrame | None = None,
    parts: Sequence[Part] = (),
) -> list[CheckOutcome]:
    """One outcome per rule, in the order of `rules`, then of `parts`.

    rows: the table; times as naive local wall clock. figures: what rules about the table read, by name.
    texts: what rules about texts read: each `text_id` of `rows` once, with its text and attributes.
    parts: each gives more rules about the table and their figures, by looking at the rows.
    A rule that cannot be computed counts as failed. Of rows that share a key, all but the first of the file
    (by column `row` if there is one, else by position) are bad. Rows that break a rule that only warns are
    `noted`, not bad.
    """
    # All are readers, side by side: keys, medians and Great Expectations keep one processor busy each.
    with ThreadPoolExecutor(1) as beside, ThreadPoolExecutor(2) as counting:
        rows_found = beside.submit(bad_rows, _about("rows", rules), rows)
        counted = counting.map(lambda part: part(), parts)
        found: dict[str, Any] = bad_rows(_about("texts", rules), texts) if texts is not None else {}
        every, known = list(rules), dict(figures or {})
        for more, counts in counted:
            every += more
            known |= counts
        if on_table := _about("table", every):
            found |= _validate(source, on_table, known)
        found |= rows_found.result()
        outcome = partial(_outcome, source, rows=rows, texts=texts, figures=known)
        return list(counting.map(outcome, every, [found.get(rule.name) for rule in every]))


def _about(kind: str, rules: list[Rule]) -> list[Rule]:
    return [rule for rule in rules if rule.about == kind and rule.columns]


def _validate(name: str, rules: list[Rule], figures: dict[str, Any]) -> dict[str, Any]:
    """Great Expectations' result per rule on figures, by the rule's name."""
    frames = _frames()
    import great_expectations as gx
    import great_expectations.expectations as gxe
    import pandas as pd

    batch = frames.get_batch({"dataframe": pd.DataFrame([figures])})
    expectations = [
        getattr(gxe, rule.expectation)(**rule.arguments, severity=rule.severity, meta={"rule": rule.name})
        for rule in rules
    ]
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    validated = batch.validate(suite, result_format="BASIC")
    return {result.expectation_config.meta["rule"]: result for result in validated.results}


@cache
def _frames() -> Any:
    """Where a frame of figures goes; made once, as a context writes itself down with each part that it is given."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return (
        context.data_sources.add_pandas("frames")
        .add_dataframe_asset("figures")
        .add_batch_definition_whole_dataframe("figures")
    )


def _outcome(
    source: str, rule: Rule, found: Any, rows: pl.DataFrame, texts: pl.DataFrame | None, figures: dict[str, Any]
) -> CheckOutcome:
    bad, said = NONE, []
    if not rule.columns:  # the one rule on a table that has no figure: its row count
        passed, observed = rows.height >= rule.arguments["min_value"], f"{rows.height:,}"
    elif rule.about == "table":
        raised = _raised(found)
        passed, observed = bool(found.success) and not raised, _figure(rule, figures[rule.columns[0]])
        observed += f" ({raised})" if raised else ""
    elif isinstance(found, np.ndarray):
        table = rows if texts is None or rule.about == "rows" else texts
        observed, said = _observed(rule, table, len(found)), values(table, rule.shows or rule.columns, found)
        bad, said = (found, said) if table is rows else _rows_of(found, said, rows, table)
        passed = not len(bad)
        observed = f"{len(bad):,} otherwise" if table is not rows and not passed else observed
    else:
        passed, observed = False, f"could not be checked ({found or 'no texts were given'})"
    warns = rule.severity != "critical"
    return CheckOutcome(
        name=rule.name,
        source=source,
        sentence=rule.sentence,
        blocking=not warns,
        passed=passed,
        observed=observed,
        expected=rule.expected,
        checked=rows.height,
        failed=len(bad),
        bad=NONE if warns else bad,
        bad_values=[] if warns else said,
        noted=bad if warns else NONE,
        noted_values=said if warns else [],
    )


def _raised(result: Any) -> str:
    """What an expectation that could not be computed says; empty if it was computed."""
    info = result.exception_info or {}
    parts = [info] if "raised_exception" in info else list(info.values())
    return "; ".join(str(p.get("exception_message"))[:200] for p in parts if p.get("raised_exception"))


def _rows_of(bad: np.ndarray, said: list[str], rows: pl.DataFrame, texts: pl.DataFrame) -> tuple[np.ndarray, list[str]]:
    """The rows that have one of the bad texts, and what to say of each."""
    if not len(bad):
        return NONE, []
    spoilt = pl.DataFrame({"text_id": texts["text_id"].gather(bad), "said": said})
    hit = rows.select("text_id", position=pl.int_range(pl.len())).join(spoilt, on="text_id", maintain_order="left")
    return hit["position"].to_numpy(), hit["said"].to_list()


def _observed(rule: Rule, rows: pl.DataFrame, failed: int) -> str:
    if rule.expectation == "ExpectColumnValuesToBeBetween":
        column = rows[rule.columns[0]]
        low, high = column.min(), column.max()  # of a float's values without NaN, unless there are no others
        return "no values" if low is None or low != low else f"{_words(low)} to {_words(high)}"
    if rule.expectation == "ExpectColumnValuesToBeInSet":
        return f"{rows[rule.columns[0]].n_unique():,} distinct"
    if rule.expectation in UNIQUE:
        return f"{failed:,} repeats"
    return f"{failed:,} {'empty' if rule.expectation == 'ExpectColumnValuesToNotBeNull' else 'otherwise'}"


def _figure(rule: Rule, value: Any) -> str:
    return f"{value:.2%}" if "%" in rule.expected else _words(value)


def _words(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)


def by_source(outcomes: list[CheckOutcome]) -> dict[str, list[CheckOutcome]]:
    """Outcomes grouped by their source, in order."""
    groups: dict[str, list[CheckOutcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.source].append(outcome)
    return dict(groups)
