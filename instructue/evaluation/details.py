"""What lies behind a figure: calibration, single contexts, maps of users, and users whom a method gets wrong."""

from typing import Any

import numpy as np
import polars as pl

from instructue.evaluation.calibration import calibration
from instructue.evaluation.inputs import Inputs
from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import Method
from instructue.evaluation.plan import Labelled
from instructue.evaluation.population import Population
from instructue.evaluation.prediction import judge
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.results import OURS, PRIMARY
from instructue.evaluation.slices import slices
from instructue.evaluation.uplift import doubt, uplift_curve

EXAMPLES, EVENTS = 4, 12  # users shown of the worst task, and texts shown of each


def calibrations(judged: list[Judged], rows: dict[str, Labelled], protocol: Protocol) -> list[dict]:
    """results.Calibration of every method that gave chances."""
    return [
        {"task": j.task, "method": j.method}
        | calibration(j.chances, rows[j.task].y, protocol.weights[:, rows[j.task].users])
        for j in judged
        if j.chances is not None
    ]


def by_context(judged: list[Judged], rows: dict[str, Labelled], protocol: Protocol) -> list[dict]:
    """results.Slice of every method on every context of the tasks that have several."""
    return [
        {"task": j.task, "method": j.method} | found
        for j in judged
        if j.scores is not None and j.labels == "all" and PRIMARY[j.family] in j.draws
        for found in slices(
            j.scores, rows[j.task].y, rows[j.task].frame["context"].to_list(), protocol.weights[:, rows[j.task].users]
        )
    ]


def uplift(judged: list[Judged], rows: dict[str, Labelled]) -> list[dict]:
    """results.UpliftCurve of every method that was judged by uplift."""
    return [
        {"task": j.task, "method": j.method} | uplift_curve(j.scores, rows[j.task].y, rows[j.task].treated)
        for j in judged
        if j.scores is not None and "qini" in j.draws
    ]


def doubts(inputs: Inputs, rows: dict[str, Labelled], methods: list[Method], protocol: Protocol) -> list[str]:
    """Where treatment could be foreseen, so that it was not given at random."""
    said = []
    for task in (t for t in inputs.tasks if t.name in rows and rows[t.name].treated is not None):
        own = rows[task.name]
        method = next((m for m in methods if inputs.has(m, task, own.frame)), None)
        x = None if method is None else inputs.rows(method, task, own.frame)
        if method is not None and x is not None:
            said.append(doubt(judge(method, task, x, own.treated, own.users, protocol)))
    return [text for text in said if text]


def maps(inputs: Inputs, every: dict[str, Labelled], users: int, seed: int) -> list[dict]:
    """results.UserMap: the same sample of users under the instructions of two tasks, each coloured by its outcome.

    The first two yes-or-no tasks with one row for every user; t-SNE (van der Maaten and Hinton 2008) of cosine
    distances, which knows no outcome.
    """
    found = []
    for task in inputs.tasks:
        if task.name not in every or task.hides or len(found) == 2:
            continue
        rows = every[task.name]
        vectors = inputs.embeddings.rows(OURS, task, rows.frame)
        if vectors is None or len(rows.y) != inputs.population.size:
            continue
        drawn = np.sort(np.random.default_rng(seed).permutation(len(rows.y))[:users])
        found.append({"task": task.name, "method": OURS, "points": _placed(vectors[drawn], rows.y[drawn], seed)})
    return found if len(found) == 2 else []


def _placed(vectors: np.ndarray, y: np.ndarray, seed: int) -> list[dict[str, Any]]:
    from sklearn.manifold import TSNE

    if len(vectors) < 10:
        return []
    placed = TSNE(metric="cosine", init="pca", perplexity=min(30, len(vectors) // 4), random_state=seed)
    spread = placed.fit_transform(vectors.astype(np.float64))
    return [{"x": round(float(x), 2), "y": round(float(y), 2), "label": bool(label)}
            for (x, y), label in zip(spread, y, strict=True)]  # fmt: skip


def examples(judged: list[Judged], pairs: list[dict], inputs: Inputs, every: dict[str, Labelled]) -> list[dict]:
    """results.Example: of the yes-or-no task on which we stand worst, users whom we and the best rival see apart.

    Half of them are those whom the rival got more right, half those whom we did.
    """
    tasks = {t.name: t for t in inputs.tasks}
    plain = [j for j in judged if j.scores is not None and j.labels == "all" and PRIMARY[j.family] in j.draws]
    scored = {(j.task, j.method): j.scores.mean(axis=0) for j in plain if j.scores is not None}
    ours = [p for p in pairs if p["method"] == OURS and p["labels"] == "all" and p["difference"] is not None]
    known = [p for p in ours if (p["task"], p["baseline"]) in scored and (p["task"], OURS) in scored]
    if not known:
        return []
    worst = min(known, key=lambda p: p["difference"])
    task, rival = tasks[worst["task"]], worst["baseline"]
    rows = every[task.name]
    mine, theirs = scored[task.name, OURS], scored[task.name, rival]
    gap = np.where(rows.y == 1, theirs - mine, mine - theirs)  # above zero: the rival is nearer to what came
    order = np.argsort(gap, kind="stable")
    chosen = [*order[::-1][: EXAMPLES // 2], *order[: EXAMPLES // 2]]
    return [
        {
            "task": task.name,
            "user": str(rows.frame["user"][int(row)]),
            "context": rows.frame["context"][int(row)],
            "label": bool(rows.y[row]),
            "score": round(float(mine[row]), 4),
            "baseline": rival,
            "baseline_score": round(float(theirs[row]), 4),
            "events": history_lines(inputs.population, int(rows.users[row]), task.hides),
        }
        for row in chosen
    ]


def history_lines(population: Population, position: int, hides: list[str], most: int = EVENTS) -> list[str]:
    """The latest distinct event texts of one user before the snapshot, with their day and source, latest first."""
    frames = []
    for source in population.tables.dataset.event_sources:
        if source.name in hides:
            continue
        own = population.past(source.name).filter(pl.col("position") == position).select("time", "text_id")
        frames.append(own.with_columns(source=pl.lit(source.name)))
    latest = pl.concat(frames).group_by("source", "text_id").agg(pl.col("time").max())
    latest = latest.sort(["time", "source", "text_id"], descending=[True, False, False]).head(most)
    texts = population.tables.texts["text"].gather(latest["text_id"])
    return [
        f"{time:%Y-%m-%d} {source}: {text}"
        for time, source, text in zip(latest["time"], latest["source"], texts, strict=True)
    ]
