"""A proposal as YAML text, every guess with its reason as a comment, and a file of tasks to begin with."""

import json
from collections.abc import Iterator
from typing import Any

from instructue.sources.init.ahead import FOUR_WEEKS, Ahead
from instructue.sources.init.guess import Source, singular
from instructue.sources.init.tables import Table
from instructue.sources.table_spec import TableSpec

SCHEMA = "# yaml-language-server: $schema="


def yaml_of(name: str, folder: str, tables: dict[str, Table], sources: list[Source], ahead: Ahead, schema: str) -> str:
    """The whole description."""
    user = next(t.user for t in tables.values() if t.user is not None).called
    who = user.removesuffix("_id").removesuffix("_no").replace("_", " ") or "user"
    head = [
        f"{SCHEMA}{schema}",
        "# Proposed by `python -m instructue init`: read every line, CHECK the guesses. docs/sources.md explains all.",
        f"name: {name}",
        f"title: {_text(name.replace('_', ' ').capitalize())}",
        f"folder: {_text(folder)}  # from this file on, or absolute",
        "timezone: UTC  # CHECK: the clock of your users, such as Europe/Berlin; the data does not say",
        f'start: "{ahead.start}"  # first day with an event',
        f'end: "{ahead.end}"  # the day after the last',
        f"user: {user}  # by its name, and as {sum(t.user is not None for t in tables.values())} of "
        f"{len(tables)} tables have it",
        f"who: {'user' if who in {'uid', 'cust'} else who}",
        "tables:",
    ]
    used = {s.table.name for s in sources} | {
        t.name for t in tables.values() if any(f"join {t.name} " in sql for s in sources for sql, _ in s.joins)
    }
    for table in tables.values():
        mark = "" if table.name in used else "# not used: "
        head.append(f"  {mark}{table.name}: {_place(table.place)}  # {table.rows:,} rows, {table.role}: {table.why}")
    body = [line.replace("{user}", user) if "text:" not in line else line for s in sources for line in _source(s)]
    facts = _facts(sources[0], [s for s in sources if s.events][1:], ahead.days)
    return "\n".join([*head, "", "sources:", *body, *facts]) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _place(place: str | TableSpec) -> str:
    if isinstance(place, str):
        return _text(place)
    given = place.model_dump(exclude_unset=True)
    return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in given.items()) + "}"


def _source(source: Source) -> Iterator[str]:
    words = source.name.replace("_", " ")
    yield f"  - name: {source.name}"
    if not source.events:
        yield "    kind: attributes"
    yield f"    title: {source.table.name.replace('_', ' ')}"
    yield f"    event: {words if source.events else 'attribute'}"
    yield f"    file: {source.table.name}"
    if source.events:
        yield f"    stamped_in: {source.stamped}"
    yield "    query: |"
    yield "      select"
    for place, (sql, name, why) in enumerate(source.select):
        comma = "," if place < len(source.select) - 1 else ""
        yield f"        {sql} as {name}{comma}" + (f"  -- {why}" if why else "")
    yield f"      from {source.table.name} e"
    for sql, why in source.joins:
        yield f"      {sql}  -- {why}"
    yield f"    key: [{', '.join(source.key)}]  # {source.key_note}"
    if source.amount is not None:
        yield f"    amount: {_range(source.amount[0])}  # {source.amount[1]}"
    if source.numbers:
        yield "    numbers:"
        for name, (bounds, why) in source.numbers.items():
            yield f"      {name}: {_range(bounds)}  # {why}"
    yield "    attributes:"
    for name, (_, why) in source.attributes.items():
        yield f"      - {name}  # {why}"
    yield f"    text: {_text(source.text)}"
    if source.left_out:
        yield f"    # left out: {'; '.join(source.left_out)}"
    yield ""


def _range(bounds: dict[str, float]) -> str:
    return "{" + ", ".join(f"{k}: {v:g}" for k, v in bounds.items()) + "}"


def asked_about(source: Source) -> str:
    """The attribute to ask about: several values, yet few enough that many users share one."""
    texts = {n: c for n, (c, _) in source.attributes.items() if c.kind == "text"}
    good = [n for n, c in texts.items() if 3 <= c.distinct <= min(2000, len(c.values) / 2)]
    return max(good, key=lambda n: source.attributes[n][0].distinct) if good else next(iter(source.attributes))


