"""The results arranged for reading: a table per family and metric, methods as rows and tasks as columns."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from instructue.evaluation.report.names import FAMILIES, interval, is_rival, is_use, method_title, number
from instructue.evaluation.report.verdict import Judged, Outcome, ours, strongest, tally
from instructue.evaluation.results import GENERAL, MACRO, OURS, PRIMARY, Labels, Results, Row

RANKING = ("ndcg@10", "hr@10", "recall@10")
Group = Literal["ours", "uses", "others"]


@dataclass(frozen=True)
class Column:
    """A task by a metric; `best`: places of the lines with the top value, `attainable`: the best that is possible where
    that is known, `distance`: ours minus it."""

    task: str
    metric: str
    about: str
    size: str
    best: frozenset[int]
    attainable: float | None
    distance: float | None

    @property
    def average(self) -> bool:
        return self.task == MACRO


@dataclass(frozen=True)
class Line:
    """A method, with all labels or with none: a cell per column of the table, None where it was not run.

    `outcomes`: where ours was compared with it there, how ours stands against it.
    """

    method: str
    labels: Labels
    cells: list[Row | None]
    outcomes: list[Outcome | None]

    @property
    def title(self) -> str:
        # Ours has both; what never uses labels needs no word about it.
        return method_title(self.method) + (", zero-shot" if self.labels == 0 and not is_use(self.method) else "")

    @property
    def group(self) -> Group:
        if is_use(self.method) or (self.labels == 0 and not is_rival(self.method)):
            return "uses"
        return "others" if is_rival(self.method) else "ours"


@dataclass(frozen=True)
class Table:
    """A family's figures by one metric, or by several side by side, the first of which orders the lines."""

    family: str
    metrics: tuple[str, ...]
    columns: list[Column]
    lines: list[Line]

    @property
    def metric(self) -> str:
        return self.metrics[0]

    @property
    def spans(self) -> list[tuple[Column, int]]:
        """The first column of each task and how many columns the task has."""
        tasks = [column.task for column in self.columns]
        return [(self.columns[tasks.index(task)], tasks.count(task)) for task in dict.fromkeys(tasks)]

    @property
    def attainable(self) -> bool:
        return any(column.attainable is not None for column in self.columns)

    @property
    def groups(self) -> list[tuple[Group, list[Line]]]:
        order: tuple[Group, ...] = ("ours", "uses", "others")
        return [(name, found) for name in order if (found := [x for x in self.lines if x.group == name])]


@dataclass(frozen=True)
class Tile:
    """A family at a glance: ours and the best rival on average, and how tasks stand against their strongest baseline.

    `task` is the family's only one, if it has no average.

    `partial` are the rivals without an average, because they were run on some of the tasks only.
    """

    family: str
    metric: str
    task: str | None
    ours: Row | None
    rival: Row | None
    pair: Judged | None
    counts: dict[Outcome, int]
    partial: list[str]


def tables(results: Results, metrics: tuple[str, ...] | None = None) -> list[Table]:
    """Tables with all labels (zero-shot ours too), families in order; `metrics` None takes each one's primary."""
    wanted = [(family, metric) for family in FAMILIES for metric in metrics or (PRIMARY[family],)]
    built = [_table(results, family, (metric,)) for family, metric in wanted]
    return [table for table in built if table.lines]


def main_tables(results: Results) -> list[Table]:
    """One table per family by its primary metric, and for recommendation by all of its metrics side by side."""
    built = [_table(results, f, RANKING if f == "recommendation" else (PRIMARY[f],)) for f in FAMILIES]
    return [table for table in built if table.lines]


def _table(results: Results, family: str, metrics: tuple[str, ...]) -> Table:
    rows = [r for r in results.rows if r.family == family and r.metric in metrics and r.labels in ("all", 0)]
    learnt = {r.method for r in rows if r.labels == "all"}
    # A method that uses labels is shown with them; zero-shot beside that only for ours.
    rows = [r for r in rows if r.labels == "all" or r.method == OURS or r.method not in learnt]
    there = {(r.task, r.metric) for r in rows}
    tasks = sorted(dict.fromkeys(r.task for r in rows), key=lambda name: name == MACRO)
    places = [(task, metric) for task in tasks for metric in metrics if (task, metric) in there]
    known = {(r.method, r.labels, r.task, r.metric): r for r in rows}
    pairs = [p for p in ours(results) if p.family == family]
    outcomes: dict[tuple[str, Labels, str, str], Outcome] = {
        (p.baseline, p.labels, p.task, p.metric): p.outcome for p in pairs
    }
    lines: list[Line] = []
    heads: list[tuple[str, Labels]] = [(r.method, r.labels) for r in rows]
    for method, labels in dict.fromkeys(heads):
        cells = [known.get((method, labels, *place)) for place in places]
        lines.append(Line(method, labels, cells, [outcomes.get((method, labels, *place)) for place in places]))
    lines = _in_order(lines, metrics[0])
    return Table(family, metrics, [_column(results, *place, i, lines) for i, place in enumerate(places)], lines)


