"""Validates all staged tables of a data set: one suite per source, one page for people."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from data_checks.judge import judge
from data_checks.outcome import CheckOutcome, quarantined_rows
from data_checks.page import write_report
from data_checks.suites import source_suite
from instructue.sources.spec import DatasetSpec


def validate(
    dataset: DatasetSpec,
    tables: Mapping[str, pl.DataFrame],
    texts: pl.DataFrame,
    origins: dict[str, Path],
    report: Path,
    max_quarantined_share: float = 0.0,
    before: dict[str, int] | None = None,
) -> list[CheckOutcome]:
    """Judge every source, write `report`/index.html and results.json, return all outcomes in order.

    tables: staged table per source. texts: the dictionary of event texts. origins: file that each source's row
    numbers point into. While at most `max_quarantined_share` of a source's rows are bad, the rules that they
    break do not block; those rows are to be left out. before: rows per source when they were last published.
    """
    outcomes = []
    for source in dataset.sources:
        read = tables[source.name].height
        suite = source_suite(dataset, source, tables, texts, (before or {}).get(source.name))
        judged = judge(source.name, suite.rules, suite.rows, suite.figures, suite.texts, suite.parts)
        del suite  # a copy of the table's times and texts, which the next one needs no room beside
        outcomes += [*_tolerate(source.name, judged, read, max_quarantined_share), adds_up(source.name, judged, read)]
    write_report(report, dataset, tables, origins, outcomes)
    return outcomes


def _tolerate(source: str, outcomes: list[CheckOutcome], rows: int, allowed: float) -> list[CheckOutcome]:
    """Outcomes with one more, on the share of bad rows; where that one holds, rules about rows no longer block."""
    share = len(quarantined_rows(outcomes)) / max(rows, 1)
    # All rows bad is never tolerable: it would publish an empty source.
    passed = share <= allowed and (share < 1 or not rows)
    verdict = CheckOutcome(
        name="quarantined_share",
        source=source,
        sentence=f"rows that break a rule are at most {allowed:.2%} of the source",
        passed=passed,
        blocking=True,
        observed=f"{share:.4%}",
        expected=f"0% to {allowed:.2%}",
        checked=rows,
    )
    if passed:
        outcomes = [replace(o, blocking=False) if len(o.bad) else o for o in outcomes]
    return [*outcomes, verdict]


def adds_up(source: str, outcomes: list[CheckOutcome], read: int) -> CheckOutcome:
    """Whether every row that was read is either kept or quarantined, each counted for itself."""
    kept = np.ones(read, bool)
    positions = quarantined_rows(outcomes)
    inside = positions[(positions >= 0) & (positions < read)]
    kept[inside] = False
    total = int(kept.sum()) + len(positions)
    return CheckOutcome(
        name="counts_add_up",
        source=source,
        sentence="every row that was read is kept or quarantined",
        passed=total == read,
        blocking=True,
        observed=f"{read:,} read, {int(kept.sum()):,} kept + {len(positions):,} quarantined",
        expected="read = kept + quarantined",
        checked=read,
    )
