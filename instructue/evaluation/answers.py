"""The answers that an embedding is compared with where no label is used: yes and no, one per item of a catalogue."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from instructue.errors import DataError
from instructue.evaluation.population import Population
from instructue.evaluation.tasks import TaskSpec
from instructue.paths import Paths

SCHEMA = {"task": pl.String, "kind": pl.String, "item": pl.String, "text": pl.String}


def answers_of(tasks: list[TaskSpec], population: Population) -> pl.DataFrame:
    """Every answer to embed: task, kind ('yes', 'no' or 'item'), item (its place in the catalogue's order), text."""
    who, rows = population.tables.dataset.who, []
    for task in tasks:
        if task.family == "recommendation":
            names, texts = task.ranking.catalogue(population), task.ranking.texts(population)
            said = [task.answer.replace("{who}", who).replace("{item}", text) for text in texts]
            rows += [(task.name, "item", name, text) for name, text in zip(names, said, strict=True)]
        elif task.yes and task.no:
            rows += [(task.name, kind, "", text.replace("{who}", who)) for kind, text in
                     (("yes", task.yes), ("no", task.no))]  # fmt: skip
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@dataclass(frozen=True)
class Answers:
    """answers.parquet: SCHEMA, vector (in the users' space, unit length) and text_vector (of the text encoder)."""

    table: pl.DataFrame

    @classmethod
    def read(cls, paths: Paths) -> "Answers":
        """Raises DataError if the embeddings stage has not written it."""
        path = paths.embeddings / "answers.parquet"
        if not path.is_file():
            raise DataError(f"{path} is not there; run the embeddings stage again: python -m instructue embeddings")
        return cls(pl.read_parquet(path))

    def opposition(self, task: TaskSpec) -> np.ndarray | None:
        """Yes minus no, float32 [width]: its product with an embedding scores the task without a label."""
        sides = [self.table.filter((pl.col("task") == task.name) & (pl.col("kind") == kind)) for kind in ("yes", "no")]
        if any(side.is_empty() for side in sides):
            return None
        yes, no = (side["vector"].to_numpy()[0] for side in sides)
        return yes - no

    def items(self, task: TaskSpec, catalogue: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
        """(vectors [items, width], text vectors [items, text width]) in the catalogue's order; None if one lacks."""
        own = self.table.filter((pl.col("task") == task.name) & (pl.col("kind") == "item"))
        wanted = pl.DataFrame({"item": catalogue}, schema={"item": pl.String})
        found = wanted.join(own, on="item", how="left", maintain_order="left")
        if own.is_empty() or found["vector"].null_count():
            return None
        return found["vector"].to_numpy(), found["text_vector"].to_numpy()
