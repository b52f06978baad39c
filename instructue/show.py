"""What a person sees in the terminal: a stage's report, the knobs, the table of results."""

import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from instructue.config import Config
from instructue.errors import DataError
from instructue.report import StageReport

if typing.TYPE_CHECKING:
    from instructue.sources.quarantine import Quarantine

OURS = "instructue"


def console(*, stderr: bool = False) -> Console:
    """A terminal's own width; in a file or a pipe, wide enough that no table is cut."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 200, highlight=False)


def figure(value: Any) -> str:
    """A number for people: 1,469,307 or 0.7461."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def summary(report: StageReport, seconds: float) -> list[str]:
    """The few lines that end a stage: time, rows, key metrics, notes, where to look."""
    rows = ", ".join(f"{figure(count)} {name}" for name, count in report.rows.items())
    lines = [f"{report.stage}: {rows + ' ' if rows else ''}in {seconds:.1f} s"]
    if report.metrics:
        lines.append("  " + ", ".join(f"{name} {figure(value)}" for name, value in report.metrics.items()))
    lines += [f"  note: {note}" for note in report.notes]
    lines += [f"  {name}: {place}" for name, place in report.links.items()]
    return lines


def knobs(config: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str, str]]:
    """Every knob below `config`: dotted name, value, what it may be, what it means."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from knobs(value, f"{prefix}{name}.")
        elif not (prefix == "" and name == "variants"):
            yield f"{prefix}{name}", value, allowed(field.annotation, field.metadata), field.description or ""


def allowed(annotation: Any, constraints: list[Any]) -> str:
    """What a field may be, in words: 'whole number, >= 1, <= 52', 'local | openai | template'."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return " | ".join(map(str, typing.get_args(annotation)))
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if a is type(None) else allowed(a, constraints) for a in typing.get_args(annotation))
    if origin is list:
        return f"list of {allowed(typing.get_args(annotation)[0], [])}s"
    words = {"int": "whole number", "float": "number", "str": "text", "bool": "true | false"}
    name = str(annotation.__name__)
    said = [words.get(name, name)]
    for constraint in constraints:
        for bound, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
            if getattr(constraint, bound, None) is not None:
                said.append(f"{sign} {getattr(constraint, bound)}")
        if getattr(constraint, "pattern", None):
            said.append(f"like {constraint.pattern}")
    return ", ".join(said)


def print_params(config: Config) -> None:
    """All knobs as a table."""
    table = Table("knob", "value", "may be", "meaning", box=None, header_style="bold", pad_edge=False)
    for name, value, range_, meaning in knobs(config):
        table.add_row(name, "null" if value is None else str(value), range_, meaning)
    out = console()
    out.print(table, markup=False)
    for name, changes in config.variants.items():
        out.print(f"\nvariant {name}: " + ", ".join(f"{key}={value}" for key, value in changes.items()), markup=False)


def print_yaml(raw: dict[str, Any]) -> None:
    """Raw params as YAML, for a params.yaml elsewhere."""
    sys.stdout.write(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))


def read_results(path: Path) -> dict[str, Any]:
    """evaluation.json. Raises DataError when the evaluation has not run."""
    if not path.is_file():
        raise DataError(f"{path} is not there yet; run `make run`, or only: python -m instructue evaluation")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is damaged ({error}); run again: python -m instructue evaluation") from error


