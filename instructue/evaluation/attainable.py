"""The best that anyone could reach: the metrics of the chances that outcomes were drawn from, held against the labels.

A method that knew each user's latent state, and all chances, would rank by just these. Its score on the labels at hand
is the bound to be shown beside a method's; it is no bound draw by draw, as luck may favour a worse ranking.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from instructue.errors import DataError
from instructue.evaluation.metrics import binary_metrics, ranking_metrics
from instructue.evaluation.population import Population
from instructue.evaluation.recommendation import Basket
from instructue.evaluation.tasks import TaskSpec
from instructue.evaluation.uplift import uplift_metrics

BINS = 10
FAR = 4.0  # standard deviations that no bin of calibrated chances is off by


@dataclass(frozen=True)
class Bin:
    """Rows of similar chance: how many, positives expected and observed, and their distance in deviations."""

    rows: int
    expected: float
    observed: int
    deviations: float


def attainable_on(task: TaskSpec, population: Population) -> list[dict[str, Any]]:
    """results.Attainable of a task that names its chances, by every metric; none where labels are of one class.

    Raises DataError as `attainable` and `read_chances`.
    """
    if task.chances is None:
        return []
    if task.family == "recommendation":
        basket = Basket.of(task, population)
        if not len(basket.users):
            return []
        chances = read_chances(task.chances, population.users.gather(basket.users), basket.catalogue)
        found = attainable_ranking(chances, basket.relevant, basket.seen)
    else:
        labels = task.label.labels(population)
        found = attainable(pl.read_parquet(task.chances), labels) if labels["label"].n_unique() == 2 else {}
    return [{"task": task.name, "metric": name, "value": v} for name, v in found.items() if np.isfinite(v)]


def attainable(truth: pl.DataFrame, labels: pl.DataFrame) -> dict[str, float]:
    """AUC, KS, average precision and lift of the true chances on these labels.

    truth: chance, and the columns that it shares with labels: user, and context where a user has several rows. labels:
    those, and label, as a task's rule gives them.
    Only rows of `labels` count; with a column `treated` and truth's if_treated and if_not, qini and auuc are added.
    Raises DataError for a label without a chance, a chance outside (0, 1), or labels of one class.
    """
    rows = _matched(truth, labels)
    y, whole = rows["label"].to_numpy().astype(np.int64), np.ones((1, rows.height))
    if y.min() == y.max():
        raise DataError(f"all {len(y)} labels are {bool(y[0])}; take more users, so that both answers occur")
    found = binary_metrics(rows["chance"].to_numpy(), y, whole)
    if "treated" in labels.columns and "if_treated" in truth.columns:
        gain = (rows["if_treated"] - rows["if_not"]).to_numpy()
        found |= uplift_metrics(gain[None], y, rows["treated"].to_numpy().astype(np.int64), whole)
    return {name: float(values[0]) for name, values in found.items()}


def attainable_ranking(chances: np.ndarray, relevant: np.ndarray, seen: np.ndarray | None = None) -> dict[str, float]:
    """NDCG@10, HR@10 and Recall@10 of ranking items by their chances, over users with a relevant item.

    chances and relevant [users, items]; seen marks items that may not be shown, as a task of first times asks.
    """
    scores = chances if seen is None else np.where(seen, -np.inf, chances)
    some = relevant.any(axis=1)
    if not some.any():
        raise DataError("no user has a relevant item, so there is nothing to rank; take more users or a longer horizon")
    return {name: float(values.mean()) for name, values in ranking_metrics(scores[some], relevant[some]).items()}


def read_chances(truth: Path, users: pl.Series, items: list[str]) -> np.ndarray:
    """Chances [users, items] of a ranking's truth, by its Parquet file and the JSON file of its items beside it.

    Raises DataError for a user or an item that the truth does not know.
    """
    names: list[str] = json.loads(truth.with_suffix(".json").read_text(encoding="utf-8"))["items"]
    if strange := sorted(set(items) - set(names)):
        raise DataError(f"{truth} knows no item {strange[:3]}; are truth and labels of one run?")
    rows = users.rename("user").to_frame().join(pl.read_parquet(truth), on="user", how="left", maintain_order="left")
    if lost := rows["chances"].null_count():
        raise DataError(f"{truth} lacks {lost} of {len(users)} users; are truth and labels of one run?")
    found = rows["chances"].list.to_array(len(names)).to_numpy()
    return found[:, [names.index(item) for item in items]]


def calibration(truth: pl.DataFrame, labels: pl.DataFrame) -> list[Bin]:
    """Whether outcomes came as often as their chances say, in BINS groups of rising chance."""
    rows = _matched(truth, labels).sort("chance")
    bins = []
    for part in np.array_split(np.arange(rows.height), min(BINS, rows.height)):
        chance, y = rows["chance"].to_numpy()[part], rows["label"].to_numpy()[part].astype(np.int64)
        spread = float(np.sqrt((chance * (1 - chance)).sum()))
        bins.append(Bin(len(part), float(chance.sum()), int(y.sum()), float((y.sum() - chance.sum()) / spread)))
    return bins


def check_calibration(truth: pl.DataFrame, labels: pl.DataFrame, name: str) -> None:
    """Raise DataError if labels cannot have been drawn from these chances, naming the worst group."""
    worst = max(calibration(truth, labels), key=lambda b: abs(b.deviations))
    if abs(worst.deviations) > FAR:
        raise DataError(
            f"{name}: {worst.observed} positives among {worst.rows} rows of which {worst.expected:.1f} were to be "
            f"expected, {worst.deviations:+.1f} deviations; labels and chances are not of one run, generate them again"
        )


def _matched(truth: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    keys = [name for name in labels.columns if name in truth.columns and name not in {"label", "chance", "treated"}]
    rows = labels.join(truth, on=keys, how="left")
    if lost := rows["chance"].null_count():
        raise DataError(f"{lost} of {labels.height} labels have no chance by {keys}; are truth and labels of one run?")
    if rows.height != labels.height:
        raise DataError(f"truth has several rows by {keys}; keep one each")
    if not rows.is_empty() and not rows["chance"].is_between(0, 1, closed="none").all():
        raise DataError("a chance lies outside (0, 1); is this a file of truth/?")
    if rows.is_empty():
        raise DataError("there are no labels")
    return rows
