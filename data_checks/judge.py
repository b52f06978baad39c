"""Puts rules to Great Expectations: suites in code, an ephemeral context, pandas batches."""

import os
from collections import defaultdict
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from data_checks.outcome import CheckOutcome
from data_checks.rules import Rule

UNIQUE = {"ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique"}
# Times outside are moved to the edge, where every rule on times still refuses them: nanoseconds end in 2262.
EARLIEST, LATEST = datetime(1700, 1, 1), datetime(2260, 1, 1)


def judge(
    source: str, rules: list[Rule], rows: pl.DataFrame, figures: dict[str, Any] | None = None
) -> list[CheckOutcome]:
    """One outcome per rule, in the order of `rules`.

    rows: the table; times as naive local wall clock. figures: what rules about the table read, by name.
    An expectation that raises counts as failed. Of rows that share a key, all but the first of the file
    (by column `row` if there is one, else by position) are bad.
    """
    batches = {"rows": _pandas(rows, rules)}
    if figures:
        import pandas as pd

        batches["table"] = pd.DataFrame([figures])
    found: dict[str, Any] = {}
    for kind, batch in batches.items():
        # A row count is a statement about the table made on its rows.
        own = [r for r in rules if (r.about == kind and r.columns) or (kind == "rows" and not r.columns)]
        found |= _validate(f"{source} {kind}", own, batch)
    return [_outcome(source, rule, rows, figures or {}, found[rule.name]) for rule in rules]


def _validate(name: str, rules: list[Rule], frame) -> dict[str, Any]:
    """Great Expectations' result per rule name. `frame` is a pandas frame with a fresh index."""
    if not rules:
        return {}
    context = _context()
    import great_expectations as gx
    import great_expectations.expectations as gxe

    # The same data source anew each time: a context keeps the frames of those that it has.
    asset = context.data_sources.add_or_update_pandas("frames").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name).get_batch({"dataframe": frame})
    expectations = [
        getattr(gxe, rule.expectation)(**rule.arguments, severity=rule.severity, meta={"rule": rule.name})
        for rule in rules
    ]
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    validated = batch.validate(suite, result_format={"result_format": "COMPLETE", "exclude_unexpected_values": True})
    return {result.expectation_config.meta["rule"]: result for result in validated.results}


@cache
def _context() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context


def _pandas(rows: pl.DataFrame, rules: list[Rule]):
    """The columns that rules read, as pandas. Whole numbers with gaps stay whole: a float would merge large keys."""
    import pandas as pd
    import pyarrow as pa

    needed = {c for rule in rules if rule.about == "rows" for c in rule.columns}
    frame = rows.select([c for c in rows.columns if c in needed] or rows.columns[:1])
    times = [
        pl.col(c).clip(EARLIEST, LATEST).cast(pl.Datetime("ns")) for c, t in frame.schema.items() if t == pl.Datetime
    ]
    words = [pl.col(c).cast(pl.Categorical) for c, t in frame.schema.items() if t == pl.String]
    frame = frame.with_columns(*times, *words)
    nullable = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.uint32(): pd.UInt32Dtype()}
    gaps = any(t.is_integer() and frame[c].null_count() for c, t in frame.schema.items())
    return frame.to_pandas(types_mapper=nullable.get if gaps else None).reset_index(drop=True)


def _outcome(source: str, rule: Rule, rows: pl.DataFrame, figures: dict[str, Any], result: Any) -> CheckOutcome:
    raised = _raised(result)
    bad = np.array(sorted(result.result.get("unexpected_index_list") or []), np.int64)
    if rule.about == "table":
        bad = np.empty(0, np.int64)
        observed = _figure(rule, figures[rule.columns[0]]) if rule.columns else f"{rows.height:,}"
    elif raised:
        observed = "could not be checked"
    else:
        if rule.expectation in UNIQUE:
            bad = _repeats(rows, rule.columns, bad)
        observed = _observed(rule, rows, len(bad))
    return CheckOutcome(
        name=rule.name,
        source=source,
        sentence=rule.sentence,
        blocking=rule.severity == "critical",
        passed=bool(result.success) and not raised,
        observed=f"{observed} ({raised})" if raised else observed,
        expected=rule.expected,
        checked=rows.height,
        failed=len(bad),
        bad=bad,
        bad_values=_values(rows, rule, bad) if len(bad) else [],
    )


def _raised(result: Any) -> str:
    """What an expectation that could not be computed says; empty if it was computed."""
    info = result.exception_info or {}
    parts = [info] if "raised_exception" in info else list(info.values())
    return "; ".join(str(p.get("exception_message"))[:200] for p in parts if p.get("raised_exception"))


def _repeats(rows: pl.DataFrame, key: list[str], shared: np.ndarray) -> np.ndarray:
    """Of the rows that share a key, those after the first of the file."""
    order = ["row"] if "row" in rows.columns else ["position"]
    group = (
        rows[shared]
        .with_columns(position=pl.Series(shared, dtype=pl.Int64))
        .sort(*order, "position", maintain_order=True)
    )
    return group.filter(~pl.struct(key).is_first_distinct())["position"].sort().to_numpy()


def _observed(rule: Rule, rows: pl.DataFrame, failed: int) -> str:
    if rule.expectation == "ExpectColumnValuesToBeBetween":
        column = rows[rule.columns[0]]
        whole = column.drop_nans() if column.dtype.is_float() else column
        return "no values" if whole.drop_nulls().is_empty() else f"{_words(whole.min())} to {_words(whole.max())}"
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


def _values(rows: pl.DataFrame, rule: Rule, bad: np.ndarray) -> list[str]:
    """What stands in the rule's columns at the bad rows, as text."""
    texts = {c: rows[c].gather(bad).cast(pl.String).fill_null("empty") for c in rule.columns}
    if len(texts) == 1:
        return next(iter(texts.values())).to_list()
    named = [pl.format(f"{name} {{}}", pl.col(name)) for name in texts]
    return pl.DataFrame(texts).select(pl.concat_str(named, separator=", ").alias("v"))["v"].to_list()


def by_source(outcomes: list[CheckOutcome]) -> dict[str, list[CheckOutcome]]:
    """Outcomes grouped by their source, in order."""
    groups: dict[str, list[CheckOutcome]] = defaultdict(list)
    for outcome in outcomes:
        groups[outcome.source].append(outcome)
    return dict(groups)
