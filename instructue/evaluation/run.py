"""The `evaluation` stage: every method on every task, under one protocol, as rows and paired differences."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from instructue.config import Config
from instructue.evaluation.baselines import boosted
from instructue.evaluation.judged import Judged, macro_of, pairs_of, rows_of
from instructue.evaluation.methods import METHODS, OURS, Inputs, Method
from instructue.evaluation.population import Population
from instructue.evaluation.prediction import enough, judge
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.recommendation import Basket, judge_counts, judge_probe
from instructue.evaluation.report import write_reports
from instructue.evaluation.results import MACRO, PRIMARY
from instructue.evaluation.tasks import TaskSpec, load_tasks
from instructue.evaluation.vectors import Embeddings
from instructue.paths import Paths
from instructue.progress import track
from instructue.report import StageReport
from instructue.sources.tables import load_tables


@dataclass(frozen=True)
class Job:
    """Work that needs nothing of other jobs. Long ones begin first, lest one worker end alone with them."""

    run: Callable[[], Judged | list[Judged]]
    long: bool = False


@dataclass
class Plan:
    """Independent jobs, and what had to be left out."""

    jobs: list[Job]
    notes: list[str]


def evaluate(config: Config, paths: Paths) -> StageReport:
    """Judge the embeddings and the baselines on the data set's tasks; write reports/evaluation.{json,md,html}.

    Raises DataError if a stage has not run, LeakageError if an input looks past the evaluation snapshot.
    """
    population = Population.of(load_tables(config, paths))
    tasks = load_tasks(config.data.dataset, config.evaluation.tasks)
    inputs = Inputs(population, Embeddings.read(paths, population), tasks)
    protocol = Protocol.draw(config.evaluation, population, load_tasks(config.data.dataset))
    plan = make_plan(inputs, protocol, config.evaluation.few_labels)
    judged = run_jobs(plan.jobs)
    judged += macro_of(judged)
    results = {
        "dataset": config.data.dataset,
        "snapshot": str(population.snapshot),
        "protocol": describe_protocol(config, population, protocol),
        "rows": rows_of(judged),
        "paired": pairs_of(judged, OURS),
        "notes": plan.notes,
        "data": {
            "embeddings": digest(paths.embeddings / "embeddings.parquet"),
            "histories": digest(paths.histories / "histories.parquet"),
        },
        "tasks": {task.name: describe_task(task, population.tables.dataset.who) for task in tasks},
    }
    write_reports(results, paths.evaluation_report)
    return describe(results, paths)


def make_plan(inputs: Inputs, protocol: Protocol, few_labels: list[int]) -> Plan:
    """One job per task, method and number of labels, the longest first; baseline features are made on the way."""
    plan = Plan([], [])
    for task in track(inputs.tasks, "features of the baselines"):
        ranks = task.family == "recommendation"
        for method in METHODS:
            if method.ranks or not ranks:
                inputs.prepare(method, task)
        if ranks:
            _plan_ranking(plan, task, inputs, protocol)
        else:
            _plan_binary(plan, task, inputs, protocol, few_labels)
    plan.jobs.sort(key=lambda job: not job.long)
    return plan


def _plan_binary(plan: Plan, task: TaskSpec, inputs: Inputs, protocol: Protocol, few_labels: list[int]) -> None:
    labelled = task.label.labels(inputs.population)
    y, users = labelled["label"].to_numpy().astype(np.int64), inputs.population.positions(labelled["user"])
    if not len(y) or not enough(y, users, protocol, 4):
        plan.notes.append(f"{task.name}: {int(y.sum())} positives of {len(y)} rows are too few to judge by; left out")
        return
    sizes = [None, *[size for size in few_labels if enough(y, users, protocol, size)]]
    for method in METHODS:
        x = inputs.rows(method, task, labelled)
        if x is None:
            plan.notes.append(_missing(method, task))
            continue
        for size in sizes:
            run = partial(judge, method, task, x, y, users, protocol, size)
            plan.jobs.append(Job(run, long=method.learner is boosted))


def _plan_ranking(plan: Plan, task: TaskSpec, inputs: Inputs, protocol: Protocol) -> None:
    basket = Basket.of(task, inputs.population)
    labelled = task.label.labels(inputs.population)
    if len(basket.users) < 4 * (protocol.folds.max() + 1):
        plan.notes.append(f"{task.name}: only {len(basket.users)} users have a relevant item; left out")
        return
    plan.jobs.append(Job(partial(judge_counts, task, basket, protocol)))
    for method in (m for m in METHODS if m.ranks):
        x = inputs.rows(method, task, labelled)
        if x is None:
            plan.notes.append(_missing(method, task))
            continue
        plan.jobs.append(Job(partial(judge_probe, method.name, task, x, basket, protocol)))


def _missing(method: Method, task: TaskSpec) -> str:
    hidden = f" without {', '.join(task.hides)}" if task.hides else ""
    return f"{method.name}: not every row of {task.name} has an embedding{hidden}; left out there"


def run_jobs(jobs: list[Job]) -> list[Judged]:
    """Run jobs on all cores, one thread each, and return their results in the order of the jobs."""
    from threadpoolctl import threadpool_limits

    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        done = track(pool.map(lambda job: job.run(), jobs), "judging methods on tasks", len(jobs))
        return [judged for part in done for judged in (part if isinstance(part, list) else [part])]


def describe_protocol(config: Config, population: Population, protocol: Protocol) -> dict[str, Any]:
    """What fixes the figures, for the reports."""
    return {
        "users": population.size,
        "folds": config.evaluation.folds,
        "repeats": config.evaluation.repeats,
        "inner_folds": config.evaluation.inner_folds,
        "bootstrap": config.evaluation.bootstrap,
        "seed": config.evaluation.seed,
        "few_labels": config.evaluation.few_labels,
        "population": f"users with at least {config.histories.min_events} earlier events of the first source",
        "split": "folds over users, the same for every method and task; a user's rows stay together",
        "probe": "standardised features, logistic or ridge regression, strength from inner folds of training users",
        "scores": "out of fold, as ranks within the fold; a metric is averaged over the repeats",
        "interval": "95%, bootstrap over users; differences are paired on the same draws",
        "macro": "mean of the primary metric over a family's tasks",
    }


def describe_task(task: TaskSpec, who: str) -> dict[str, str]:
    return {
        "family": task.family,
        "description": task.description,
        "instruction": task.instruction.replace("{who}", who),
    }


def digest(path: Path) -> str:
    """MD5 of a file, as DVC names it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def describe(results: dict[str, Any], paths: Paths) -> StageReport:
    """The stage's report: ours as metrics, a table of tasks by methods, links to the written reports."""
    rows = [r for r in results["rows"] if r["labels"] == "all" and r["metric"] == PRIMARY[r["family"]]]
    metrics = {
        f"{r['metric']}/{_place(r)}": r["value"] for r in rows if r["method"] == OURS[0] and r["value"] is not None
    }
    table: dict[str, dict[str, Any]] = {}
    for r in rows:
        line = table.setdefault(_place(r), {"task": _place(r), **{k: r[k] for k in ("metric", "n", "positives")}})
        bounds = "" if r["low"] is None else f" [{r['low']:.3f}, {r['high']:.3f}]"
        line[r["method"]] = "-" if r["value"] is None else f"{r['value']:.3f}{bounds}"
    stem = paths.evaluation_report
    return StageReport(
        "evaluation",
        rows={"results": len(results["rows"]), "paired": len(results["paired"])},
        metrics=metrics,
        tables={"results": list(table.values())},
        links={suffix: str(stem.with_name(f"{stem.name}.{suffix}")) for suffix in ("html", "md", "json")},
        notes=results["notes"],
    )


def _place(row: dict[str, Any]) -> str:
    return f"{row['family']} {MACRO}" if row["task"] == MACRO else row["task"]
