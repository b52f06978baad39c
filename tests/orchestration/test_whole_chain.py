"""All nine stages through Dagster on 60 real households, with a 2-layer cut of the real language model."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from instructue.files import sha256
from instructue.stages import STAGES
from tests.orchestration.projects import materialise, reused, run_ok, versions

ALL = list(STAGES)


@pytest.fixture(scope="module")
def made(make_chain, slice_folder, module_instance) -> tuple[Path, dg.ExecuteInProcessResult]:
    root = make_chain(slice_folder)
    return root, materialise(root, module_instance, ALL)


def test_every_stage_runs_and_every_check_passes(made, module_instance):
    _, result = made
    assert result.success
    assert reused(result) == dict.fromkeys(ALL, False)
    checks = result.get_asset_check_evaluations()
    assert {c.asset_key.path[0] for c in checks} == {"source", "userqa", "user_embeddings"}
    assert all(c.passed for c in checks), [c.check_name for c in checks if not c.passed]
    assert {"base_models", "histories", "userqa", "user_model", "user_embeddings", "studies", "evaluation"} <= set(
        versions(module_instance)
    )


def test_the_report_has_every_method_with_intervals(made):
    root, _ = made
    results = json.loads((root / "reports/evaluation.json").read_text())
    methods = {row["method"] for row in results["rows"]}
    assert {"instructue", "instructue_general", "untrained", "mean_text", "aggregates_lightgbm"} <= methods
    assert {"popularity", "own_frequency"} <= methods
    assert {row["family"] for row in results["rows"]} == {"prediction", "marketing", "recommendation"}
    for row in results["rows"]:
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
    assert {pair["method"] for pair in results["paired"]} >= {"instructue"}
    page = (root / "reports/evaluation.html").read_text()
    assert "<svg" in page and "coffee" in page


def test_training_saw_nothing_of_the_label_window(made):
    root, _ = made
    histories = pl.read_parquet(root / "data/histories/histories.parquet")
    evaluation = histories.filter(pl.col("split") == "evaluation")["snapshot"].min()
    triplets = pl.read_parquet(root / "data/userqa/triplets.parquet")
    assert triplets.height > 0
    assert (triplets["snapshot"] < evaluation).all()
    assert triplets["horizon_end"].drop_nulls().max() <= evaluation


def test_the_run_is_in_mlflow_with_curves_and_data_hashes(made):
    import mlflow

    root, _ = made
    mlflow.set_tracking_uri(f"sqlite:///{root.resolve()}/mlflow.db")
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("instructue").experiment_id])
    found = {run.info.run_name: run for run in runs}
    run = found["model"]
    assert run.info.status == "FINISHED"
    assert {"data.userqa", "data.histories"} <= set(run.data.tags)
    assert run.data.params["network.layers"] == "2"
    assert len(client.get_metric_history(run.info.run_id, "contrastive")) >= 2
    assert run.data.tags["model.weights"] == sha256(root / "data/model/model.safetensors")
    judged = found["evaluation"].data
    assert judged.tags["model.run"] == run.info.run_id and "auc/coupon_use_8w" in judged.metrics


def test_nothing_is_left_to_do_through_either_door(made, module_instance):
    root, _ = made
    assert "up to date" in run_ok(root, "dvc", "status")
    assert "Running stage" not in run_ok(root, "dvc", "repro")
    before = versions(module_instance)
    again = materialise(root, module_instance, ALL)
    assert again.success and reused(again) == dict.fromkeys(ALL, True)
    assert versions(module_instance) == before
