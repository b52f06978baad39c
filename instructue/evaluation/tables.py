"""The results arranged for reading: one table per family and metric, and the families' averages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from instructue.evaluation.names import FAMILIES, interval, method_title, metric_title, number
from instructue.evaluation.results import GENERAL, MACRO, OURS, PRIMARY, Results, Row
from instructue.evaluation.verdict import Judged, Outcome, is_rival, ours, strongest, tally


@dataclass(frozen=True)
class Line:
    """One task: a row per method, None where the method was not run; `best` are the methods with the top value."""

    task: str
    about: str
    size: str
    cells: list[Row | None]
    best: frozenset[str]

    @property
    def average(self) -> bool:
        return self.task == MACRO


@dataclass(frozen=True)
class Table:
    family: str
    metric: str
    methods: list[str]
    lines: list[Line]


@dataclass(frozen=True)
class Tile:
    """A family at a glance: ours and the best rival on average, and how tasks stand against their strongest baseline.

    `partial` are the rivals without an average, because they were run on some of the tasks only.
    """

    family: str
    metric: str
    ours: Row | None
    rival: Row | None
    pair: Judged | None
    counts: dict[Outcome, int]
    partial: list[str]


def tables(results: Results, metrics: tuple[str, ...] | None = None) -> list[Table]:
    """Tables at all labels, families in order; `metrics` None takes each family's primary metric."""
    wanted = [(family, metric) for family in FAMILIES for metric in metrics or (PRIMARY[family],)]
    built = [_table(results, family, metric) for family, metric in wanted]
    return [table for table in built if table.lines]


def _table(results: Results, family: str, metric: str) -> Table:
    rows = [r for r in results.rows if (r.family, r.metric, r.labels) == (family, metric, "all")]
    methods = _ours_first(r.method for r in rows)
    lines = []
    for task in sorted(dict.fromkeys(r.task for r in rows), key=lambda name: name == MACRO):
        by_method = {r.method: r for r in rows if r.task == task}
        top = max((r.value for r in by_method.values() if r.value is not None), default=None)
        best = frozenset(m for m, r in by_method.items() if top is not None and r.value == top)
        cells = [by_method.get(method) for method in methods]
        size = "" if task == MACRO else _size(next(iter(by_method.values())))
        lines.append(Line(task, _about(results, task), size, cells, best))
    return Table(family, metric, methods, lines)


def _ours_first(methods: Iterable[str]) -> list[str]:
    return sorted(dict.fromkeys(methods), key=lambda method: (method != OURS, method != GENERAL))


def _about(results: Results, task: str) -> str:
    if task == MACRO:
        return "mean over the family's tasks"
    note = results.tasks.get(task)
    return (note.description or note.instruction or "") if note else ""


def _size(row: Row) -> str:
    if row.n is None:
        return ""
    text = f"{row.n:,} users"
    if row.positives is None:
        return text
    if row.family == "recommendation":
        return f"{text}, {row.positives:,} right items"
    share = f" ({row.positives / row.n:.0%})" if row.n else ""
    return f"{text}, {row.positives:,} positive{share}"


def tiles(results: Results) -> list[Tile]:
    """One per family that has a table."""
    against = strongest(results).values()
    averages = [pair for pair in ours(results) if pair.headline and pair.task == MACRO]
    built = []
    for table in tables(results):
        macro = next((line for line in table.lines if line.average), None)
        known = {row.method: row for row in (macro.cells if macro else []) if row and row.value is not None}
        rival = max((row for row in known.values() if is_rival(row.method)), key=_value, default=None)
        with_rival = [
            pair for pair in averages if rival and (pair.family, pair.baseline) == (table.family, rival.method)
        ]
        counts = tally(pair for pair in against if pair.family == table.family)
        partial = [method for method in table.methods if macro and is_rival(method) and method not in known]
        pair = with_rival[0] if with_rival else None
        built.append(Tile(table.family, table.metric, known.get(OURS), rival, pair, counts, partial))
    return built


def _value(row: Row) -> float:
    return float("-inf") if row.value is None else row.value


def cell_text(row: Row | None) -> str:
    """'0.746 (0.726 to 0.766)'."""
    if row is None:
        return ""
    bounds = interval(row.low, row.high)
    return f"{number(row.value)} ({bounds})" if bounds else number(row.value)


def summary_rows(results: Results) -> list[dict[str, Any]]:
    """The headline table as flat dicts, for the terminal and for metadata: a row per task, a column per method."""
    found = tables(results)
    methods = _ours_first(m for table in found for m in table.methods)
    flat = []
    for table in found:
        for line in table.lines:
            values = {row.method: cell_text(row) for row in line.cells if row}
            task = f"{table.family} average" if line.average else line.task
            cells = {method_title(method): values.get(method, "") for method in methods}
            flat.append({"task": task, "metric": metric_title(table.metric)} | cells)
    return flat
