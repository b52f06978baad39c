"""What is compared: each method as a row of a table, the blocks of features that it reads and how it learns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructue.errors import ConfigError
from instructue.evaluation import results
from instructue.evaluation.baselines.blocks import BLOCKS
from instructue.evaluation.baselines.collaborative import RANKERS
from instructue.evaluation.baselines.heuristics import HEURISTICS
from instructue.evaluation.baselines.learners import boosted
from instructue.evaluation.probe import PENALTIES, probe_logistic

UNIT_STRENGTHS = np.array([0.3, 1, 3, 10, 30])
UNIT_PENALTIES, WIDE_PENALTIES = np.array([0.1, 0.3, 1, 3, 10]), np.array([1e3, 1e4, 1e5, 1e6])
Learner = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def linear(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, inner: np.ndarray) -> np.ndarray:
    return probe_logistic(x, y, x_new, inner)[0]


def linear_on_unit_rows(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, inner: np.ndarray) -> np.ndarray:
    # TF-IDF columns keep their scale, which is their weight; rows are about one long, so penalties are lighter.
    return probe_logistic(x, y, x_new, inner, standardise=False, strengths=UNIT_STRENGTHS)[0]


def linear_as_is(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, inner: np.ndarray) -> np.ndarray:
    # The block is standardised already, and turned: doing it again would undo the weights of its directions.
    return probe_logistic(x, y, x_new, inner, standardise=False)[0]


@dataclass(frozen=True)
class Method:
    """A method by its blocks of features, side by side, and its learner of log odds.

    A block is one of BLOCKS or, by the method's name in a table of embeddings, a vector per labelled row.
    `ranks`: probed on ranking tasks too. `few`: judged with few labels too.
    """

    name: str
    blocks: tuple[str, ...]
    learner: Learner = linear
    ranks: bool = False
    few: bool = True

    @property
    def unit_rows(self) -> bool:
        """Whether its rows are about one long, rather than its columns one wide."""
        return self.learner is linear_on_unit_rows

    @property
    def ridge(self) -> dict[str, Any]:
        """What a ridge probe is to do with the block: whether to standardise, and the penalties to choose from."""
        penalties = {linear_as_is: WIDE_PENALTIES, linear_on_unit_rows: UNIT_PENALTIES}.get(self.learner, PENALTIES)
        return {"standardise": self.learner is linear, "penalties": penalties}

    @property
    def embeddings(self) -> tuple[str, ...]:
        """The blocks that come from tables of embeddings."""
        return tuple(block for block in self.blocks if block not in BLOCKS)


METHODS = (
    Method(results.OURS, (results.OURS,), ranks=True),
    Method(results.GENERAL, (results.GENERAL,), ranks=True),
    Method(results.UNTRAINED, (results.UNTRAINED,), ranks=True),
    Method("mean_text", ("mean_text",), ranks=True),
    Method("mean_text_per_source", ("mean_text_per_source",), learner=linear_as_is, ranks=True),
    Method("language_model", ("language_model",), ranks=True),
    Method("two_tower", ("two_tower",), ranks=True),
    Method("tfidf_lr", ("tfidf",), learner=linear_on_unit_rows, ranks=True),
    Method("aggregates_lightgbm", ("aggregates",), learner=boosted),
    Method("aggregates_lr", ("aggregates_leading",), learner=linear_as_is, ranks=True),
    # What a team has, with and without ours: the same trees on both.
    Method("aggregates_with_instructue", ("aggregates", results.OURS), learner=boosted, few=False),
)
BY_NAME = {method.name: method for method in METHODS}
# Ways to use our embedding on ranking tasks, beside the probe: by text alone, and by a light scorer over texts.
SIMILARITY, SCORER = "instructue_similarity", "instructue_scorer"
# Judged without blocks of features; see plan.py.
COUNTED = (
    *(*HEURISTICS, "popularity", "own_frequency", "recent_frequency", "adoption_rate", *RANKERS),
    *("two_stage", "two_stage_with_instructue", SIMILARITY, SCORER),
)

# Our embedding put to another use is no rival of it.
USES = ("aggregates_with_instructue", "two_stage_with_instructue", SIMILARITY, SCORER)

# Whose differences are reported, and against whom; None: all that do not stand before it.
COMPARED: dict[str, tuple[str, ...] | None] = {
    results.OURS: None,
    results.GENERAL: None,
    "aggregates_with_instructue": ("aggregates_lightgbm",),
    "two_stage_with_instructue": ("two_stage",),
}


def every_name(external: list[str]) -> list[str]:
    """Names of all methods there are, those of external embeddings included."""
    return list(dict.fromkeys([*BY_NAME, *external, *COUNTED]))


def methods_for(external: list[str], only: list[str], leave_out: list[str]) -> tuple[list[Method], list[str]]:
    """The methods with features to judge, and the names of all methods to judge.

    They are the table's, one linear probe per external embedding, and those without features of their own; those
    named in `only`, or if it is empty all but those in `leave_out`. Raises ConfigError for a name that no method has.
    """
    table = [*METHODS, *(Method(name, (name,), ranks=True) for name in external if name not in BY_NAME)]
    names = every_name(external)
    if missing := sorted({*only, *leave_out} - {*names}):
        raise ConfigError(f"no method {', '.join(missing)}; there are {', '.join(names)}")
    wanted = [name for name in names if (name in only if only else name not in leave_out)]
    return [method for method in table if method.name in wanted], wanted