def articled(noun: str) -> str:
    """'an order', 'a rating'."""
    return f"{'an' if noun[:1] in 'aeio' else 'a'} {noun}"


def _facts(first: Source, others: list[Source], days: int) -> list[str]:
    """None where UserQA's own kinds, which look 4 weeks ahead, fit the data; else some that look `days` ahead."""
    if days == FOUR_WEEKS:
        return [
            "# UserQA asks up to a dozen kinds about each source; questions in your own words go here: docs/userqa.md",
            "facts: []",
        ]
    thing, attribute = first.name.replace("_", " "), asked_about(first)
    one = articled(thing)
    facts: list[dict[str, Any]] = [
        {"name": f"{first.name}_soon", "shape": "occurs", "source": first.name, "attribute": attribute, "days": days,
         "skip": ["unknown"],
         "ask": f"Will the {{who}} have {one} with {{value}} within {{span}}?",
         "answer": f"Yes, the {{who}} will have {one} with {{value}} within {{span}}.",
         "otherwise": f"No, the {{who}} will have no {thing} with {{value}} within {{span}}."},
        {"name": f"{first.name}_count_soon", "shape": "count", "source": first.name, "days": days, "bounds": [1, 3, 6],
         "words": [f"no {thing}", f"1 or 2 times {one}", f"3 to 5 times {one}", f"6 times {one} or more"],
         "ask": f"How many times will the {{who}} have {one} in the next {{span}}?",
         "answer": "The {who} will have {answer}."},
        {"name": f"{first.name}_habit", "shape": "top", "about": "history", "source": first.name,
         "attribute": attribute, "days": None, "at_least": 3, "skip": ["unknown"],
         "ask": f"Which {attribute.replace('_', ' ')} does the {{who}} have most often so far?",
         "answer": "Most often the {who} has {answer}."},
    ]  # fmt: skip
    for other in others:
        thing = other.name.replace("_", " ")
        facts.append({"name": f"any_{other.name}_soon", "shape": "any", "source": other.name, "days": days,
                      "ask": f"Will the {{who}} have any {thing} within {{span}}?",
                      "answer": f"Yes, the {{who}} will have {articled(thing)} within {{span}}.",
                      "otherwise": f"No, the {{who}} will have no {thing} within {{span}}."})  # fmt: skip
    lines = ["# What UserQA asks about. CHECK that the questions read well.", "facts:"]
    for fact in facts:
        for place, (name, value) in enumerate(fact.items()):
            plain = name in {"name", "shape", "about", "source", "attribute"}
            lines.append(f"  {'- ' if not place else '  '}{name}: {value if plain else json.dumps(value)}")
    return lines


def tasks_of(sources: list[Source], ahead: Ahead) -> str:
    """Two tasks to judge embeddings by: whether the first source goes on, and what comes next in it."""
    first, days, words = sources[0], ahead.days, ahead.words
    thing, attribute = singular(first.name).replace("_", " "), asked_about(first)
    one = articled(thing)
    return f"""# Tasks to begin with; docs/tasks.md explains each kind of label.
# {ahead.counted(one)}
tasks:
  - name: {first.name}_soon
    family: prediction
    description: has {one} within {words}
    instruction: "Will the {{who}} have {one} within {words}?"
    "yes": "Yes, the {{who}} will have {one} within {words}."
    "no": "No, the {{who}} will have no {thing} within {words}."
    label: {{rule: occurs, source: {first.name}, where: "true", days: {days}}}
  - name: next_{attribute}
    family: recommendation
    description: ranks {attribute.replace("_", " ")} by whether {one} with it follows within {words}
    instruction: "Which {attribute.replace("_", " ")} will come next for the {{who}} within {words}?"
    answer: "Next for the {{who}} comes {{item}}."
    label: {{rule: items, source: {first.name}, attribute: {attribute}, min_users: 5, days: {days}}}
"""


def params_of(name: str, ahead: Ahead) -> str:
    """What `make run` changes in params.yaml, so that snapshots fit the span of the data."""
    return f"""# What `make run DATASET={name}` changes in params.yaml: section.key: value.
# Labels are what comes after the evaluation snapshot; docs/sources.md says how to choose it.
histories.evaluation_snapshot: "{ahead.snapshot}"
histories.training_snapshots: 6
histories.every_days: {ahead.every}
histories.gap_days: {ahead.every}
histories.horizon_days: {ahead.horizon}
histories.label_days: {ahead.labels}
"""
