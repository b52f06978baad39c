"""The studies stage on a tiny trained model: every claim runs, trials are kept, and what is left out was never seen."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

from instructue.config import Config
from instructue.errors import DataError
from instructue.evaluation.results import GENERAL, MACRO, OURS, Study
from instructue.evaluation.studies import items
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.retrain import Trial, Trials
from instructue.evaluation.studies.stored import read_studies
from instructue.evaluation.tasks import requests_for
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.events import stable_sample
from instructue.stages import STAGES
from instructue.training.build import build, load_triplets, train_examples

TASKS = ["buy4w_coffee", "coupon_use_8w", "R_all"]
ALL = ["following", "robustness", "item_by_item", "losses", "unseen_users", "taught"]


@pytest.fixture(scope="module")
def project(trained, tmp_path_factory) -> tuple[Config, Paths]:
    """A project of its own that shares all data but the embeddings, which are made anew."""
    config, origin = trained
    paths = Paths(tmp_path_factory.mktemp("studies"))
    (paths.root / "data").mkdir()
    for folder in (origin.root / "data").iterdir():
        if folder.name != "embeddings":
            (paths.root / "data" / folder.name).symlink_to(folder)
    studies = config.studies.model_copy(update={"run": ALL, "users": 50, "tasks": ["coupon_use_8w", "no_such_task"]})
    evaluation = config.evaluation.model_copy(update={"folds": 2, "inner_folds": 2, "tasks": TASKS})
    config = config.model_copy(update={"studies": studies, "evaluation": evaluation})
    config = config.model_copy(update={"embeddings": config.embeddings.model_copy(update={"untrained": False})})
    training = config.model.training.model_copy(update={"steps": 2})
    config = config.model_copy(update={"model": config.model.model_copy(update={"training": training})})
    STAGES["embeddings"](config, paths)
    return config, paths


@pytest.fixture(scope="module")
def made(project) -> tuple[StageReport, dict[str, Study]]:
    config, paths = project
    report = STAGES["studies"](config, paths)
    return report, {study.name: study for study in read_studies(paths.studies_report)}


def test_every_claim_becomes_studies_with_a_sentence_of_figures(made):
    report, studies = made
    assert list(studies) == [
        "neighbours", "paraphrases", "robustness_others", "robustness_popular", "item_by_item", "losses",
        "unseen_users", "taught",
    ]  # fmt: skip
    assert report.rows["studies"] == 8
    for study in studies.values():
        assert "95% interval" in study.answer and study.answer.endswith(".") and study.rows
        for row in study.rows:
            assert row.low is None or row.low <= row.value <= row.high


def test_noise_curves_begin_at_no_noise_and_changes_are_paired(made):
    _, studies = made
    study = studies["robustness_others"]
    assert any("no_such_task" in note for note in study.notes)
    curve = {(r.method, r.setting): r.value for r in study.rows if r.metric == "auc"}
    assert {method for method, _ in curve} == {OURS, GENERAL, "mean_text", "tfidf_lr", "aggregates_lightgbm"}
    assert {share for _, share in curve} == {0.0, 0.5}
    for row in study.rows:
        if row.metric == "auc_change":
            assert row.value == pytest.approx(curve[row.method, 0.5] - curve[row.method, 0.0], abs=2e-6)
    clean = [r for r in studies["robustness_popular"].rows if r.metric == "auc" and r.setting == 0.0]
    assert {r.method: r.value for r in clean} == {m: v for (m, s), v in curve.items() if s == 0.0}


def test_items_are_asked_about_with_the_vectors_of_their_own_questions(project, made, monkeypatch):
    config, paths = project
    bench = Bench(config, paths)
    (task,) = [task for task in bench.chosen if task.each]
    rows = [r for r in made[1]["item_by_item"].rows if r.metric == "ndcg@10"]
    assert {r.setting for r in rows if r.method == OURS} == {items.WHOLE, items.ANEW, items.ASKED}
    assert {"own_frequency", "ease", "two_stage"} <= {r.method for r in rows}
    ranked = items._ranked(bench, task, bench.sample, bench.protocol(bench.sample))
    item = len(ranked.basket.catalogue) // 2
    rate = np.zeros((len(ranked.frame), 1), np.float32)
    one, other = (items.Candidates(np.full((len(ranked.frame), 1), i), rate, rate) for i in (item, item + 1))
    monkeypatch.setattr(items, "BLOCK", 7)
    asked = items.ask(bench, ranked, [one, other, one])
    assert len(asked.pairs) == 2 * len(ranked.frame)
    text = f"Will the household buy {ranked.basket.catalogue[item]} within 4 weeks?"
    plain = requests_for([task], bench.sample).with_columns(instruction=pl.lit(text))
    table = bench.embed(bench.parts, bench.tables, plain).filter(pl.col("method") == OURS)
    wanted = ranked.frame.select("user").join(table, on="user", how="left", maintain_order="left")
    np.testing.assert_allclose(asked.of(one.items)[:, 0], wanted["vector"].to_numpy(), atol=2e-2)
    assert np.abs(asked.of(other.items)[:, 0] - wanted["vector"].to_numpy()).max(axis=1).mean() > 4e-2


def test_a_trial_is_trained_once_and_another_setting_is_another_trial(project, made):
    config, paths = project
    kept = {path: path.stat().st_mtime_ns for path in (paths.cache / "studies").glob("*.parquet")}
    judged_by_likeness = {"contrastive_alone", "autoregressive_alone"}
    names = sorted(path.stem.split("-")[0] for path in kept)
    assert names == sorted([*judged_by_likeness, *judged_by_likeness, "unseen_users", "taught_one"])
    assert not list((paths.cache / "studies").glob("training-*"))
    before = json.loads(paths.studies_report.read_text())
    STAGES["studies"](config.model_copy(update={"studies": config.studies.model_copy(update={"run": ALL[3:]})}), paths)
    assert {path: path.stat().st_mtime_ns for path in (paths.cache / "studies").glob("*.parquet")} == kept
    assert json.loads(paths.studies_report.read_text()) == before[-3:]
    bench = Bench(config, paths)
    asked = requests_for(bench.tasks[:1], bench.population)
    trials, model = Trials(bench), config.model
    keys = {
        trials._key(Trial("x", m, w), asked)
        for m in (model, model.changed({"training.autoregressive_weight": 0.0}))
        for w in (None, bench.population.users[:5], bench.population.users[:6])
    }
    assert len(keys) == 6


def test_one_template_teaches_another_model_judged_on_the_same_paraphrases(made):
    _, studies = made
    rows = {(r.setting, r.metric): r.value for r in studies["taught"].rows if r.task == MACRO}
    assert {setting for setting, _ in rows} == {"many wordings", "one template per kind"}
    difference = rows["many wordings", "auc"] - rows["one template per kind", "auc"]
    assert rows["many wordings", "auc_difference"] == pytest.approx(difference, abs=2e-6)
    assert all(0 <= rows[setting, "nearest_is_paraphrase"] <= 1 for setting, _ in rows)


def test_the_losses_differ_and_are_judged_on_the_same_rows(made):
    _, studies = made
    found = {r.setting: r.value for r in studies["losses"].rows if (r.task, r.method, r.metric) == (MACRO, OURS, "auc")}
    assert set(found) == {"joint", "contrastive alone", "autoregressive alone"} and len(set(found.values())) == 3
    (pair,) = [
        r for r in studies["losses"].rows
        if (r.task, r.method, r.metric, r.baseline) == (MACRO, OURS, "auc_difference", "contrastive alone")
    ]  # fmt: skip
    assert pair.value == pytest.approx(found["joint"] - found["contrastive alone"], abs=2e-6)


def test_without_labels_every_loss_is_judged_by_its_own_answers(project, made):
    """The AUC of each task, by scikit-learn, from the vectors and answers that were kept."""
    config, paths = project
    found = made[1]["losses"].rows
    rows = {(r.setting, r.task): r.value for r in found if r.metric == "auc_without_labels"}
    gaps = {(r.baseline, r.task): r.value for r in found if r.metric == "auc_without_labels_difference"}
    files = {"joint": (paths.embeddings / "embeddings.parquet", paths.embeddings / "answers.parquet")}
    for name in ("contrastive", "autoregressive"):
        (said,) = (paths.cache / "studies").glob(f"{name}_alone-*-answers.parquet")
        files[f"{name} alone"] = (said.with_stem(said.stem.removesuffix("-answers")), said)
    bench, expected = Bench(config, paths), {}
    for name, (users, said) in files.items():
        vectors, answers = pl.read_parquet(users), pl.read_parquet(said)
        for task in (task for task in bench.chosen if ("joint", task.name) in rows):
            mine = vectors.filter(pl.col("task") == task.name, pl.col("method") == OURS)
            mine = mine.join(task.label.labels(bench.population), on=["user", "context"], nulls_equal=True)
            spoken = answers.filter(pl.col("task") == task.name)
            yes, no = (spoken.filter(pl.col("kind") == kind)["vector"].to_numpy()[0] for kind in ("yes", "no"))
            expected[name, task.name] = roc_auc_score(mine["label"], mine["vector"].to_numpy() @ (yes - no))
    assert expected and {key: rows[key] for key in expected} == pytest.approx(expected, abs=1e-5)
    for name, task in expected:
        if name != "joint":
            assert gaps[name, task] == pytest.approx(rows["joint", task] - rows[name, task], abs=2e-6)


def test_who_is_left_out_shapes_nothing_that_is_fitted(project):
    config, paths = project
    bench = Bench(config, paths)
    without = stable_sample(bench.population.users, bench.population.size // 2, 7)
    trial = Trial("x", config.model, without)
    tables = trial.tables(bench.tables)
    assert tables.histories["user"].equals(bench.tables.histories["user"])  # triplets name rows by number
    learnt = tables.histories["user"].gather(train_examples(tables))
    assert learnt.len() > 0 and not learnt.is_in(without.implode()).any()
    said = load_triplets(paths, bench.tables)["instruction"]
    whole, left = (build(config.model, t, paths, said) for t in (bench.tables, tables))
    whole, part = whole.features.fitted, left.features.fitted
    assert not np.array_equal(whole.idf, part.idf)
    # What the left-out users did changes nothing: their histories may be any others'.
    gone = pl.col("split") == "left_out"
    emptied = tables.histories.with_columns(
        pl.when(gone).then(pl.col(f"{s.name}_start")).otherwise(pl.col(f"{s.name}_end")).alias(f"{s.name}_end")
        for s in tables.dataset.event_sources
    )
    again = build(config.model, replace(tables, histories=emptied), paths, said)
    for name, value in vars(part).items():
        assert np.array_equal(value, getattr(again.features.fitted, name)), name
    for name, value in left.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_without_embeddings_the_stage_names_what_to_run(project, tmp_path):
    config, paths = project
    bare = Paths(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("sources", "histories", "model", "base_models"):
        (tmp_path / "data" / name).symlink_to(paths.root / "data" / name)
    with pytest.raises(DataError, match="run the embeddings stage first"):
        STAGES["studies"](config, bare)
    assert not bare.studies_report.exists()
