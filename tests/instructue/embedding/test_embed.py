"""Embedding: a user's vector does not depend on who stands beside it, and follows instruction and hidden sources."""

import numpy as np
import polars as pl
import pytest

from instructue.embedding.embed import GENERAL, OURS, embed_tasks
from instructue.errors import ConfigError, DataError
from instructue.files import replacing
from instructue.network.checkpoint import FORMAT, SETTINGS, WEIGHTS
from instructue.sources.tables import load_tables
from instructue.training.build import load


@pytest.fixture(scope="module")
def requests(trained):
    config, paths = trained
    users = load_tables(config, paths).histories.filter(pl.col("split") == "evaluation")["user"]
    hides = pl.List(pl.String)

    def ask(who, task, text, hidden):
        return pl.DataFrame(
            {"user": who, "task": task, "context": "", "instruction": text, "hides": [hidden] * len(who)},
            schema_overrides={"hides": hides},
        )

    return pl.concat(
        [
            ask(users, "coffee", "Will this household buy coffee soon?", []),
            ask(
                users[:7],
                "coupon",
                "Will this household use a coupon within the next eight weeks or so, do you think?",
                [],
            ),
            ask(users[:9], "age", "How old are they?", ["profile"]),
        ]
    )


ANSWERS = pl.DataFrame(
    [("coffee", "yes", "", "Yes, it will."), ("coffee", "no", "", "No, it won't."), ("items", "item", "a", "apples")],
    schema=["task", "kind", "item", "text"], orient="row",
)  # fmt: skip


@pytest.fixture(scope="module")
def embedded(trained, requests):
    config, paths = trained
    report = embed_tasks(config, paths, requests, ANSWERS)
    return report, pl.read_parquet(paths.embeddings / "embeddings.parquet")


def _vectors(frame, method, task):
    part = frame.filter((pl.col("method") == method) & (pl.col("task") == task)).sort("user")
    return part["user"].to_list(), part["vector"].to_numpy()


def test_every_request_is_answered_once_with_a_unit_vector(embedded, requests):
    _, frame = embedded
    ours = frame.filter(pl.col("method") == OURS)
    assert ours.select("user", "task").unique().height == ours.height == requests.height
    np.testing.assert_allclose(np.linalg.norm(frame["vector"].to_numpy(), axis=1), 1, rtol=1e-4)
    assert frame.filter(pl.col("method") == GENERAL)["user"].n_unique() == requests["user"].n_unique()


def test_answers_lie_in_the_users_space_and_keep_their_text_vectors(embedded, trained):
    config, paths = trained
    answers = pl.read_parquet(paths.embeddings / "answers.parquet")
    assert answers.select("task", "kind", "item", "text").equals(ANSWERS)
    vectors = answers["vector"].to_numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-4)
    assert vectors.shape[1] == config.model.network.dim and answers["text_vector"].to_numpy().shape[1] == 384
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)


def test_a_general_vector_that_hid_a_source_stands_under_the_task_that_hides_it(embedded, requests):
    _, frame = embedded
    general = frame.filter(pl.col("method") == GENERAL)
    assert set(general["task"].unique()) == {"", "age"}
    users, hidden = _vectors(frame, GENERAL, "age")
    assert users == sorted(requests.filter(pl.col("task") == "age")["user"].to_list())
    everyone, open_ = _vectors(frame, GENERAL, "")
    assert len(everyone) == requests["user"].n_unique()
    assert not np.allclose(hidden, open_[[everyone.index(u) for u in users]], atol=1e-6)


def test_batching_does_not_change_a_vector(trained, requests, embedded, tmp_path):
    config, paths = trained
    alone = config.model_copy(
        update={"embeddings": config.embeddings.model_copy(update={"batch_users": 1, "untrained": False})}
    )
    _, before = embedded
    kept = paths.embeddings.rename(paths.embeddings.with_name("kept"))
    try:
        embed_tasks(alone, paths, requests, ANSWERS)
        after = pl.read_parquet(paths.embeddings / "embeddings.parquet")
    finally:
        with replacing(paths.embeddings) as temporary:
            kept.rename(temporary)
    for method, task in ((OURS, "coffee"), (OURS, "age"), (GENERAL, "")):
        users, vectors = _vectors(before, method, task)
        users_alone, vectors_alone = _vectors(after, method, task)
        assert users == users_alone
        np.testing.assert_allclose(vectors, vectors_alone, atol=2e-5)


def test_instruction_changes_the_vector(embedded):
    _, frame = embedded
    users, coupon = _vectors(frame, OURS, "coupon")
    every, coffee = _vectors(frame, OURS, "coffee")
    assert np.abs(coupon - coffee[[every.index(u) for u in users]]).max() > 1e-3


def test_users_without_a_history_are_named(trained, requests):
    config, paths = trained
    with pytest.raises(DataError, match="without a history"):
        embed_tasks(config, paths, requests.with_columns(user=pl.col("user") + 10_000_000), ANSWERS)


def test_a_damaged_bundle_and_a_foreign_shape_are_refused(trained, tmp_path):
    import shutil

    config, paths = trained
    tables = load_tables(config, paths)
    damaged = tmp_path / "damaged"
    shutil.copytree(paths.model, damaged)
    (damaged / WEIGHTS).write_bytes((damaged / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(DataError, match="is damaged"):
        load(damaged, config.model, tables, paths)
    wider = config.model.model_copy(update={"network": config.model.network.model_copy(update={"dim": 64})})
    with pytest.raises(ConfigError, match="train again"):
        load(paths.model, wider, tables, paths)
    other = tmp_path / "other"
    shutil.copytree(paths.model, other)
    written = (other / SETTINGS).read_text()
    for number, says in ((99, "newer version"), (1, "older version.*train again")):
        (other / SETTINGS).write_text(written.replace(f'"format": {FORMAT}', f'"format": {number}'))
        with pytest.raises(ConfigError, match=says):
            load(other, config.model, tables, paths)
