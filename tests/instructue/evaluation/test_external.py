"""Embeddings that others made: what is taken, what is refused and in which words."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructue.errors import DataError, LeakageError
from instructue.evaluation.run import with_external
from instructue.evaluation.vectors import Embeddings, external
from instructue.paths import Paths


@pytest.fixture
def frame(small) -> pl.DataFrame:
    vectors = np.random.default_rng(0).normal(size=(small.size, 6))
    return pl.DataFrame({"user": small.users, "vector": vectors.tolist()})


def put(frame: pl.DataFrame, folder: Path, name: str = "theirs") -> Path:
    path = folder / f"{name}.parquet"
    frame.write_parquet(path)
    return path


def labelled(task, population) -> pl.DataFrame:
    return task.label.labels(population)


def test_one_vector_a_user_serves_every_row_of_every_task(small, tasks, frame, tmp_path):
    held = external(put(frame.sample(fraction=1, shuffle=True, seed=1), tmp_path), small)
    assert held.methods == ["theirs"]
    for name in ("buy4w_coffee", "redeem_campaign", "R_all"):
        rows = labelled(tasks[name], small)
        expected = np.array(frame["vector"].to_list(), np.float32)[small.positions(rows["user"])]
        np.testing.assert_array_equal(held.rows("theirs", tasks[name], rows), expected)


def test_a_fixed_array_and_other_number_types_are_the_same(small, tasks, frame, tmp_path):
    rows, task = labelled(tasks["buy4w_coffee"], small), tasks["buy4w_coffee"]
    fixed = frame.with_columns(pl.col("vector").list.to_array(6), pl.col("user").cast(pl.Int32))
    first, second = (external(put(f, tmp_path), small).rows("theirs", task, rows) for f in (frame, fixed))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("hides", "serves"), [(None, False), ([], False), (["profile"], True), ("profile", True), ("trip, profile", True)]
)
def test_a_task_that_hides_a_source_takes_only_vectors_that_have_not_seen_it(
    small, tasks, frame, tmp_path, hides, serves
):
    if hides is not None:
        frame = frame.with_columns(
            hides=pl.lit(hides, dtype=pl.String if isinstance(hides, str) else pl.List(pl.String))
        )
    rows = labelled(tasks["age55"], small)
    found = external(put(frame, tmp_path), small).rows("theirs", tasks["age55"], rows)
    assert (found is not None) == serves


def test_of_several_vectors_the_task_takes_the_one_that_saw_most(small, tasks, frame, tmp_path):
    both = pl.concat(
        [
            frame.with_columns(vector=pl.lit([1.0, 1.0]), hides=pl.lit("profile")),
            frame.with_columns(vector=pl.lit([0.0, 0.0]), hides=pl.lit("")),
        ]
    )
    held = external(put(both, tmp_path), small)
    for name, value in (("age55", 1), ("buy4w_coffee", 0)):
        assert (held.rows("theirs", tasks[name], labelled(tasks[name], small)) == value).all()


def test_a_vector_that_names_the_task_serves_it_whatever_it_hides_and_goes_first(small, tasks, frame, tmp_path):
    own = frame.with_columns(task=pl.lit("age55"), vector=pl.lit([1.0, 1.0]))
    rest = frame.with_columns(task=pl.lit(None, dtype=pl.String), vector=pl.lit([0.0, 0.0]))
    held = external(put(pl.concat([rest.select(own.columns), own]), tmp_path), small)
    assert (held.rows("theirs", tasks["age55"], labelled(tasks["age55"], small)) == 1).all()
    assert (held.rows("theirs", tasks["buy4w_coffee"], labelled(tasks["buy4w_coffee"], small)) == 0).all()
    assert held.rows("theirs", tasks["income75k"], labelled(tasks["income75k"], small)) is None


def test_contexts_are_looked_up_and_must_all_be_there(small, tasks, tmp_path):
    task = tasks["redeem_campaign"]
    rows = labelled(task, small)
    assert rows.height > rows["user"].n_unique()
    vectors = np.arange(rows.height * 2.0).reshape(-1, 2)
    table = rows.select("user", "context").with_columns(task=pl.lit(task.name), vector=pl.Series(vectors.tolist()))
    np.testing.assert_array_equal(external(put(table, tmp_path), small).rows("theirs", task, rows), vectors)
    assert external(put(table[1:], tmp_path), small).rows("theirs", task, rows) is None


def test_methods_of_a_file_are_kept_apart_and_merged_with_ours(small, tasks, frame, tmp_path):
    two = pl.concat([frame.with_columns(method=pl.lit(name)) for name in ("one", "two")])
    ours = Embeddings.of(
        frame.select(
            "user", pl.lit("").alias("task"), pl.lit("").alias("context"), pl.lit("ours").alias("method"),
            pl.col("vector").list.head(3).list.to_array(3),
        ),
        small,
    )  # fmt: skip
    whole = ours.merged([external(put(two, tmp_path), small), external(put(frame, tmp_path), small)])
    assert whole.methods == ["one", "ours", "theirs", "two"]
    task, rows = tasks["buy4w_coffee"], labelled(tasks["buy4w_coffee"], small)
    assert whole.rows("two", task, rows).shape == (rows.height, 6)
    assert whole.rows("ours", task, rows).shape == (rows.height, 3)
    assert whole.rows("none such", task, rows) is None
    with pytest.raises(DataError, match=r"\['theirs'\].*another"):
        whole.merged([external(put(frame, tmp_path), small)])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.drop("vector"), r"lacks columns \['vector'\]"),
        (lambda f: f.head(0), "no rows"),
        (lambda f: pl.concat([f, f.head(1)]), "1 rows share|2 rows share"),
        (lambda f: f.with_columns(vector=pl.Series([[1.0]] * 3 + [[1.0, 2.0]] + [[1.0]] * (f.height - 4))), "row 4"),
        (
            lambda f: f.with_columns(vector=pl.Series([[1.0], [float("nan")]] + [[1.0]] * (f.height - 2))),
            "row 2.*finite",
        ),
        (lambda f: f.with_columns(vector=pl.Series([[1.0], None] + [[1.0]] * (f.height - 2))), "row 2.*must be there"),
        (lambda f: f.with_columns(vector=pl.Series([[1.0, None]] * f.height)), "row 1.*finite"),
        (lambda f: f.with_columns(vector=pl.lit("1 2 3")), "lists of numbers"),
        (lambda f: f.with_columns(user=pl.lit("anna")), "row 1, column 'user'.*anna"),
        (lambda f: f.with_columns(method=pl.lit("tfidf_lr")), "tfidf_lr.*another name"),
        (lambda f: f.with_columns(method=pl.lit(" ")), "is no name"),
        (lambda f: f.with_columns(hides=pl.lit("profil")), "profil.*is no source"),
        (lambda f: f.with_columns(hides=pl.lit(3)), "'hides'"),
        (lambda f: f.with_columns(snapshot=pl.lit("last week")), "is no moment"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_mend(small, frame, tmp_path, spoil, said):
    path = put(spoil(frame), tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        external(path, small, reserved=["tfidf_lr"])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["ease", "instructue", "aggregates"])
def test_a_file_may_not_stand_in_for_a_method_or_its_features(small, frame, config, tmp_path, name):
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"external": ["a.parquet"]})})
    put(frame.with_columns(method=pl.lit(name)), tmp_path, "a")
    vector = pl.col("vector").list.to_array(6)
    ours = Embeddings.of(frame.with_columns(vector, task=pl.lit(""), context=pl.lit(""), method=pl.lit("mine")), small)
    with pytest.raises(DataError, match=rf"\['{name}'\] are methods of ours"):
        with_external(ours, config, Paths(tmp_path), small)


def test_a_file_that_is_missing_or_no_parquet_is_named(small, tmp_path):
    with pytest.raises(DataError, match="none.parquet is not there"):
        external(tmp_path / "none.parquet", small)
    (tmp_path / "text.parquet").write_text("user,vector")
    with pytest.raises(DataError, match="text.parquet is no Parquet"):
        external(tmp_path / "text.parquet", small)


def test_strangers_are_refused(small, frame, tmp_path):
    stranger = frame.head(1).with_columns(user=pl.lit(10**9, dtype=pl.Int64))
    with pytest.raises(LeakageError, match=r"theirs.parquet: 1 users are not of the evaluation snapshot"):
        external(put(pl.concat([frame, stranger]), tmp_path), small)


def test_vectors_of_another_moment_are_refused(small, frame, tmp_path):
    for right in ("2017-10-01", "2017-10-01 00:00:00"):
        external(put(frame.with_columns(snapshot=pl.lit(right)), tmp_path), small)
    told = frame.with_columns(snapshot=pl.lit(small.snapshot))
    external(put(told.with_columns(pl.col("snapshot").dt.convert_time_zone("UTC")), tmp_path), small)
    with pytest.raises(LeakageError, match="another snapshot"):
        external(put(told.with_columns(pl.col("snapshot").dt.offset_by("1d")), tmp_path), small)
    with pytest.raises(LeakageError, match="another snapshot"):
        external(put(frame.with_columns(snapshot=pl.lit("2017-10-02")), tmp_path), small)
