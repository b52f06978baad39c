"""Reading the published tables: the one place that knows how they lie on disk."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from instructue.config import Config
from instructue.errors import DataError
from instructue.paths import Paths
from instructue.sources.spec import DatasetSpec, load_dataset

VECTORS = "text_vectors.safetensors"


@dataclass(frozen=True)
class Tables:
    """Published data of one project: events per source (sorted by user, time), texts, histories, text vectors.

    texts: text_id 0..n-1 in order, source, text and one column per attribute (null where it does not apply).
    histories: see instructue.sources.histories. vectors: float32 [n_texts, width], unit rows, by text_id;
    value_vectors: the same of the attributes' distinct values, as values_of orders them.
    """

    dataset: DatasetSpec
    events: dict[str, pl.DataFrame]
    texts: pl.DataFrame
    histories: pl.DataFrame
    vectors: np.ndarray
    value_vectors: np.ndarray


def load_events(dataset: DatasetSpec, paths: Paths) -> dict[str, pl.DataFrame]:
    """The published table of every source. Raises DataError if a stage has not run."""
    return {s.name: _read(paths.table(s.name), "validation") for s in dataset.sources}


def scan_events(dataset: DatasetSpec, paths: Paths) -> dict[str, pl.LazyFrame]:
    """The same tables, to be read in parts."""
    return {s.name: pl.scan_parquet(_there(paths.table(s.name), "validation")) for s in dataset.sources}


def load_tables(config: Config, paths: Paths) -> Tables:
    """Everything that the histories stage leaves behind. Raises DataError if a stage has not run, or ran before
    values had vectors."""
    from safetensors.numpy import load_file

    dataset = load_dataset(config.data.description())
    histories = _read(paths.histories / "histories.parquet", "histories")
    vectors = load_file(paths.histories / VECTORS)
    if "values" not in vectors:
        raise DataError(f"{paths.histories / VECTORS} is of an older version; run: python -m instructue histories")
    texts = _read(paths.texts(), "validation")
    return Tables(dataset, load_events(dataset, paths), texts, histories, vectors["vectors"], vectors["values"])


def values_of(texts: pl.DataFrame) -> tuple[list[str], np.ndarray]:
    """The distinct values of the texts' attributes, and which of them each text holds [n_texts, A], -1 for none.

    In the order of their first text: a dictionary that grows keeps the numbers it had.
    """
    names = [name for name in texts.columns if name not in ("text_id", "source", "text")]
    held = texts.select(pl.col(names).cast(pl.String)).with_row_index("place")
    long = held.unpivot(index="place", value_name="said").drop_nulls("said").sort("place", maintain_order=True)
    distinct = long.select(pl.col("said").unique(maintain_order=True)).with_row_index("number")
    long = long.join(distinct, on="said", how="left", maintain_order="left")
    slot = pl.int_range(pl.len()).over("place")
    place, column, number = long.select("place", slot.alias("slot"), "number").to_numpy().T.astype(np.int64)
    which = np.full((texts.height, int(column.max(initial=-1)) + 1), -1, np.int64)
    which[place, column] = number
    return distinct["said"].to_list(), which


def _read(path: Path, stage: str) -> pl.DataFrame:
    return pl.read_parquet(_there(path, stage))


def _there(path: Path, stage: str) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is not there; run the {stage} stage first: python -m instructue {stage}")
    return path
