"""Reads what the validation set aside: counts per source, and its rows with file, row number, rule and value."""

import json
from dataclasses import dataclass

import polars as pl

from instructue.errors import ConfigError, DataError
from instructue.paths import Paths

APART = "; "  # between the rules, reasons and values of a row that breaks several


@dataclass(frozen=True)
class Quarantine:
    """counts: per source read, kept and quarantined. rows: all that was set aside, one row per row and broken rule,
    with columns source, file, row (its number in the file, from 0), rule, severity, reason, value, user, time."""

    counts: dict[str, dict[str, int]]
    rows: pl.DataFrame

    def by_rule(self) -> pl.DataFrame:
        """Source, rule, reason and how many rows break it, in the order of the sources, the most frequent first."""
        order = pl.col("source").replace_strict({name: n for n, name in enumerate(self.counts)}, return_dtype=pl.Int32)
        found = self.rows.group_by("source", "file", "rule", "reason").agg(rows=pl.len())
        return found.sort(order, -pl.col("rows").cast(pl.Int64), "rule")

    def chosen(self, source: str | None, rule: str | None) -> "Quarantine":
        """Only one source or one rule. Raises ConfigError naming those that there are."""
        rows, counts = self.rows, self.counts
        if source is not None:
            if source not in counts:
                raise ConfigError(f"there is no source {source!r}; sources: {', '.join(counts)}")
            rows, counts = rows.filter(pl.col("source") == source), {source: counts[source]}
        if rule is not None:
            if rule not in (known := rows["rule"].unique().sort().to_list()):
                raise ConfigError(f"no row in quarantine breaks {rule!r}; broken rules: {', '.join(known) or 'none'}")
            rows = rows.filter(pl.col("rule") == rule)
        return Quarantine(counts, rows)


def read_quarantine(paths: Paths) -> Quarantine:
    """What the last validation set aside. Raises DataError if none has run."""
    summary = paths.quarantine / "summary.json"
    if not summary.is_file():
        raise DataError(f"{summary} is not there; run the validation stage first: python -m instructue validation")
    counts = json.loads(summary.read_text(encoding="utf-8"))
    files = [paths.quarantine / f"{name}.parquet" for name, n in counts.items() if n["quarantined"]]
    try:
        tables = [_text_times(pl.read_parquet(path)) for path in files]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{paths.quarantine} cannot be read ({error}); run again: python -m instructue validation"
        ) from error
    empty = pl.DataFrame(schema=dict.fromkeys(("source", "file", "rule", "severity", "reason", "value"), pl.String))
    rows = pl.concat([empty, *tables], how="diagonal_relaxed")
    # A value may hold the sign between values; then the row's values stay together.
    parts = [pl.col(c).str.split(APART) for c in ("rule", "reason", "value")]
    same = parts[0].list.len() == parts[2].list.len()
    values = pl.when(same).then(parts[2]).otherwise(pl.col("value").repeat_by(parts[0].list.len()))
    several = rows.with_columns(parts[0], parts[1], values.alias("value"))
    return Quarantine(counts, several.explode("rule", "reason", "value"))


def _text_times(rows: pl.DataFrame) -> pl.DataFrame:
    """Times as text, for sources without them lie in the same table."""
    return rows.with_columns(pl.col("time").cast(pl.String)) if "time" in rows.columns else rows
