"""Transfer to attributes that no training question asked about, read off the evaluation's own figures."""

from typing import Any

from instructue.evaluation.report.names import interval, method_title, signed
from instructue.evaluation.results import GENERAL, OURS, PRIMARY, UNTRAINED, Study, StudyRow
from instructue.evaluation.tasks import TaskSpec

RIVALS = (UNTRAINED, "mean_text", "tfidf_lr")


def unseen_attributes(rows: list[dict[str, Any]], paired: list[dict[str, Any]], tasks: list[TaskSpec]) -> Study | None:
    """How ours stands on what UserQA never asks about, from an evaluation's rows; None without such a task.

    rows, paired: as in results.Results, as dicts. tasks: TaskSpec; those of rule attribute_in are about attributes
    that training questions leave out, as they are made from events alone.
    """
    names = [task.name for task in tasks if task.label.rule == "attribute_in"]
    kept = [r for r in rows if r["task"] in names and _headline(r) and r["method"] in (OURS, GENERAL, *RIVALS)]
    pairs = [
        p for p in paired if p["task"] in names and _headline(p) and p["method"] == OURS and p["baseline"] in RIVALS
    ]
    if not pairs:
        return None
    setting = "never asked about in training"
    made = [_row(r, r["method"], setting, "value", r.get("n")) for r in kept]
    made += [_row(p, OURS, setting, "difference", None, p["baseline"]) for p in pairs]
    return Study(
        name="unseen_attributes",
        title="Attributes that training never asked about",
        question="Does the embedding tell attributes of users that no question in training asked about?",
        answer=_answer(pairs),
        varied="what was asked",
        rows=made,
        notes=["The attribute table itself is hidden from every method on these tasks."],
    )


def _headline(row: dict[str, Any]) -> bool:
    return row["labels"] == "all" and row["metric"] in PRIMARY.values()


def _row(
    row: dict[str, Any], method: str, setting: str, value: str, n: int | None, baseline: str | None = None
) -> StudyRow:
    metric = row["metric"] + ("_difference" if baseline else "")
    return StudyRow(
        task=row["task"], method=method, setting=setting, metric=metric, value=row[value], low=row["low"],
        high=row["high"], n=n, baseline=baseline,
    )  # fmt: skip


def _answer(pairs: list[dict[str, Any]]) -> str:
    parts, behind, ahead = [], 0, 0
    for rival in dict.fromkeys(p["baseline"] for p in pairs):
        mine = [p for p in pairs if p["baseline"] == rival and p["low"] is not None]
        behind += sum(p["high"] < 0 for p in mine)
        ahead += sum(p["low"] > 0 for p in mine)
        told = [f"{signed(p['difference'])} on {p['task']} ({interval(p['low'], p['high'], signed)})" for p in mine]
        if told:
            parts.append(f"against {method_title(rival)} {', '.join(told)}")
    total = sum(p["low"] is not None for p in pairs)
    held = f"ahead in {ahead} of {total} comparisons, behind in {behind}, undecided in {total - ahead - behind}"
    return f"AUC of ours with 95% intervals is {'; '.join(parts)}: {held}."
