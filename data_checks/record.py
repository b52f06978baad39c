"""How outcomes are written down: in results.json, on the page and in Dagster's checks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from data_checks.outcome import CheckOutcome, quarantined_rows

SHOWN = 20  # bad rows per expectation; the quarantine has all of them
WORST_FIRST = ("failed", "quarantined", "warned")


def suite_record(outcomes: Sequence[CheckOutcome], table: pl.DataFrame | None = None) -> dict[str, Any]:
    """One table's outcomes as plain JSON: verdict, counts, expectations with their first bad rows.

    table: what was checked, if bad rows are to be shown by their row in the file, user and time, not by position.
    """
    read, bad = max((o.checked for o in outcomes), default=0), len(quarantined_rows(list(outcomes)))
    return {
        "verdict": worst(outcomes),
        "read": read,
        "kept": read - bad,
        "quarantined": bad,
        "expectations": [
            {
                "name": o.name,
                "sentence": o.sentence,
                "severity": o.severity,
                "verdict": o.verdict,
                "observed": o.observed,
                "expected": o.expected,
                "failed_rows": o.failed,
                "first_bad_rows": first_bad_rows(o, table),
            }
            for o in outcomes
        ],
    }


def worst(outcomes: Sequence[CheckOutcome]) -> str:
    """The verdict of the whole."""
    verdicts = {o.verdict for o in outcomes}
    return next((v for v in WORST_FIRST if v in verdicts), "passed")


def first_bad_rows(outcome: CheckOutcome, table: pl.DataFrame | None = None) -> list[dict[str, Any]]:
    """The first rows that break one expectation, in the order of the file if it is known."""
    positions = np.concatenate([outcome.bad, outcome.noted])
    if not len(positions):
        return []
    found = pl.DataFrame({"value": [*outcome.bad_values, *outcome.noted_values]}, schema={"value": pl.String})
    if table is None:
        return found.select(position=pl.Series(positions, dtype=pl.Int64), value="value").head(SHOWN).to_dicts()
    places = [c for c in ("row", "user", "time") if c in table.columns]
    rows = table[positions].select(places).with_columns(found)
    first = rows.sort("row", maintain_order=True).head(SHOWN) if "row" in places else rows.head(SHOWN)
    return [{k: str(v) if k == "time" else v for k, v in row.items()} for row in first.to_dicts()]
