"""What methods read: blocks of features by task and hidden sources, each made once, and embeddings row by row."""

from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from instructue.evaluation.baselines.blocks import BLOCKS, View
from instructue.evaluation.cache import Cache, code, digest, key_of
from instructue.evaluation.methods import Method
from instructue.evaluation.population import Population
from instructue.evaluation.tasks import TaskSpec
from instructue.evaluation.vectors import Embeddings
from instructue.models.bring import MANIFEST
from instructue.paths import Paths
from instructue.sources.tables import VECTORS

MOST_CONTEXTS = 50  # more than these get no indicator columns of their own
COPIES = 9


@dataclass
class Inputs:
    """Features by method and task. A baseline's block is made once per set of hidden sources, for all users."""

    population: Population
    embeddings: Embeddings
    tasks: list[TaskSpec]
    paths: Paths
    cache: Cache
    _made: dict[tuple[str, tuple[str, ...]], np.ndarray] = field(default_factory=dict)
    _asked: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def rows(self, method: Method, task: TaskSpec, labelled: pl.DataFrame) -> np.ndarray | None:
        """Features of a task's labelled rows, float32 [rows, columns]; None if an embedding lacks some row.

        Every method is told which offer a row is about by the same indicator columns, embeddings included.
        """
        parts = []
        for name in method.blocks:
            if name in BLOCKS:
                parts.append(self.block(name, task)[self.population.positions(labelled["user"])])
            elif (vectors := self.embeddings.rows(name, task, labelled)) is not None:
                parts.append(vectors)
            else:
                return None
        if 1 < labelled["context"].n_unique() <= MOST_CONTEXTS:
            marks = labelled.select("context").to_dummies().to_numpy().astype(np.float32)
            marks = marks if method.unit_rows else (marks - marks.mean(axis=0)) / marks.std(axis=0)
            # So many copies of standardised columns count as columns three times as wide: hardly penalised.
            parts.append(np.tile(marks, COPIES))
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def block(self, name: str, task: TaskSpec) -> np.ndarray:
        """A baseline's features of all users, float32 [users, columns]. One thread makes it, others wait."""
        hides = tuple(sorted(task.hides))
        with self._lock:
            if (name, hides) not in self._made:
                view = View(self.population, hides, self._users(hides), self.paths)
                block = BLOCKS[name]
                made = self.cache.array(self._block_key(name, hides), lambda: block.make(view)) if block.slow else (
                    block.make(view)
                )  # fmt: skip
                self._made[name, hides] = made
            return self._made[name, hides]

    def prepare(self, method: Method, task: TaskSpec) -> None:
        """Make a method's blocks now, with all cores, before jobs of one thread each ask for them."""
        for name in method.blocks:
            if name in BLOCKS:
                self.block(name, task)

    def has(self, method: Method, task: TaskSpec, labelled: pl.DataFrame) -> bool:
        """Whether every labelled row has all embeddings that the method reads."""
        return all(self.embeddings.rows(name, task, labelled) is not None for name in method.embeddings)

    def rest_on(self, method: Method, task: TaskSpec, labelled: pl.DataFrame) -> list[Any]:
        """What the features of these rows depend on, for the key of a cached result."""
        parts: list[Any] = []
        for name in method.blocks:
            found = None if name in BLOCKS else self.embeddings.rows(name, task, labelled)
            parts.append(self._block_key(name, tuple(sorted(task.hides))) if found is None else key_of(found))
        return parts

    def _block_key(self, name: str, hides: tuple[str, ...]) -> str:
        return key_of(name, hides, self._users(hides), self.data, code())

    def _users(self, hides: tuple[str, ...]) -> np.ndarray:
        """Positions of all users who occur in tasks with these hidden sources."""
        if hides not in self._asked:
            alike = [t for t in self.tasks if tuple(sorted(t.hides)) == hides]
            users = [t.label.labels(self.population)["user"] for t in alike]
            self._asked[hides] = np.unique(self.population.positions(pl.concat(users)))
        return self._asked[hides]

    @cached_property
    def data(self) -> str:
        """Version of everything that blocks are made from: published tables, histories, text vectors, base models."""
        sources = [self.paths.table(s.name) for s in self.population.tables.dataset.sources]
        histories = [self.paths.histories / name for name in ("histories.parquet", VECTORS)]
        manifest = self.paths.base_models / MANIFEST
        there = [manifest] if manifest.is_file() else []
        return key_of(*(digest(file) for file in [*sources, self.paths.texts(), *histories, *there]))
