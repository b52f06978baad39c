"""The `evaluation` stage: every method on every task, under one protocol, as rows and paired differences."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from instructue.config import Config
from instructue.evaluation import details
from instructue.evaluation.answers import Answers
from instructue.evaluation.attainable import attainable_on
from instructue.evaluation.baselines.blocks import BLOCKS
from instructue.evaluation.cache import Cache, digest
from instructue.evaluation.inputs import Inputs
from instructue.evaluation.judged import Judged, macro_of, pairs_of, rows_of
from instructue.evaluation.methods import COMPARED, USES, every_name, methods_for
from instructue.evaluation.plan import Job, Plan
from instructue.evaluation.population import Population
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.report.names import FAMILIES
from instructue.evaluation.report.plots import forest_png, summary_png
from instructue.evaluation.report.tables import summary_rows
from instructue.evaluation.report.versioned import write_metrics, write_plots
from instructue.evaluation.report.write import write_reports
from instructue.evaluation.results import MACRO, OURS, PRIMARY, Row, parse_results
from instructue.evaluation.studies.stored import read_studies
from instructue.evaluation.studies.unseen_attributes import unseen_attributes
from instructue.evaluation.tasks import TaskSpec, load_tasks
from instructue.evaluation.tracked import log_results
from instructue.evaluation.vectors import Embeddings, external
from instructue.paths import Paths
from instructue.progress import track
from instructue.report import StageReport
from instructue.sources.tables import load_tables


@dataclass(frozen=True)
class Judgement:
    """What is to be judged: tasks by which methods (empty: all), from which embeddings and answers."""

    population: Population
    tasks: list[TaskSpec]
    embeddings: Embeddings
    answers: Answers
    methods: list[str]
    external: list[str]


def evaluate(config: Config, paths: Paths) -> StageReport:
    """Judge the embeddings and the baselines on the data set's tasks; write reports/evaluation.{json,md,html}.

    Beside them reports/metrics.json and reports/plots/*.csv, which `dvc metrics diff` and `dvc plots diff` compare.
    Raises DataError if a stage has not run, LeakageError if an input looks past the evaluation snapshot.
    """
    population = Population.of(load_tables(config, paths))
    embeddings, others = with_external(Embeddings.read(paths, population), config, paths, population)
    tasks = load_tasks(config.data.description(), config.evaluation.tasks)
    wanted = Judgement(population, tasks, embeddings, Answers.read(paths), config.evaluation.methods, others)
    results = assess(config, paths, wanted)
    results["studies"] += [study.model_dump(mode="json") for study in read_studies(paths.studies_report)]
    write_reports(results, paths.evaluation_report)
    write_metrics(results, paths.metrics)
    write_plots(results, paths.plots)
    forest_png(results, paths.plots / "forest.png")
    plots = {"summary": summary_png(results, paths.plots / "summary.png")}
    run_id = log_results(results, paths)
    report = describe(results, paths.evaluation_report, {"mlflow_run": run_id, "mlflow_store": paths.mlflow_uri})
    return replace(report, plots=plots)


def with_external(
    embeddings: Embeddings, config: Config, paths: Paths, population: Population
) -> tuple[Embeddings, list[str]]:
    """Our embeddings and those of params' files together, and the names of the latter's methods."""
    others = [
        external(paths.root / name, population, (*every_name([]), *BLOCKS)) for name in config.evaluation.external
    ]
    names = list(dict.fromkeys(name for other in others for name in other.table["method"].unique().sort()))
    return embeddings.merged(others), names


def assess(config: Config, paths: Paths, wanted: Judgement) -> dict[str, Any]:
    """Everything that the report shows, as described in results.py; what was judged before comes from the cache."""
    population, tasks = wanted.population, wanted.tasks
    cache = Cache(paths.cache / "evaluation")
    inputs = Inputs(population, wanted.embeddings, tasks, paths, cache)
    protocol = Protocol.draw(config.evaluation, population, load_tasks(config.data.description()))
    methods, names = methods_for(wanted.external, wanted.methods, config.evaluation.leave_out)
    plan = Plan(inputs, wanted.answers, protocol, methods, names, config.evaluation.few_labels)
    judged = run_jobs(plan.jobs, cache)
    judged += macro_of(judged)
    rows, paired = rows_of(judged), pairs_of(judged, COMPARED, USES)
    unseen = unseen_attributes(rows, paired, tasks)
    return {
        "dataset": config.data.dataset,
        "snapshot": str(population.snapshot),
        "protocol": describe_protocol(config, population, protocol),
        "rows": rows,
        "paired": paired,
        "notes": [*left_out(names, wanted), *plan.notes, *details.doubts(inputs, plan.rows, methods, protocol)],
        "data": {
            "embeddings": digest(paths.embeddings / "embeddings.parquet"),
            "histories": digest(paths.histories / "histories.parquet"),
            **{name: digest(paths.root / name) for name in config.evaluation.external},
            **{file.name: digest(file) for task in tasks for file in task.files()},
        },
        "tasks": {task.name: describe_task(task, population.tables.dataset.who) for task in tasks},
        "calibration": details.calibrations(judged, plan.rows, protocol),
        "slices": details.by_context(judged, plan.rows, protocol),
        "uplift": details.uplift(judged, plan.rows),
        "maps": details.maps(inputs, plan.rows, config.evaluation.map_users, config.evaluation.seed),
        "examples": details.examples(judged, paired, inputs, plan.rows),
        "studies": [] if unseen is None else [unseen.model_dump(mode="json")],
        "attainable": [part for task in tasks for part in attainable_on(task, population)],
    }


def left_out(names: list[str], wanted: Judgement) -> list[str]:
    """What the configuration leaves out, so that nobody takes a missing rival for a beaten one."""
    missing = [] if wanted.methods else sorted({*every_name(wanted.external)} - {*names})
    return [f"not judged here, by evaluation.leave_out: {', '.join(missing)}"] if missing else []


def run_jobs(jobs: list[Job], cache: Cache) -> list[Judged]:
    """Results in the order of the jobs: from the cache, else run on all cores, one thread each."""
    from threadpoolctl import threadpool_limits

    found = {job.key: judged for job in jobs if (judged := cache.find(job.key))}
    missing = [job for job in jobs if job.key not in found]
    for job in track([job for job in missing if job.prepare], "features of the methods"):
        assert job.prepare is not None
        job.prepare()
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        made = track(pool.map(lambda job: cache.judged(job.key, job.run), missing), "judging methods", len(missing))
        found |= {job.key: judged for job, judged in zip(missing, made, strict=True)}
    return [found[job.key] for job in jobs]


def describe_protocol(config: Config, population: Population, protocol: Protocol) -> dict[str, Any]:
    """What fixes the figures, for the reports."""
    evaluation = config.evaluation
    return {
        "users": population.size,
        **{key: getattr(evaluation, key) for key in ("folds", "repeats", "inner_folds", "bootstrap", "seed")},
        "few_labels": evaluation.few_labels,
        "few_draws": evaluation.few_draws,
        "population": f"users with at least {config.histories.min_events} earlier events of the first source",
        "split": "folds over users, the same for every method and task; a user's rows stay together",
        "probe": "standardised features, logistic or ridge regression, strength from inner folds of training users",
        "scores": "out of fold, as ranks within the fold; a metric is averaged over the repeats",
        "few": "training rows at the task's rate of positives, the same for every method; whole folds are scored",
        "interval": "95%, bootstrap over users; differences are paired on the same draws",
        "joint": "intervals for all comparisons of ours at once: max-t over the same draws (Romano and Wolf 2005)",
        "macro": "mean of the primary metric over a family's tasks",
    }


def describe_task(task: TaskSpec, who: str) -> dict[str, str]:
    return {
        "family": task.family,
        "description": task.description,
        "instruction": task.instruction.replace("{who}", who),
    }


def describe(results: dict[str, Any], stem: Path, links: dict[str, str]) -> StageReport:
    """The stage's report: ours as metrics, a table per family of methods by tasks, links to the written reports."""
    parsed = parse_results(results)
    rows = [r for r in parsed.rows if (r.method, r.labels, r.metric) == (OURS, "all", PRIMARY[r.family])]
    return StageReport(
        "evaluation",
        rows={"results": len(parsed.rows), "paired": len(parsed.paired)},
        metrics={f"{r.metric}/{_place(r)}": r.value for r in rows if r.value is not None},
        tables={title: summary_rows(parsed, family) for family, title in FAMILIES.items()},
        links={suffix: str(stem.with_name(f"{stem.name}.{suffix}")) for suffix in ("html", "md", "json")} | links,
        notes=results["notes"],
    )


def _place(row: Row) -> str:
    return f"{row.family} {MACRO}" if row.task == MACRO else row.task
