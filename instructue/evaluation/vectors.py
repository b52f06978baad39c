"""The embeddings under judgement: read, checked, and looked up for a task's rows."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from instructue.errors import DataError, LeakageError
from instructue.evaluation.population import Population
from instructue.evaluation.results import GENERAL
from instructue.evaluation.tasks import TaskSpec
from instructue.paths import Paths

COLUMNS = ("user", "task", "context", "method", "vector")


@dataclass(frozen=True)
class Embeddings:
    """embeddings.parquet: user, task, context, method, vector; checked against the population by `of`."""

    table: pl.DataFrame

    @classmethod
    def read(cls, paths: Paths, population: Population) -> "Embeddings":
        """Raises DataError if the embeddings stage has not run or its table is unsound, LeakageError as `of`."""
        path = paths.embeddings / "embeddings.parquet"
        if not path.is_file():
            raise DataError(f"{path} is not there; run the embeddings stage first: python -m instructue embeddings")
        return cls.of(pl.read_parquet(path), population, str(path))

    @classmethod
    def of(cls, table: pl.DataFrame, population: Population, name: str = "embeddings") -> "Embeddings":
        """Raises DataError for missing columns, repeated keys or vectors that are not finite.

        Raises LeakageError for users that are not judged, and, where the table says what snapshot its histories
        ended at, for any other than the evaluation's.
        """
        if missing := [c for c in COLUMNS if c not in table.columns]:
            raise DataError(f"{name} lacks columns {missing}; it has {table.columns}")
        population.positions(table["user"])
        if "snapshot" in table.columns:
            late = table.filter(pl.col("snapshot") != population.snapshot)
            if late.height:
                row = late.row(0, named=True)
                raise LeakageError(
                    f"{name}: {late.height} vectors were made at another snapshot than {population.snapshot}; "
                    f"first: user {row['user']}, {row['method']}, at {row['snapshot']}"
                )
        if repeated := table.select("user", "task", "context", "method").is_duplicated().sum():
            raise DataError(f"{name}: {repeated} rows share user, task, context and method")
        vectors = table["vector"].to_numpy()
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise DataError(f"{name}: vectors must have one width and finite numbers")
        return cls(table)

    def rows(self, method: str, task: TaskSpec, labelled: pl.DataFrame) -> np.ndarray | None:
        """One vector per labelled row (user, context), float32 [rows, width]; None unless all are there.

        The general method's vectors stand under the empty task. A task that hides sources takes only those that
        stand under its own name, for the others have seen what it hides.
        """
        own = self.table.filter((pl.col("method") == method) & (pl.col("task") == task.name))
        on = ["user", "context"]
        if method == GENERAL and own.is_empty() and not task.hides:
            own, on = self.table.filter((pl.col("method") == method) & (pl.col("task") == "")), ["user"]
        elif method == GENERAL:
            own, on = own.unique("user", maintain_order=True), ["user"]
        wanted = labelled.select("user", "context")
        found = wanted.join(own.select(*on, "vector"), on=on, how="left", maintain_order="left")
        if own.is_empty() or found["vector"].null_count():
            return None
        return found["vector"].to_numpy().astype(np.float32)
