import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from instructue.errors import ConfigError, DataError, LeakageError
from instructue.evaluation.answers import Answers, answers_of
from instructue.evaluation.baselines import features
from instructue.evaluation.baselines.learners import adoption_rate, boosted, own_frequency, popularity
from instructue.evaluation.cache import Cache
from instructue.evaluation.inputs import Inputs
from instructue.evaluation.methods import methods_for
from instructue.evaluation.own import Wish, evaluate_own
from instructue.evaluation.plan import Plan
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.recommendation import Basket, judge_adoption, judge_rankings
from instructue.evaluation.report.names import signed
from instructue.evaluation.report.write import write_reports
from instructue.evaluation.run import Judgement, assess, evaluate
from instructue.evaluation.tasks import load_tasks, requests
from instructue.evaluation.vectors import Embeddings
from instructue.paths import Paths
from instructue.sources.tables import VECTORS


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


@pytest.fixture(scope="module")
def evaluated(small_config, small_root, small, table):
    """The stage has run once: (its report, results as written)."""
    small_root.embeddings.mkdir(parents=True, exist_ok=True)
    table.write_parquet(small_root.embeddings / "embeddings.parquet")
    said = answers_of(load_tasks(small_config.data.description()), small)
    rng = np.random.default_rng(1)
    vectors = {name: pl.Series(name, unit(rng.normal(size=(said.height, 24))), pl.Array(pl.Float32, 24))
               for name in ("vector", "text_vector")}  # fmt: skip
    said.with_columns(**vectors).write_parquet(small_root.embeddings / "answers.parquet")
    report = evaluate(small_config, small_root)
    return report, json.loads(small_root.evaluation_report.with_suffix(".json").read_text(encoding="utf-8"))


def test_the_stage_judges_every_task_and_writes_its_reports(evaluated):
    report, results = evaluated
    whole = pl.DataFrame([r for r in results["rows"] if r["labels"] == "all" and r["task"] != "macro"])
    by_task = {t: set(m) for t, m in whole.group_by("task").agg(pl.col("method").unique()).iter_rows()}
    assert {"instructue", "instructue_general", "mean_text", "tfidf_lr", "own_frequency"} < by_task["coupon_use_8w"]
    assert {"popularity", "own_frequency", "instructue", "item_knn", "instructue_scorer"} <= by_task["R_all"]
    assert {"popularity", "adoption_rate"} <= by_task["R_new"] and "own_frequency" not in by_task["R_new"]
    assert {r["labels"] for r in results["rows"]} == {"all", 0, 16}
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
    assert twin["joint_low"] < twin["low"] and twin["high"] < twin["joint_high"]


def test_what_lies_behind_the_figures_is_there(evaluated):
    _, results = evaluated
    calibrated = {(c["task"], c["method"]) for c in results["calibration"]}
    assert ("coupon_use_8w", "instructue") in calibrated and ("coupon_use_8w", "own_frequency") not in calibrated
    assert {s["task"] for s in results["slices"]} == {"redeem_campaign"}
    assert [m["task"] for m in results["maps"]] == ["buy4w_frozen_pizza", "buy4w_coffee"]
    shown = results["examples"]
    assert len({e["task"] for e in shown}) == 1 and len(shown) == 4
    wrong = [abs(e["score"] - e["label"]) - abs(e["baseline_score"] - e["label"]) for e in shown]
    assert min(wrong[:2]) > 0 > max(wrong[2:])  # first those whom the rival saw better, then those whom we did
    assert all(e["events"] for e in shown)


def test_examples_show_nothing_of_the_future(evaluated, small):
    for example in evaluated[1]["examples"]:
        for line in example["events"]:
            assert line[:10] < f"{small.snapshot:%Y-%m-%d}"


def test_a_second_run_judges_nothing_anew_and_says_the_same(evaluated, small_config, small_root, monkeypatch):
    def never(self, key, make):
        raise AssertionError("a job ran again")

    monkeypatch.setattr(Cache, "judged", never)
    evaluate(small_config, small_root)
    assert json.loads(small_root.evaluation_report.with_suffix(".json").read_text(encoding="utf-8")) == evaluated[1]


def test_known_chances_say_what_is_attainable_and_how_far_ours_is_from_it(
    evaluated, small_config, small_root, small, tmp_path
):
    """Chances of 0.9 for those who did it and 0.1 for the others: nobody could rank better."""
    (task,) = load_tasks(small_config.data.description(), ["coupon_use_8w"])
    truth = task.label.labels(small).select("user", chance=pl.when("label").then(0.9).otherwise(0.1))
    truth.write_parquet(tmp_path / "truth.parquet")
    task = task.model_copy(update={"chances": tmp_path / "truth.parquet"})
    embeddings, answers = Embeddings.read(small_root, small), Answers.read(small_root)
    results = assess(small_config, small_root, Judgement(small, [task], embeddings, answers, ["instructue"], []))
    best = {part["metric"]: part["value"] for part in results["attainable"]}
    assert best["auc"] == 1 and best["lift@10%"] > 1 and set(best) == {"auc", "ks", "average_precision", "lift@10%"}
    write_reports(results, tmp_path / "report")
    ours = next(r["value"] for r in results["rows"] if (r["labels"], r["metric"]) == ("all", "auc"))
    assert f"| our distance from it | {signed(ours - 1)} |" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Our distance from it" in (tmp_path / "report.html").read_text(encoding="utf-8")
    truth.head(3).write_parquet(tmp_path / "truth.parquet")
    with pytest.raises(DataError, match="labels have no chance"):
        assess(small_config, small_root, Judgement(small, [task], embeddings, answers, ["instructue"], []))
    assert truth.height == small.size and "attainable" in evaluated[1] and not evaluated[1]["attainable"]


