"""A few methods on a few yes-or-no tasks, from the histories of one population, labels from another's future."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from instructue.errors import DataError
from instructue.evaluation.baselines.blocks import BLOCKS, View
from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import METHODS, Method
from instructue.evaluation.population import Population
from instructue.evaluation.prediction import enough, judge
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.tasks import TaskSpec
from instructue.evaluation.vectors import Embeddings
from instructue.paths import Paths

FEW_CONTEXTS = 50  # at most so many become columns that tell every method which one a row is about


def named(names: tuple[str, ...]) -> list[Method]:
    """Methods of the table, in this order."""
    table = {method.name: method for method in METHODS}
    return [table[name] for name in names]


def judgeable(tasks: list[TaskSpec], labels: Population, protocol: Protocol) -> tuple[list[TaskSpec], list[str]]:
    """The yes-or-no tasks with enough of both classes in every training set, and a note on each of the others."""
    kept, notes = [], []
    for task in tasks:
        if task.family == "recommendation":
            continue
        _, y, users = labels_of(task, labels)
        if len(y) and enough(y, users, protocol, 4):
            kept.append(task)
        else:
            notes.append(f"{task.name}: {int(y.sum())} positives of {len(y)} rows are too few to judge by; left out")
    return kept, notes


def judge_all(
    methods: list[Method],
    tasks: list[TaskSpec],
    labels: Population,
    protocol: Protocol,
    vectors: pl.DataFrame,
    histories: Population,
    paths: Paths,
) -> dict[tuple[str, str], Judged]:
    """(task, method) -> its metrics. `labels` and `histories` are of the same users in the same order.

    `vectors` are embeddings by user, task, context and method. Probes run on all cores, one thread each.
    """
    from threadpoolctl import threadpool_limits

    embeddings, made, jobs = Embeddings.of(vectors, histories), {}, []
    for task in tasks:
        rows, y, users = labels_of(task, labels)
        for method in methods:
            parts = [_block(name, task, histories, paths, made)[users] for name in method.blocks if name in BLOCKS]
            parts += [_vectors(embeddings, name, task, rows) for name in method.embeddings]
            if 1 < rows["context"].n_unique() <= FEW_CONTEXTS:
                parts.append(rows.select("context").to_dummies().to_numpy().astype(np.float32))
            jobs.append((method, task, np.concatenate(parts, axis=1), y, users, protocol))
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        return {(j.task, j.method): j for j in pool.map(lambda job: judge(*job), jobs)}


def _block(name: str, task: TaskSpec, histories: Population, paths: Paths, made: dict) -> np.ndarray:
    """A baseline's features of all users, made once per set of hidden sources."""
    key = (name, tuple(task.hides))
    if key not in made:
        made[key] = BLOCKS[name].make(View(histories, tuple(task.hides), np.arange(histories.size), paths))
    return made[key]


def _vectors(embeddings: Embeddings, name: str, task: TaskSpec, rows: pl.DataFrame) -> np.ndarray:
    found = embeddings.rows(name, task, rows)
    if found is None:
        raise DataError(f"{name}: not every row of {task.name} has an embedding; run the embeddings stage again")
    return found


def labels_of(task: TaskSpec, population: Population) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """A task's labelled rows, their labels in {0, 1}, and the positions of their users."""
    found = task.label.labels(population)
    return found, found["label"].to_numpy().astype(np.int64), population.positions(found["user"])


def auc(judged: dict[tuple[str, str], Judged], method: str) -> dict[str, np.ndarray]:
    """A method's AUC by task, [1 + bootstrap] each."""
    return {task: j.draws["auc"] for (task, name), j in judged.items() if name == method}
