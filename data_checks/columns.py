"""Row rules as column expressions on Polars: which rows break which rule, without a loop over rows.

Rules have Great Expectations' names and arguments (`data_checks.rules`); the tests put the same ones to both.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl

from data_checks.rules import Rule

NONE = np.empty(0, np.int64)
UNIQUE = {"ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique"}
SHOWN = 120  # characters of a value that is shown
HIDDEN = r"[\p{Cc}\u2028-\u202e\u2066-\u2069\ufeff]"  # would steer a terminal or turn text around

Found = np.ndarray | str  # positions of bad rows, ascending; or why the rule could not be checked
Mask = Callable[[pl.Expr, dict[str, Any]], pl.Expr]


def bad_rows(rules: list[Rule], rows: pl.DataFrame) -> dict[str, Found]:
    """Rule name -> bad rows. All rules are counted in one pass; only those that are broken are looked at again.

    Where a row has no value, only the rule that asks for one is broken.
    """
    with ThreadPoolExecutor(1) as beside:  # telling keys apart keeps one processor busy, counting the other
        repeated = {r.name: beside.submit(repeats, rows, r.columns) for r in rules if r.expectation in UNIQUE}
        counts, masks = _counts(rules, rows)
        found: dict[str, Found] = {}
        for rule in rules:
            try:
                if rule.name in repeated:
                    found[rule.name] = repeated[rule.name].result()
                elif counts[rule.name]:
                    found[rule.name] = rows.select(masks[rule.name].arg_true()).to_series().to_numpy().astype(np.int64)
                else:
                    found[rule.name] = NONE
            except pl.exceptions.PolarsError as error:
                found[rule.name] = str(error)[:200]
    return found


def _counts(rules: list[Rule], rows: pl.DataFrame) -> tuple[dict[str, int], dict[str, pl.Expr]]:
    """How many rows break each rule but those on keys, and the expressions that say which."""
    masks = {r.name: _mask(r, rows.schema) for r in rules if r.expectation not in UNIQUE}
    try:
        sums = [mask.sum().alias(name) for name, mask in masks.items()]
        return rows.select(sums).row(0, named=True) if sums else {}, masks
    except pl.exceptions.PolarsError:
        return dict.fromkeys(masks, 1), masks  # one of them cannot be computed: each on its own, to name it


def repeats(rows: pl.DataFrame, key: list[str]) -> np.ndarray:
    """Of the rows that share a key, those after the first of the file (by `row` if there is one, else by position).

    Equal keys have equal hashes: 64 bits per row are sorted, and only rows whose hash comes twice are compared.
    """
    hashes = rows.select(key).hash_rows()
    ordered = hashes.sort(multithreaded=False)  # half the processors' time of n_unique, which leaves one for others
    twice = ordered.filter(ordered == ordered.shift(1)).unique()
    if twice.is_empty():
        return NONE
    order = ["row"] if "row" in rows.columns else []
    shared = (
        rows.select(*{*key, *order}, position=pl.int_range(pl.len()))
        .filter(hashes.is_in(twice.implode()), ~pl.all_horizontal(pl.col(key).is_null()))
        .sort(*order, "position")
    )
    return shared.filter(~pl.struct(key).is_first_distinct())["position"].sort().to_numpy()


def values(rows: pl.DataFrame, columns: list[str], bad: np.ndarray) -> list[str]:
    """What stands in the columns at the bad rows, as text that is short and can be printed."""
    if not len(bad):
        return []
    texts = {c: _shown(rows[c].gather(bad)) for c in columns}
    if len(texts) == 1:
        return next(iter(texts.values())).to_list()
    named = [pl.format(f"{name} {{}}", pl.col(name)) for name in texts]
    return pl.DataFrame(texts).select(pl.concat_str(named, separator=", ").alias("v"))["v"].to_list()


def _shown(column: pl.Series) -> pl.Series:
    text = column.cast(pl.String).fill_null("empty")
    length = text.str.len_chars()
    if int(length.max() or 0) > SHOWN:  # type: ignore[arg-type]
        cut = pl.format("{}... ({} characters)", pl.col("t").str.head(SHOWN), pl.col("n"))
        frame = pl.DataFrame({"t": text, "n": length})
        text = frame.select(pl.when(pl.col("n") > SHOWN).then(cut).otherwise("t"))["t"]
    odd = text.filter(text.str.contains(HIDDEN)).unique()
    return text.replace(odd, [t.encode("unicode_escape").decode() for t in odd]) if len(odd) else text


def _mask(rule: Rule, schema: pl.Schema) -> pl.Expr:
    column, dtype = pl.col(rule.columns[0]), schema.get(rule.columns[0])
    broken = MASKS[rule.expectation](column, rule.arguments)
    if dtype is not None and dtype.is_float():
        empty = rule.expectation == "ExpectColumnValuesToNotBeNull"
        broken = broken | column.is_nan() if empty else broken & column.is_not_nan()
    return broken.fill_null(False)


def _outside(column: pl.Expr, bounds: dict[str, Any]) -> pl.Expr:
    low, high = bounds["min_value"], bounds["max_value"]
    return (column < low) | (column >= high if bounds.get("strict_max") else column > high)


MASKS: dict[str, Mask] = {
    "ExpectColumnValuesToNotBeNull": lambda column, _: column.is_null(),
    "ExpectColumnValuesToBeBetween": _outside,
    "ExpectColumnValuesToBeInSet": lambda column, said: ~column.is_in(said["value_set"]),
    "ExpectColumnValueLengthsToBeBetween": lambda column, said: (
        ~column.str.len_chars().is_between(said["min_value"], said["max_value"])
    ),
    "ExpectColumnValuesToNotMatchRegex": lambda column, said: column.str.contains(said["regex"]),
}
