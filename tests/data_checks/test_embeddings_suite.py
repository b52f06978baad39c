"""The embeddings suite on good unit vectors, and on each way of spoiling them."""

import numpy as np
import polars as pl
import pytest

from data_checks.embeddings_suite import check_embeddings


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    vectors = np.random.default_rng(2).normal(size=(60, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return pl.DataFrame({
        "user": [*range(30)] * 2, "task": ["coffee"] * 60, "context": [""] * 60, "method": ["our"] * 30 + ["his"] * 30,
        "vector": pl.Series(vectors, dtype=pl.Array(pl.Float32, 16)),
    })  # fmt: skip


def with_vectors(frame: pl.DataFrame, change) -> pl.DataFrame:
    vectors = frame["vector"].to_numpy().copy()
    change(vectors)
    return frame.with_columns(vector=pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])))


def failing(frame: pl.DataFrame) -> dict[str, tuple[str, list[int]]]:
    return {o.name: (o.verdict, o.bad.tolist()) for o in check_embeddings(frame) if not o.passed}


def test_good_vectors_pass(frame):
    assert failing(frame) == {} and len(check_embeddings(frame)) > 8


def scaled(vectors):
    vectors[7] *= 1.01


def not_a_number(vectors):
    vectors[7, 3] = np.nan


def infinite(vectors):
    vectors[7, 3] = np.inf


def collapsed(vectors):
    vectors[:30] = vectors[0]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (scaled, {"length_in_range": ("failed", [7])}),
        (not_a_number, {"length_given": ("failed", [7])}),
        (infinite, {"length_in_range": ("failed", [7])}),
        (collapsed, {"spread": ("warned", [])}),
    ],
)
def test_spoilt_vectors_are_found(frame, change, found):
    assert failing(with_vectors(frame, change)) == found


def test_spoilt_tables_are_found(frame):
    assert failing(pl.concat([frame, frame.head(2)])) == {"key_unique": ("failed", [60, 61])}
    assert failing(frame.head(59)) == {"users_covered": ("warned", [])}
    assert failing(frame.with_columns(pl.col("vector").arr.to_list())) == {"types": ("failed", [])}
    assert failing(frame.drop("vector")) == {"columns": ("failed", [])}
    assert failing(frame.clear()) == {"not_empty": ("failed", [])}
    hit = pl.int_range(pl.len()) == 4
    assert failing(frame.with_columns(task=pl.when(hit).then(None).otherwise("task"))) == {
        "task_given": ("failed", [4])
    }
