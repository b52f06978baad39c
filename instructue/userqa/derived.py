"""Kinds that any described data set has without writing a line: made from a source's noun, attributes and numbers.

Only sources that the data set's own facts never read get any. Wordings avoid articles and verbs that a noun alone
cannot tell: "Will the user have any logins with device phone within four weeks?"
"""

import re
from itertools import islice
from typing import Any

import polars as pl

from instructue.sources.spec import DatasetSpec, FactSpec, SourceSpec
from instructue.sources.tables import Tables
from instructue.sources.values import MISSING
from instructue.userqa.allowed import KeptBack
from instructue.userqa.nouns import filled_in, nouns

KINDS = 12  # at most so many per source
MOST_DISTINCT = 0.5  # distinct values per row; an attribute with more names the row, not the user's ways
COUNTS = [1, 3, 6, 12]
AHEAD, BEHIND, LONG_BEHIND = 28, 28, 56  # days

# Per attribute, the most informative first. N: plural noun, E: one event, A: the attribute, all in words.
PER_ATTRIBUTE: list[dict[str, Any]] = [
    {"name": "ahead", "shape": "occurs", "days": AHEAD,
     "ask": "Will the {who} have any N with A {value} within {span}?",
     "answer": "Yes, the {who} will have at least one E with A {value} within {span}.",
     "otherwise": "No, the {who} will have no N with A {value} within {span}."},
    {"name": "telling", "shape": "top", "about": "history", "days": None, "rank": "telling", "at_least": 5,
     "ask": "Which A sets the {who}'s N apart from those of others so far?",
     "answer": "So far the {who}'s N differ most from those of others by A {answer}."},
    {"name": "new", "shape": "new", "days": AHEAD,
     "ask": "Will the {who} have N with A {value} for the first time within {span}?",
     "also": ["Will the {who} have a first E with A {value} in the next {span}?"],
     "answer": "Yes, the {who} will have a first E with A {value} within {span}.",
     "otherwise": "No, the {who} will still have had no E with A {value} after {span}."},
    {"name": "top", "shape": "top", "days": AHEAD, "at_least": 2,
     "ask": "Which A will be most frequent among the {who}'s N in the next {span}?",
     "answer": "Most frequent among the {who}'s N will be A {answer}."},
    {"name": "stopped", "shape": "absent", "about": "history", "days": LONG_BEHIND, "at_least": 2,
     "ask": "The {who} used to have N with A {value}. Has that stopped in the last {span}?",
     "also": ["Has the {who} stopped having N with A {value} in the last {span}?",
              "Did the {who} stop having N with A {value} in the last {span}?"],
     "answer": "Yes, the {who} has stopped having N with A {value} in the last {span}.",
     "otherwise": "No, the {who} has had N with A {value} again in the last {span}."},
    {"name": "regular", "shape": "occurs", "about": "history", "days": None, "at_least": 4,
     "ask": "Does the {who} regularly have N with A {value}?",
     "also": ["Does the {who} have N with A {value} on a regular basis?"],
     "answer": "Yes, the {who} regularly has N with A {value}.",
     "otherwise": "No, the {who} does not regularly have N with A {value}."},
    {"name": "usual", "shape": "when", "days": AHEAD, "at_least": 2,
     "ask": "What will be the most usual A of the {who}'s N in the next {span}?",
     "answer": "The most usual A of the {who}'s N will be {answer}."},
    {"name": "recent", "shape": "occurs", "about": "history", "days": BEHIND,
     "ask": "Has the {who} had any N with A {value} in the last {span}?",
     "answer": "Yes, the {who} has had at least one E with A {value} in the last {span}.",
     "otherwise": "No, the {who} has had no N with A {value} in the last {span}."},
]  # fmt: skip

PER_SOURCE: list[dict[str, Any]] = [
    {"name": "any", "shape": "any", "days": AHEAD,
     "ask": "Will the {who} have any N within {span}?",
     "answer": "Yes, the {who} will have at least one E within {span}.",
     "otherwise": "No, the {who} will have no N within {span}."},
    {"name": "often", "shape": "count", "days": AHEAD, "bounds": COUNTS,
     "words": ["no N", "1 or 2 N", "3 to 5 N", "6 to 11 N", "12 or more N"],
     "ask": "How many N will the {who} have in the next {span}?",
     "also": ["What number of N will the {who} have in the next {span}?"],
     "answer": "The {who} will have {answer}."},
    {"name": "change", "shape": "change", "days": AHEAD, "bounds": [0.8, 1.25],
     "words": ["fewer N than", "about as many N as", "more N than"],
     "ask": "Will the {who} have more or fewer N in the next {span} than before?",
     "answer": "The {who} will have {answer} in the {span} before."},
    {"name": "any_lately", "shape": "any", "about": "history", "days": BEHIND,
     "ask": "Has the {who} had any N in the last {span}?",
     "answer": "Yes, the {who} has had at least one E in the last {span}.",
     "otherwise": "No, the {who} has had no N in the last {span}."},
]  # fmt: skip

