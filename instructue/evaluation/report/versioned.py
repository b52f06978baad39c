"""What is compared between two versions: a small file of metrics and files of plots, as `dvc metrics diff` and
`dvc plots diff` read them. DVC itself is not needed to write them."""

import csv
from pathlib import Path
from typing import Any

from instructue.evaluation.report.claims import NOISE
from instructue.evaluation.report.names import FAMILIES
from instructue.evaluation.results import MACRO, OURS, PRIMARY, Results, Row, parse_results
from instructue.files import replacing, write_json


def write_metrics(results: dict[str, Any] | Results, path: Path) -> Path:
    """Write {task: {metric: value}} of ours with all labels, an average as 'macro_FAMILY'; returns `path`.

    Four digits, less than a tenth of an interval, so that only what moved differs.
    """
    parsed = results if isinstance(results, Results) else parse_results(results)
    found: dict[str, dict[str, float]] = {}
    for row in _known(parsed):
        if row.method == OURS and row.labels == "all" and row.value is not None:
            found.setdefault(_place(row), {})[row.metric] = round(row.value, 4)
    write_json(path, found)
    return path


def write_plots(results: dict[str, Any] | Results, folder: Path) -> list[Path]:
    """Write CSV files with headers into `folder`, which is replaced; returns them.

    comparison.csv, all methods with all labels; few_labels.csv, labels a number or 'all'; robustness.csv where it was
    studied. For lines and bars that DVC can draw as they are: ours.csv, one line per task, and few_labels_average.csv,
    ours with each number of labels, a column per family.
    """
    parsed = results if isinstance(results, Results) else parse_results(results)
    rows = [row for row in _known(parsed) if row.metric == PRIMARY[row.family]]
    full = [row for row in rows if row.labels == "all"]
    few = {(row.family, row.task) for row in rows if row.labels not in ("all", 0)}
    files: dict[str, list[dict[str, Any]]] = {
        "comparison.csv": [
            {"task": _place(r), "method": r.method, "metric": r.metric, "value": r.value, "low": r.low, "high": r.high}
            for r in full
        ],
        "ours.csv": [
            {"task": _place(r), "metric": r.metric, "value": r.value, "low": r.low, "high": r.high}
            for r in full
            if r.method == OURS
        ],
        "few_labels.csv": [
            {"task": _place(r), "method": r.method, "labels": r.labels, "value": r.value}
            for r in rows
            if (r.family, r.task) in few
        ],
        "few_labels_average.csv": _averages(rows),
        "robustness.csv": [
            {"study": study.name, "task": row.task, "method": row.method, "setting": row.setting, "metric": row.metric,
             "baseline": row.baseline, "value": row.value, "low": row.low, "high": row.high}
            for study in parsed.studies if study.name.startswith(NOISE) for row in study.rows
        ],
    }  # fmt: skip
    with replacing(folder) as temporary:
        temporary.mkdir()
        for name, lines in files.items():
            if lines:
                _write(temporary / name, lines)
    return sorted(folder.iterdir())


def _known(results: Results) -> list[Row]:
    return [row for row in results.rows if row.value is not None]


def _place(row: Row) -> str:
    return f"{MACRO}_{row.family}" if row.task == MACRO else row.task


def _averages(rows: list[Row]) -> list[dict[str, Any]]:
    mine = [r for r in rows if r.task == MACRO and r.method == OURS and r.labels != "all"]
    families = [family for family in FAMILIES if any(r.family == family for r in mine)]
    values = {(r.labels, r.family): r.value for r in mine}
    return [
        {"labels": labels} | {family: values.get((labels, family)) for family in families}
        for labels in sorted({r.labels for r in mine if r.labels != "all"})
    ]


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
