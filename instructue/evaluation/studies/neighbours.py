"""Whether users who will do X stand closer together under the instruction about X than under others or none."""

import numpy as np
import polars as pl

from instructue.evaluation.results import GENERAL, OURS, Study
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.figures import Draws, gain, mean, minus, overall, rows, said, side, weights
from instructue.evaluation.studies.judging import labels_of
from instructue.evaluation.studies.wordings import plain
from instructue.evaluation.tasks import TaskSpec
from instructue.evaluation.vectors import Embeddings

NEAREST = 10
OWN, ELSE, NONE = "instruction about it", "another instruction", "no instruction"


def neighbours(bench: Bench) -> list[Study]:
    """One study over all users, from the published embeddings; none if fewer than two questions go to everybody."""
    population, tasks = bench.population, [task for task in bench.chosen if plain(task)]
    everyone = population.users.to_frame("user").with_columns(context=pl.lit(""))
    spaces = _spaces(bench.embeddings, tasks, everyone, population.users)
    if len(spaces) < 3 or GENERAL not in spaces:
        return []
    drawn = weights(population.size, bench.config.evaluation.bootstrap, bench.config.studies.seed)
    told: dict[str, Draws] = {OWN: {}, ELSE: {}, NONE: {}}
    counts = {}
    for task in (t for t in tasks if t.family != "recommendation" and t.name in spaces):
        _, y, users = labels_of(task, population)
        if len(users) != population.size or not 0 < y.sum() < len(y):
            continue
        label = np.zeros(population.size)
        label[users] = y
        lift = {name: lifts(near, label, drawn) for name, near in spaces.items()}
        told[OWN][task.name] = lift[task.name]
        told[ELSE][task.name] = np.mean([lift[n] for n in spaces if n not in (task.name, GENERAL)], axis=0)
        told[NONE][task.name] = lift[GENERAL]
        counts[task.name] = int(y.sum())
    return [_study(told, counts)] if told[OWN] else []


def _spaces(
    embeddings: Embeddings, tasks: list[TaskSpec], everyone: pl.DataFrame, users: pl.Series
) -> dict[str, np.ndarray]:
    """Nearest others under each instruction that everybody was asked, and under none: int64 [users, NEAREST]."""
    found = {}
    ours = embeddings.table.filter(pl.col("method") == OURS)
    for task in tasks:
        own = ours.filter(pl.col("task") == task.name)
        vectors = embeddings.rows(OURS, task, everyone) if users.is_in(own["user"].implode()).all() else None
        if vectors is not None:
            found[task.name] = nearest(vectors)
    general = embeddings.rows(GENERAL, tasks[0], everyone) if tasks else None
    return found | ({GENERAL: nearest(general)} if general is not None else {})


def nearest(vectors: np.ndarray, k: int = NEAREST) -> np.ndarray:
    """The k nearest other rows of unit vectors [n, dim] by cosine, int64 [n, min(k, n - 1)]."""
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    k = min(k, len(vectors) - 1)
    return np.argpartition(-near, k - 1, axis=1)[:, :k]


def lifts(near: np.ndarray, label: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """How many times more of a positive user's neighbours are positive than of all users, [draws]."""
    positive = label.astype(bool)
    return mean(label[near].mean(axis=1)[positive], drawn[:, positive]) / mean(label, drawn)


def _study(told: dict[str, Draws], counts: dict[str, int]) -> Study:
    found = [row for setting, draws in told.items() for row in rows(draws, OURS, setting, "neighbour_lift", counts)]
    for other in (ELSE, NONE):
        found += rows(minus(told[OWN], told[other]), OURS, OWN, "neighbour_lift_difference", counts, other)
    against_else, against_none = (overall(minus(told[OWN], told[other])) for other in (ELSE, NONE))
    sides = {side(against_else), side(against_none)}
    held = (
        "so neighbourhoods follow the instruction" if sides == {1}
        else "so neighbourhoods do not follow the instruction" if -1 in sides
        else "so it is not shown that neighbourhoods follow the instruction" if sides == {0}
        else "so it is shown only in part that neighbourhoods follow the instruction"
    )  # fmt: skip
    return Study(
        name="neighbours",
        title="Neighbours under an instruction",
        question=f"Are the {NEAREST} nearest users of one who will do X more often users who will do X when asked "
        "about X?",
        answer=f"Among the {NEAREST} nearest neighbours of a positive user positives are {said(overall(told[OWN]))} "
        f"times as frequent as in the population under the instruction about it; {gain(against_else)} against another "
        f"instruction and {gain(against_none)} against none, {held}.",
        varied="what the user was asked",
        rows=found,
        notes=[
            "Neighbours are found once among all users; the intervals draw the users whose neighbours are looked at."
        ],
    )
