"""Each source's suite, derived from its SourceSpec: the rules, and the figures that rules about the table read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import polars as pl

from data_checks.clocks import local_times
from data_checks.figures import clock, numbers, users, volume
from data_checks.own_rules import OWN_RULES
from data_checks.rules import (
    Counted,
    Part,
    Rule,
    about_texts,
    among,
    at_least_one_row,
    between_times,
    form,
    given,
    share_within,
    unique,
    within,
)
from data_checks.text_rules import UNKNOWN, filled, readable, text_rules
from instructue.sources.spec import DatasetSpec, SourceSpec

SOME_UNKNOWN_USERS, MOST_UNKNOWN_USERS = 0.05, 0.5


@dataclass(frozen=True)
class Suite:
    """Rules of one source with what they are judged on.

    rows: times as naive local clock. texts: each text of the rows once, see `data_checks.text_rules.readable`; None
    if the rows have none. figures: by the name of the rule that reads them. parts: each counts over the rows and gives
    more rules with their figures.
    """

    source: str
    rules: list[Rule]
    rows: pl.DataFrame
    texts: pl.DataFrame | None
    figures: dict[str, Any]
    parts: list[Part]


def source_suite(
    dataset: DatasetSpec,
    source: SourceSpec,
    tables: Mapping[str, pl.DataFrame],
    texts: pl.DataFrame,
    before: int | None = None,
) -> Suite:
    """The suite of one staged table; before: its rows when it was last published. Rules on a column that is missing
    or of the wrong type are left out: the rules `columns` and `types`, which block, then speak for it.
    """
    table = tables[source.name]
    rules, figures, sound = form(layout(dataset, source), dict(table.schema))
    rules, rows, own = [*rules, at_least_one_row()], table.select(sound), None
    parts: list[Part] = []
    if not rows.is_empty():
        rows, own = local_times(rows), readable(rows, texts)
        rows = _with_text_keys(source, rows, own)
        rules += [r for r in _row_rules(dataset, source) if set(r.columns) <= set(rows.columns)]
        rules += [] if own is None else [*_text_rules(dataset, source), *text_rules()]
        parts = [
            partial(_users, dataset, source, tables),
            partial(filled, source, rows, own),
            partial(clock, dataset, source, rows),
            partial(numbers, source, rows),
            partial(users, rows),
            partial(volume, rows, before),
            partial(_own, dataset, source, rows),
        ]
    return Suite(source.name, rules, rows, own, figures, parts)


def layout(dataset: DatasetSpec, source: SourceSpec) -> dict[str, Any]:
    """Column -> its type in the staged table; None where any type will do."""
    ends: dict[str, Any] = {"row": pl.UInt32(), "user": pl.Int64(), "text_id": pl.UInt32()}
    if source.kind == "attributes":
        return ends | {"attribute": pl.String()}
    numbers = {c: pl.Float64() for c in source.columns}
    keys = {c: None for c in key_columns(dataset, source) if c not in {"user", "time", *source.attributes}}
    return ends | {"time": pl.Datetime("us", dataset.timezone)} | numbers | keys


def key_columns(dataset: DatasetSpec, source: SourceSpec) -> list[str]:
    """The key under its staged names; an attribute table is long, so there the attribute is part of it."""
    renamed = ["user" if c == dataset.user else c for c in source.key]
    return [*renamed, "attribute"] if source.kind == "attributes" else renamed


def _with_text_keys(source: SourceSpec, rows: pl.DataFrame, texts: pl.DataFrame | None) -> pl.DataFrame:
    """Rows with those attributes of their texts that are part of the key."""
    wanted = [a for a in source.attributes if source.kind == "events" and a in source.key]
    if texts is None or not wanted:
        return rows
    of_text = texts.select("text_id", pl.col(wanted).cast(pl.Categorical))
    return rows.join(of_text, on="text_id", how="left", maintain_order="left")


def _row_rules(dataset: DatasetSpec, source: SourceSpec) -> list[Rule]:
    keys = key_columns(dataset, source)
    rules = [given("user")]
    if source.kind == "events":
        start = datetime.fromisoformat(source.not_before or dataset.start)
        rules += [
            given("time", " that its local clock has shown"),
            between_times("time", start, datetime.fromisoformat(dataset.end)),
        ]
    for name, bounds in (({"amount": source.amount} if source.amount else {}) | source.numbers).items():
        rules += [given(name), within(name, bounds.min, bounds.max)]
    rules += [given(key) for key in keys if key not in {"user", "time", "attribute", *source.attributes}]
    rules += [unique(keys), given("text_id")]
    if source.kind == "attributes":
        sentence = f"attribute is one of {', '.join(source.attributes)}"
        rules.append(among("attribute_known", sentence, "attribute", source.attributes, "a described attribute"))
    return rules


def _text_rules(dataset: DatasetSpec, source: SourceSpec) -> list[Rule]:
    """A row's text is in the dictionary, was made for this source, and its codes are in words."""
    made = among(
        "text_fits", "the text of every row was made for this source", "text_source", [source.name], source.name
    )
    rules = [
        about_texts(given("text_source", ": its text is in the dictionary of texts"), shows=("text_id",)),
        about_texts(made),
    ]
    for name, words in source.maps.items() if source.kind == "events" else ():
        also = [
            dataset.table(table).place
            for table in dataset.tables
            if table != source.file and re.search(rf"\b{table}\b", source.query)
        ]
        hint = f" (the code may come from {', '.join(also)})" if also else ""
        sentence = f"{name} is a code that the data set's description puts into words{hint}"
        known = sorted({*words.values(), UNKNOWN})
        rules.append(about_texts(among(f"{name}_mapped", sentence, name, known, f"one of {len(words)} codes")))
    return rules


def _users(dataset: DatasetSpec, source: SourceSpec, tables: Mapping[str, pl.DataFrame]) -> Counted:
    """How many of a source's users the first event source knows: few means that a user column holds something else."""
    first = dataset.event_sources[0].name
    if source.name == first or any("user" not in tables[n].columns for n in (first, source.name)):
        return [], {}
    known, own = tables[first]["user"].drop_nulls().unique(), tables[source.name]["user"].drop_nulls().unique()
    share = 1 - own.is_in(known.implode()).mean() if len(own) and known.dtype == own.dtype else 1.0
    words = f"of its users, the share that {first} does not know is at most"
    return [
        share_within("users_match", f"{words} {MOST_UNKNOWN_USERS:.0%}", MOST_UNKNOWN_USERS, "critical"),
        share_within("users_known", f"{words} {SOME_UNKNOWN_USERS:.0%}", SOME_UNKNOWN_USERS),
    ], {"users_match": share, "users_known": share}


def _own(dataset: DatasetSpec, source: SourceSpec, rows: pl.DataFrame) -> Counted:
    # Where a column is missing, `columns` or `types` has failed and says so.
    there = [
        own
        for own in OWN_RULES.get(dataset.name, {}).get(source.name, [])
        if set(own.figure.meta.root_names()) <= set(rows.columns)
    ]
    if not there:
        return [], {}
    values = rows.select(own.figure.alias(own.rule.name) for own in there).row(0, named=True)
    figures = {name: float("nan") if value is None else float(value) for name, value in values.items()}
    return [own.rule for own in there], figures