def test_other_labels_are_judged_anew(evaluated, small_config, small_root, small):
    """The planted staleness: one turned label must not find the old result."""
    task = load_tasks(small_config.data.description(), ["coupon_use_8w"])
    inputs = Inputs(small, Embeddings.read(small_root, small), task, small_root, Cache(small_root.cache))
    protocol = Protocol.draw(small_config.evaluation, small, task)

    methods = methods_for([], [], ["language_model", "two_tower"])

    def keys(tasks):
        inputs.tasks = tasks
        return {job.key for job in Plan(inputs, Answers.read(small_root), protocol, *methods, [16]).jobs}

    shorter = task[0].model_copy(update={"label": task[0].label.model_copy(update={"days": 21})})
    assert keys(task) == keys(task) and not keys(task) & keys([shorter])


def test_other_text_vectors_are_judged_anew(small_root, small, tmp_path):
    """Another way to encode the same texts changes no name, only the last digits."""

    def version(root: Path) -> str:
        return Inputs(small, Embeddings.read(small_root, small), [], Paths(root), Cache(tmp_path / "cache")).data

    shutil.copytree(small_root.histories, Paths(tmp_path).histories)
    for folder in (small_root.base_models, small_root.sources):
        if folder.is_dir():
            (tmp_path / folder.relative_to(small_root.root)).symlink_to(folder)
    assert version(tmp_path) == version(small_root.root)
    vectors = Paths(tmp_path).histories / VECTORS
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"!")
    assert version(tmp_path) != version(small_root.root)


def test_figures_and_reports_are_in_mlflow_and_in_files_that_dvc_compares(evaluated, small_root):
    import mlflow

    report, results = evaluated
    client = mlflow.MlflowClient(small_root.mlflow_uri)
    found = client.get_run(report.links["mlflow_run"])
    value = next(r["value"] for r in results["rows"] if (r["task"], r["method"], r["labels"], r["metric"])
                 == ("R_all", "instructue", "all", "ndcg@10"))  # fmt: skip
    assert found.data.metrics["ndcg_at_10/R_all"] == pytest.approx(value)
    assert {f.path for f in client.list_artifacts(found.info.run_id, "evaluation")} >= {"evaluation/evaluation.html"}
    assert json.loads(small_root.metrics.read_text())["R_all"]["ndcg@10"] == pytest.approx(value, abs=1e-4)
    assert (small_root.plots / "few_labels.csv").read_text().count("\n") > 2


def test_one_task_and_one_method_on_their_own(evaluated, small_config, small_root):
    wish = Wish(None, ["coupon_use_8w"], ["instructue", "tfidf_lr"])
    before = small_root.evaluation_report.with_suffix(".json").read_bytes()
    evaluate_own(small_config, small_root, wish)
    stem = wish.stem(small_root)
    results = json.loads(stem.with_name(f"{stem.name}.json").read_text())
    assert {(r["task"], r["method"]) for r in results["rows"]} == {("coupon_use_8w", m) for m in wish.methods}
    assert small_root.evaluation_report.with_suffix(".json").read_bytes() == before
    whole = {(r["task"], r["method"], r["labels"], r["metric"]): r["value"] for r in evaluated[1]["rows"]}
    for r in results["rows"]:
        assert whole[r["task"], r["method"], r["labels"], r["metric"]] == r["value"]
    with pytest.raises(ConfigError, match="no method tfidf"):
        evaluate_own(small_config, small_root, Wish(None, [], ["tfidf"]))


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
        task, basket = tasks[name], Basket.of(tasks[name], full)
        ways = {"popularity": popularity} | ({} if task.ranking.new_only else {"own_frequency": own_frequency})
        judged = [judge_rankings(name, task, {"": way(basket.past)}, basket, protocol) for name, way in ways.items()]
        judged += [judge_adoption(task, basket, protocol)] if task.ranking.new_only else []
        assert {j.method: j.draws["ndcg@10"][0] for j in judged} == pytest.approx(expected, abs=0.012)


def test_boosted_trees_find_what_is_planted():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 20)).astype(np.float32)
    y = (np.abs(x[:, 0]) > 0.7).astype(int)  # no line parts these
    scores = boosted(x[:400], y[:400], x[400:], np.arange(400) % 4)
    assert scores[y[400:] == 1].mean() > scores[y[400:] == 0].mean() + 0.2
    assert not boosted(x[:50], np.ones(50, int), x[:3], np.arange(50) % 4).any()
