"""Blocks of features that baselines read, by name. A block sees nothing at or after the population's snapshot."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from instructue.evaluation.baselines import features
from instructue.evaluation.baselines.language_model import language_model
from instructue.evaluation.baselines.two_tower import two_tower
from instructue.evaluation.population import Population
from instructue.paths import Paths


@dataclass(frozen=True)
class View:
    """What a block may see: the population's pasts without the hidden sources.

    `users` are the positions of those who matter; rows of others may stay zero. `paths` leads to the base models.
    """

    population: Population
    hides: tuple[str, ...]
    users: np.ndarray
    paths: Paths


@dataclass(frozen=True)
class Block:
    """make(view) -> float32 [users of the population, columns]. `slow` blocks are kept on disk."""

    make: Callable[[View], np.ndarray]
    slow: bool = False


BLOCKS: dict[str, Block] = {
    "mean_text": Block(lambda view: features.mean_text(view.population, list(view.hides))),
    "tfidf": Block(lambda view: features.tfidf(view.population, list(view.hides), view.users)),
    "aggregates": Block(lambda view: features.aggregates(view.population, list(view.hides))),
    "aggregates_leading": Block(
        lambda view: features.leading_standard(features.aggregates(view.population, list(view.hides)), view.users)
    ),
    "mean_text_per_source": Block(
        lambda view: features.leading_standard(
            features.mean_text_per_source(view.population, list(view.hides)), view.users
        )
    ),
    "language_model": Block(
        lambda view: language_model(view.population, view.hides, view.users, view.paths.language_model), slow=True
    ),
    "two_tower": Block(lambda view: two_tower(view.population, view.hides), slow=True),
}
