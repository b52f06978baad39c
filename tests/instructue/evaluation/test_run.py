import json

import numpy as np
import polars as pl
import pytest

from instructue.errors import DataError, LeakageError
from instructue.evaluation import features
from instructue.evaluation.baselines import adoption_rate, boosted, own_frequency, popularity
from instructue.evaluation.recommendation import Basket, judge_counts
from instructue.evaluation.run import evaluate
from instructue.evaluation.tasks import requests
from instructue.evaluation.vectors import Embeddings


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def frame(rows, method, x):
    vector = pl.Series("vector", x, dtype=pl.Array(pl.Float32, x.shape[1]))
    return rows.select("user", "task", "context").with_columns(method=pl.lit(method), vector=vector)


@pytest.fixture(scope="module")
def table(small_config, small_root, small):
    """Embeddings in the stage's format: mean text vectors, without the profile where it is hidden."""
    asked = requests(small_config, small_root)
    frames = []
    for hidden in (False, True):
        rows = asked.filter((pl.col("hides").list.len() > 0) == hidden)
        x = unit(features.mean_text(small, ["profile"] if hidden else []))
        frames.append(frame(rows, "instructue", x[small.positions(rows["user"])]))
        if not hidden:
            everybody = small.users.to_frame("user").with_columns(task=pl.lit(""), context=pl.lit(""))
            frames.append(frame(everybody, "instructue_general", x))
    return pl.concat(frames)


def test_the_stage_judges_every_task_and_writes_its_reports(small_config, small_root, table):
    small_root.embeddings.mkdir(parents=True, exist_ok=True)
    table.write_parquet(small_root.embeddings / "embeddings.parquet")
    report = evaluate(small_config, small_root)
    results = json.loads(small_root.evaluation_report.with_suffix(".json").read_text(encoding="utf-8"))
    whole = pl.DataFrame([r for r in results["rows"] if r["labels"] == "all" and r["task"] != "macro"])
    by_task = {t: set(m) for t, m in whole.group_by("task").agg(pl.col("method").unique()).iter_rows()}
    assert {"instructue", "instructue_general", "mean_text", "tfidf_lr"} < by_task["coupon_use_8w"]
    assert {"popularity", "own_frequency", "instructue"} <= by_task["R_all"]
    assert {"popularity", "adoption_rate"} <= by_task["R_new"] and "own_frequency" not in by_task["R_new"]
    assert {r["labels"] for r in results["rows"]} == {"all", 16}
    assert ((whole["low"] <= whole["value"]) & (whole["value"] <= whole["high"])).mean() > 0.9
    # The general embedding has seen the profile: on tasks that hide it, it must not be judged.
    assert "instructue_general" not in by_task["age55"]
    assert any(note.startswith("instructue_general: not every row of age55") for note in report.notes)
    assert any(note.startswith("untrained") for note in report.notes)
    pairs = {(p["task"], p["baseline"]) for p in results["paired"] if p["method"] == "instructue"}
    assert ("coupon_use_8w", "mean_text") in pairs and ("macro", "mean_text") in pairs
    assert report.metrics["auc/coupon_use_8w"] == pytest.approx(
        next(r["value"] for r in results["rows"] if (r["task"], r["method"], r["labels"], r["metric"])
             == ("coupon_use_8w", "instructue", "all", "auc"))
    )  # fmt: skip
    # The same vectors, folds and probe: no difference, draw by draw.
    twin = next(p for p in results["paired"] if (p["task"], p["method"], p["baseline"], p["labels"])
                == ("buy4w_coffee", "instructue", "mean_text", "all"))  # fmt: skip
    assert abs(twin["difference"]) < 0.1


def test_an_evaluation_without_embeddings_says_what_to_run(small_config, small_root, small, tmp_path):
    from instructue.paths import Paths

    with pytest.raises(DataError, match="python -m instructue embeddings"):
        Embeddings.read(Paths(tmp_path), small)


def test_embeddings_of_users_who_are_not_judged_are_refused(table, small):
    stranger = table.head(1).with_columns(user=pl.lit(-5, pl.Int64))
    with pytest.raises(LeakageError, match="-5"):
        Embeddings.of(pl.concat([table, stranger]), small)


def test_embeddings_of_a_later_snapshot_are_refused(table, small):
    at = table.with_columns(snapshot=pl.lit(small.snapshot))
    assert Embeddings.of(at, small).table.height == table.height
    with pytest.raises(LeakageError, match="another snapshot"):
        Embeddings.of(at.with_columns(pl.col("snapshot").dt.offset_by("28d")), small)


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda t: pl.concat([t, t.head(1)]), "share user, task"),
    (lambda t: t.drop("context"), "lacks columns"),
    (lambda t: t.with_columns(pl.Series("vector", np.full((t.height, 2), np.nan), pl.Array(pl.Float32, 2))), "finite"),
])  # fmt: skip
def test_unsound_embeddings_are_refused(table, small, spoil, message):
    with pytest.raises(DataError, match=message):
        Embeddings.of(spoil(table), small)


def test_the_general_embedding_of_a_task_that_hides_sources_stands_under_its_name(table, small, tasks):
    task = tasks["age55"]
    rows = task.label.labels(small)
    held = Embeddings.of(table, small)
    assert held.rows("instructue_general", task, rows) is None
    assert held.rows("instructue_general", tasks["buy4w_coffee"], rows).shape == (rows.height, 24)
    own = table.filter((pl.col("task") == "age55") & (pl.col("method") == "instructue"))
    both = pl.concat([table, own.with_columns(method=pl.lit("instructue_general"))])
    np.testing.assert_array_equal(
        Embeddings.of(both, small).rows("instructue_general", task, rows), held.rows("instructue", task, rows)
    )


def test_counting_rankers():
    past = np.array([[3, 0, 1], [1, 0, 0], [0, 2, 0], [0, 1, 0]], np.float32)
    assert popularity(past)[0].tolist() == [0.5, 0.5, 0.25]
    assert np.argsort(-own_frequency(past)[0]).tolist() == [0, 2, 1]
    relevant = np.array([[1, 0], [1, 0], [0, 0]], bool)
    seen = np.array([[0, 0], [0, 1], [0, 1]], bool)
    np.testing.assert_allclose(adoption_rate(relevant, seen, 2), [[2 / 13, 0]] * 2, rtol=1e-6)


def test_popularity_of_the_full_data_ranks_as_measured(full, tasks, protocol):
    measured = {
        "R_all": {"popularity": 0.363, "own_frequency": 0.537},
        "R_new": {"popularity": 0.287, "adoption_rate": 0.307},
    }
    for name, expected in measured.items():
        judged = judge_counts(tasks[name], Basket.of(tasks[name], full), protocol)
        assert {j.method: j.draws["ndcg@10"][0] for j in judged} == pytest.approx(expected, abs=0.012)


def test_boosted_trees_find_what_is_planted():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 20)).astype(np.float32)
    y = (np.abs(x[:, 0]) > 0.7).astype(int)  # no line parts these
    scores = boosted(x[:400], y[:400], x[400:], np.arange(400) % 4)
    assert scores[y[400:] == 1].mean() > scores[y[400:] == 0].mean() + 0.2
    assert not boosted(x[:50], np.ones(50, int), x[:3], np.arange(50) % 4).any()