PER_NUMBER: dict[str, Any] = {
    "name": "change", "shape": "change", "days": AHEAD, "bounds": [0.8, 1.25],
    "words": ["less than", "about the same as", "more than"],
    "ask": "Will the total A of the {who}'s N go up or down in the next {span}?",
    "answer": "The total A of the {who}'s N will be {answer} in the {span} before.",
}  # fmt: skip

PROFILE: dict[str, Any] = {
    "name": "is", "shape": "is", "about": "history", "days": None,
    "ask": "What is the A of the {who}?",
    "answer": "The A of the {who} is {answer}.",
}  # fmt: skip


def derived_facts(dataset: DatasetSpec, unasked: KeptBack, most: int = KINDS) -> list[FactSpec]:
    """Generic kinds of every source that no fact of the data set reads, at most `most` each, most informative first.

    `unasked`: (source, attribute) left out: allowed.kept_back, what tasks predict, and `mute`, what says nothing.
    """
    taken = {fact.name for fact in dataset.facts}
    facts: list[FactSpec] = []
    for source in _untold(dataset):
        attributes = [a for a in _ordered(source) if (source.name, a) not in unasked]
        rows = _of_users(source, attributes) if source.kind == "attributes" else _of_events(source, attributes)
        for row in rows[:most]:
            name = row["name"]
            while name in taken:
                name += "_more"
            taken.add(name)
            facts.append(FactSpec.model_validate(row | {"name": name}))
    return facts


def mute(tables: Tables) -> KeptBack:
    """(source, attribute) that say nothing of a user: a single value, or so many that they name the row.

    Of the sources that get derived kinds, judged by what lies before the evaluation snapshot.
    """
    evaluation = tables.histories.filter(pl.col("split") == "evaluation")["snapshot"].min()
    every = [(source, attribute) for source in _untold(tables.dataset) for attribute in source.attributes]
    return frozenset((source.name, a) for source, a in every if not _tells(tables, source, a, evaluation))


def _untold(dataset: DatasetSpec) -> list[SourceSpec]:
    told = {fact.source for fact in dataset.facts}
    return [source for source in dataset.sources if source.name not in told]


def _tells(tables: Tables, source: SourceSpec, attribute: str, evaluation: Any) -> bool:
    """Whether the attribute has from two to MOST_DISTINCT x rows values."""
    rows, column = tables.events[source.name], attribute
    if source.kind == "attributes":
        rows, column = rows.filter(pl.col("attribute") == attribute), "value"
    elif evaluation is not None:
        rows = rows.filter(pl.col("time") < evaluation)
    met = tables.texts[column].gather(rows["text_id"])
    values = met.filter(met.is_not_null() & (met != MISSING)).n_unique()
    return 1 < values <= MOST_DISTINCT * rows.height


def _ordered(source: SourceSpec) -> list[str]:
    """Attributes, those that an event's text shows first."""
    shown = re.findall(r"{(\w+)}", source.text)
    return [a for a in dict.fromkeys([*shown, *source.attributes]) if a in source.attributes]


def _of_events(source: SourceSpec, attributes: list[str]) -> list[dict[str, Any]]:
    """Rows of FactSpec, most informative first: any event, then two about attributes for each of the source as such.

    Every attribute's first kind comes before any one's second; then the first attributes have more kinds.
    """
    grid = [(i, k) for i in range(len(attributes)) for k in range(len(PER_ATTRIBUTE))]
    grid.sort(key=lambda cell: (cell[1] > 0, sum(cell), cell[0]))
    special = (_row(source, PER_ATTRIBUTE[k], attributes[i], attribute=attributes[i], skip=[MISSING]) for i, k in grid)
    # A sum of numbers that may be negative has no ratio to compare.
    changes = [_row(source, PER_NUMBER, number, measure=number) for number in _sums(source)]
    first, often, change, lately = (_row(source, kind) for kind in PER_SOURCE)
    rows = [first]
    for general in [often, change, *changes, lately]:
        rows += [*islice(special, 2), general]
    return [*rows, *special]


def _of_users(source: SourceSpec, attributes: list[str]) -> list[dict[str, Any]]:
    return [_row(source, PROFILE, attribute, attribute=attribute, skip=[MISSING]) for attribute in attributes]


def _sums(source: SourceSpec) -> list[str]:
    ranges = ({"amount": source.amount} if source.amount else {}) | source.numbers
    return [name for name, bounds in ranges.items() if bounds.min is not None and bounds.min >= 0]


def _row(source: SourceSpec, kind: dict[str, Any], what: str = "", **fields: Any) -> dict[str, Any]:
    """One row of FactSpec: the kind's texts with the source's own nouns."""
    words_of = nouns(source.event, what)

    texts = {field: filled_in(kind[field], words_of) for field in ("ask", "answer", "otherwise") if field in kind}
    lists = {field: [filled_in(text, words_of) for text in kind[field]] for field in ("also", "words") if field in kind}
    name = "_".join(part for part in (source.name, what, kind["name"]) if part)
    return kind | texts | lists | fields | {"name": name, "source": source.name}