def _in_order(lines: list[Line], metric: str) -> list[Line]:
    """Ours first, then other uses of it, then the others by their value, those with an average before the rest."""
    places = {"ours": 0, "uses": 1, "others": 2}

    def key(line: Line) -> tuple[Any, ...]:
        known = [cell for cell in line.cells if cell and cell.value is not None and cell.metric == metric]
        averages = [_value(cell) for cell in known if cell.task == MACRO]
        mean = sum(map(_value, known)) / len(known) if known else 0.0
        return places[line.group], line.method != OURS, line.method != GENERAL, -max(averages, default=-1), -mean

    return sorted(lines, key=key)


def _column(results: Results, task: str, metric: str, place: int, lines: list[Line]) -> Column:
    values = {i: cell.value for i, line in enumerate(lines) if (cell := line.cells[place]) and cell.value is not None}
    top = max(values.values(), default=None)
    best = frozenset(i for i, value in values.items() if value == top)
    first = next((cell for line in lines if (cell := line.cells[place]) and cell.n is not None), None)
    size = "" if task == MACRO or first is None else _size(first)
    known = next((a.value for a in results.attainable if (a.task, a.metric) == (task, metric)), None)
    own = next((values[i] for i, line in enumerate(lines) if line.method == OURS and i in values), None)
    distance = None if known is None or own is None else own - known
    return Column(task, metric, _about(results, task), size, best, known, distance)


def _about(results: Results, task: str) -> str:
    if task == MACRO:
        return "mean over the family's tasks"
    note = results.tasks.get(task)
    return (note.description or note.instruction or "") if note else ""


def _size(row: Row) -> str:
    # A user may have several labels: one per campaign, for instance.
    text = f"{row.n:,} {'users' if row.family == 'recommendation' else 'labels'}"
    if row.positives is None or not row.n:
        return text
    if row.family == "recommendation":
        return f"{text}, {row.positives:,} right items"
    return f"{text}, {row.positives:,} positive ({row.positives / row.n:.0%})"


def tiles(results: Results) -> list[Tile]:
    """One per family that has a table."""
    against = strongest(results).values()
    judged = [pair for pair in ours(results) if pair.headline]
    built = []
    for table in tables(results):
        last = len(table.columns) - 1
        column = table.columns[last]
        whole = column.average or last == 0  # a single task stands for its family
        learnt = [line for line in table.lines if line.labels == "all" or is_rival(line.method)]
        cells = {line.method: line.cells[last] for line in learnt} if whole else {}
        known = {method: row for method, row in cells.items() if row and row.value is not None}
        rival = max((row for row in known.values() if is_rival(row.method)), key=_value, default=None)
        place = (table.family, column.task, rival.method if rival else None)
        pairs = [p for p in judged if (p.family, p.task, p.baseline) == place]
        counts = tally(pair for pair in against if pair.family == table.family)
        partial = [method for method in cells if is_rival(method) and method not in known]
        pair = pairs[0] if pairs else None
        task = None if column.average else column.task
        built.append(Tile(table.family, table.metric, task, known.get(OURS), rival, pair, counts, partial))
    return built


def _value(row: Row) -> float:
    return float("-inf") if row.value is None else row.value


def cell_text(row: Row | None) -> str:
    """'0.746 (0.726 to 0.766)'."""
    if row is None:
        return ""
    bounds = interval(row.low, row.high)
    return f"{number(row.value)} ({bounds})" if bounds else number(row.value)


def summary_rows(results: Results, family: str) -> list[dict[str, Any]]:
    """A family's main table as flat dicts, for the terminal and for metadata: a row per method, a column per task."""
    found = [table for table in tables(results) if table.family == family]
    return [
        {"method": line.title}
        | {_heading(c.task): cell_text(cell) for c, cell in zip(table.columns, line.cells, strict=True)}
        for table in found
        for line in table.lines
    ]


def _heading(task: str) -> str:
    return "average" if task == MACRO else task


def strongest_of(methods: Iterable[str], values: dict[str, float], most: int) -> list[str]:
    """At most `most` methods for a plot: ours with and without instruction, then the best of the others by `values`."""
    return sorted(dict.fromkeys(methods), key=lambda m: (m != OURS, m != GENERAL, -values.get(m, 0.0)))[:most]