def print_results(path: Path) -> None:
    """Per family one table of its main metric: a line per method, ours first, a column per task, 95% intervals."""
    results = read_results(path)
    out = console()
    for family in dict.fromkeys(row["family"] for row in results["rows"]):
        rows = [r for r in results["rows"] if r["family"] == family and r["labels"] == "all"]
        if rows:
            out.print(_family(family, [r for r in rows if r["metric"] == _main_metric(rows)]))
    paired = [p for p in results.get("paired", []) if p["method"] == OURS and p["labels"] == "all"]
    paired = [p for p in paired if p["low"] is not None and p["task"] != "macro" and not _is_use(p["baseline"])]
    for baseline in dict.fromkeys(p["baseline"] for p in paired):
        against = [p for p in paired if p["baseline"] == baseline]
        better, worse = sum(p["low"] > 0 for p in against), sum(p["high"] < 0 for p in against)
        out.print(
            f"{OURS} against {baseline}: better on {better}, worse on {worse}, undecided on "
            f"{len(against) - better - worse} of {len(against)}"
        )
    if paired:
        out.print("better or worse: the 95% interval of the paired difference lies on one side of zero")


def _is_use(method: str) -> bool:
    """Ours used in another way or added to something, which is no rival of ours."""
    return method.endswith(f"_with_{OURS}") or (method.startswith(f"{OURS}_") and method != f"{OURS}_general")


def _main_metric(rows: list[dict[str, Any]]) -> str:
    known = [r["metric"] for r in rows]
    return next((m for m in ("auc", "ndcg@10") if m in known), known[0])


def _family(family: str, rows: list[dict[str, Any]]) -> Table:
    tasks = sorted(dict.fromkeys(r["task"] for r in rows), key=lambda task: task == "macro")
    by = {(r["method"], r["task"]): r for r in rows}

    def order(method: str) -> tuple[bool, bool, bool, float]:
        values = [by[method, task]["value"] or 0.0 for task in tasks if (method, task) in by]
        return not method.startswith(OURS), method != OURS, (method, tasks[-1]) not in by, -sum(values) / len(values)

    sizes = {r["task"]: f"{r['n']} ({r['positives']})" for r in rows if r["n"] is not None and r["task"] != "macro"}
    heads = [f"{'average' if task == 'macro' else task}\n{sizes.get(task, '')}" for task in tasks]
    title = f"{family}: {rows[0]['metric']}, n (positives)"
    table = Table("method", *heads, title=title, title_justify="left", box=None)
    best = {task: max((r["value"] for r in rows if r["task"] == task and r["value"] is not None), default=None)
            for task in tasks}  # fmt: skip
    for method in sorted(dict.fromkeys(r["method"] for r in rows), key=order):
        table.add_row(method, *(_cell(by.get((method, task)), best[task]) for task in tasks))
    return table


def _cell(row: dict[str, Any] | None, best: float | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    bounds = "" if row["low"] is None else f" \\[{row['low']:.3f}, {row['high']:.3f}]"
    shown = f"{row['value']:.3f}{bounds}"
    return f"[bold]{shown}[/bold]" if row["value"] == best else shown


def print_quarantine(found: "Quarantine", page: Path, limit: int) -> None:
    """Counts per source, counts per broken rule, and the first `limit` rows."""
    out = console()
    table = Table("source", "read", "kept", "quarantined", box=None, header_style="bold", pad_edge=False)
    for name, counts in found.counts.items():
        table.add_row(name, *(figure(counts[c]) for c in ("read", "kept", "quarantined")))
    out.print(table)
    if found.rows.is_empty():
        out.print("\nnothing is in quarantine")
    else:
        names = ["source", "rule", "rows", "reason"]
        _print_rows(out, names, found.by_rule().select(names).rows())
        # In the file's own order, so that a person finds them one after the other.
        names = ["source", "file", "row", "rule", "value", "user", "time"]
        first = found.rows.sort("source", "row", "rule", maintain_order=True).head(limit)
        shown = [name for name in names if name in first.columns]
        _print_rows(out, shown, first.select(shown).rows())
        if found.rows.height > limit:
            out.print(f"and {found.rows.height - limit:,} more (--rows {found.rows.height})")
    out.print(f"\nrows are counted from 0 in their file; results page: {page}", soft_wrap=True)


def _print_rows(out: Console, names: list[str], rows: list[tuple[Any, ...]]) -> None:
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(escape(str("" if value is None else value)) for value in row))
    out.print()
    out.print(table)
