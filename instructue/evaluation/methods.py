"""What is compared: each method's features and learner as a row of a table, and the inputs that they draw on."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from instructue.evaluation import features, results
from instructue.evaluation.baselines import boosted
from instructue.evaluation.population import Population
from instructue.evaluation.probe import probe_logistic
from instructue.evaluation.rules import Responds
from instructue.evaluation.tasks import TaskSpec
from instructue.evaluation.vectors import Embeddings

UNIT_STRENGTHS = np.array([0.3, 1, 3, 10, 30])
Learner = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def linear(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return probe_logistic(x, y, x_new, inner)[0]


def linear_on_unit_rows(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, inner: np.ndarray) -> np.ndarray:
    # TF-IDF columns keep their scale, which is their weight; rows are about one long, so penalties are lighter.
    return probe_logistic(x, y, x_new, inner, standardise=False, strengths=UNIT_STRENGTHS)[0]


@dataclass(frozen=True)
class Method:
    """A method by its features and learner; `ranks` says that it is probed on ranking tasks too."""

    name: str
    embedding: bool = False
    learner: Learner = linear
    ranks: bool = False


METHODS = (
    Method(results.OURS, embedding=True, ranks=True),
    Method(results.GENERAL, embedding=True, ranks=True),
    Method(results.UNTRAINED, embedding=True, ranks=True),
    Method("mean_text", ranks=True),
    Method("tfidf_lr", learner=linear_on_unit_rows),
    Method("aggregates_lightgbm", learner=boosted),
)
OURS = (results.OURS, results.GENERAL)


@dataclass
class Inputs:
    """Features by method and task. Baseline features are made once per set of hidden sources, for all users."""

    population: Population
    embeddings: Embeddings
    tasks: list[TaskSpec]
    _made: dict[tuple[str, tuple[str, ...]], np.ndarray] = field(default_factory=dict)

    def prepare(self, method: Method, task: TaskSpec) -> None:
        """Make a baseline's features now, so that parallel jobs only read them."""
        if method.embedding or (key := (method.name, tuple(sorted(task.hides)))) in self._made:
            return
        made = {
            "mean_text": lambda: features.mean_text(self.population, task.hides),
            "tfidf_lr": lambda: features.tfidf(self.population, task.hides, self._users(task.hides)),
            "aggregates_lightgbm": lambda: features.aggregates(self.population, task.hides),
        }
        self._made[key] = made[method.name]()

    def _users(self, hides: list[str]) -> np.ndarray:
        """Positions of all users who occur in tasks with these hidden sources."""
        alike = [t for t in self.tasks if sorted(t.hides) == sorted(hides)]
        users = [t.label.labels(self.population)["user"] for t in alike]
        return np.unique(self.population.positions(pl.concat(users)))

    def rows(self, method: Method, task: TaskSpec, labelled: pl.DataFrame) -> np.ndarray | None:
        """Features of a task's labelled rows, float32 [rows, columns]; None if the method has none for some row.

        Every method is told which offer a row is about by the same indicator columns, embeddings included.
        """
        if method.embedding:
            x = self.embeddings.rows(method.name, task, labelled)
        else:
            x = self._made[method.name, tuple(sorted(task.hides))][self.population.positions(labelled["user"])]
        if x is None or not isinstance(task.label, Responds):
            return x
        return np.concatenate([x, labelled.select("context").to_dummies().to_numpy().astype(np.float32)], axis=1)
