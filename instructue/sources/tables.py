"""Reading the published tables: the one place that knows how they lie on disk."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from instructue.config import Config
from instructue.errors import DataError
from instructue.paths import Paths
from instructue.sources.spec import DatasetSpec, load_dataset
from instructue.sources.values import Values, dictionary_digest, values_of

VECTORS = "text_vectors.safetensors"


@dataclass(frozen=True)
class Tables:
    """Published data of one project: events per source (sorted by user, time), texts, histories, text vectors.

    texts: text_id 0..n-1 in order, source, text and one column per attribute (null where it does not apply).
    histories: see instructue.sources.histories. vectors: float32 [n_texts, width], unit rows, by text_id;
    values: what the texts show of their attributes; value_vectors: the same of each, in their order.
    """

    dataset: DatasetSpec
    events: dict[str, pl.DataFrame]
    texts: pl.DataFrame
    histories: pl.DataFrame
    vectors: np.ndarray
    values: Values
    value_vectors: np.ndarray


def load_events(dataset: DatasetSpec, paths: Paths) -> dict[str, pl.DataFrame]:
    """The published table of every source. Raises DataError if a stage has not run."""
    return {s.name: _read(paths.table(s.name), "validation") for s in dataset.sources}


def scan_events(dataset: DatasetSpec, paths: Paths) -> dict[str, pl.LazyFrame]:
    """The same tables, to be read in parts."""
    return {s.name: pl.scan_parquet(_there(paths.table(s.name), "validation")) for s in dataset.sources}


def load_tables(config: Config, paths: Paths) -> Tables:
    """Everything that the histories stage leaves behind. Raises DataError if a stage has not run, or ran for other
    texts."""
    dataset = load_dataset(config.data.description())
    histories = _read(paths.histories / "histories.parquet", "histories")
    texts = _read(paths.texts(), "validation")
    values = values_of(dataset, texts)
    vectors = read_vectors(paths.histories / VECTORS, dictionary_digest(texts, values))
    return Tables(dataset, load_events(dataset, paths), texts, histories, vectors[0], values, vectors[1])


def write_vectors(path: Path, named: str, vectors: np.ndarray, of_values: np.ndarray) -> None:
    """What `read_vectors` reads; `named` is the dictionary's digest."""
    from safetensors.numpy import save_file

    save_file({"vectors": vectors, "values": of_values}, str(path), {"dictionary": named})


def read_vectors(path: Path, named: str) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of a dictionary's texts, and of the values they show. Raises DataError if they are of another one."""
    from safetensors import safe_open

    with safe_open(str(_there(path, "histories")), "np") as file:
        if (file.metadata() or {}).get("dictionary") != named:
            raise DataError(
                f"{path} holds the vectors of other event texts, or is of an older version; "
                "run: python -m instructue histories"
            )
        return file.get_tensor("vectors"), file.get_tensor("values")


def _read(path: Path, stage: str) -> pl.DataFrame:
    return pl.read_parquet(_there(path, stage))


def _there(path: Path, stage: str) -> Path:
    if not path.is_file():
        raise DataError(f"{path} is not there; run the {stage} stage first: python -m instructue {stage}")
    return path
