"""The early stages through both doors, Dagster and DVC, on a few households; test_whole_chain.py has all stages."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml

from tests.orchestration.projects import EARLY, command, materialise, reused, run_ok, versions


@pytest.fixture(scope="module")
def made(make_chain, module_instance) -> tuple[Path, dg.ExecuteInProcessResult]:
    """A project whose early stages have been materialised by Dagster once."""
    root = make_chain()
    return root, materialise(root, module_instance, EARLY)


def locked(root: Path) -> dict:
    return yaml.safe_load((root / "dvc.lock").read_text())["stages"]


def written(root: Path) -> dict[str, str]:
    """The verdict on each source on the results page. So few households give a warning or two."""
    results = json.loads((root / "reports/validation/results.json").read_text())
    return {name: suite["verdict"] for name, suite in results["sources"].items()}


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The same as Dagster shows it."""
    evaluations = result.get_asset_check_evaluations()
    failed = {True: "failed", False: "warned"}
    return {
        e.asset_key.path[1]: "passed" if e.passed else failed[e.severity == dg.AssetCheckSeverity.ERROR]
        for e in evaluations
    }


def test_first_run_makes_everything_and_checks_say_what_the_page_says(made):
    root, result = made
    assert result.success
    assert reused(result) == dict.fromkeys(EARLY, False)
    assert sorted(locked(root)) == sorted(EARLY)
    assert verdicts(result) == written(root) and "passed" in written(root).values()


def test_data_versions_are_dvcs_hashes(made, module_instance):
    root, _ = made
    found, lock = versions(module_instance), locked(root)
    assert found["histories"] == lock["histories"]["outs"][0]["md5"]
    assert found["base_models"] == lock["base_models"]["outs"][0]["md5"]
    # One file of a folder has its own hash: published unchanged, it is the staged one's.
    assert found["staged/purchase"] == found["source/purchase"] != found["source/trip"]


def test_metadata_shows_rows_columns_and_samples(made, module_instance):
    root, _ = made
    event = module_instance.get_latest_materialization_event(dg.AssetKey(["source", "purchase"]))
    metadata = event.asset_materialization.metadata
    with pq.ParquetFile(root / "data/sources/purchase.parquet") as file:
        assert metadata["dagster/row_count"].value == file.metadata.num_rows > 0
        assert [c.name for c in metadata["dagster/column_schema"].schema.columns] == file.schema_arrow.names
    assert len(metadata["sample"].records) == 5
    assert metadata["dvc hash"].value == versions(module_instance)["source/purchase"]


def test_second_run_does_no_work_and_keeps_versions_and_figures(made, module_instance, monkeypatch):
    root, _ = made
    before = versions(module_instance)
    event = module_instance.get_latest_materialization_event(dg.AssetKey(["histories"]))

    def refuse(*_):
        raise AssertionError("a stage ran though it is up to date")

    monkeypatch.setattr("orchestration.processes.STAGES", dict.fromkeys(EARLY, refuse))
    result = materialise(root, module_instance, EARLY)
    assert result.success and reused(result) == dict.fromkeys(EARLY, True)
    assert versions(module_instance) == before
    again = module_instance.get_latest_materialization_event(dg.AssetKey(["histories"]))
    first, second = event.asset_materialization.metadata, again.asset_materialization.metadata
    assert set(first) == set(second) and first["snapshots"] == second["snapshots"]
    assert verdicts(result) == written(root)


def test_dvc_agrees_that_nothing_is_to_do(made):
    root, _ = made
    assert "up to date" in run_ok(root, "dvc", "status", *EARLY)
    said = run_ok(root, "dvc", "repro", "histories")
    assert "Running stage" not in said and said.count("didn't change, skipping") == len(EARLY)


def test_deleted_outputs_are_not_up_to_date_and_come_back_from_the_cache(made, instance):
    from orchestration.versioning import stages_up_to_date

    root, _ = made
    shutil.rmtree(root / "data/histories")
    assert "histories" not in stages_up_to_date(root)
    run_ok(root, "dvc", "checkout", "histories")
    assert reused(materialise(root, instance, ["histories"])) == {"histories": True}


def test_a_clone_without_cache_makes_the_same_bytes_anew(made, instance, tmp_path):
    root, _ = made
    clone = tmp_path / "clone"
    shutil.copytree(
        root, clone, ignore=shutil.ignore_patterns("cache", "data", "reports", ".dagster", ".cache", "tmp", "ml*")
    )
    before = locked(clone)["sources"]["outs"]
    result = materialise(clone, instance, ["sources"])
    assert result.success and reused(result) == {"sources": False}
    assert locked(clone)["sources"]["outs"] == before


def test_reading_unchanged_files_anew_leaves_what_follows_alone(made, instance):
    root, _ = made
    result = materialise(root, instance, ["sources", "validation"], rerun=["sources"])
    assert reused(result) == {"sources": False, "validation": True}


def test_an_edit_of_a_later_sections_params_leaves_earlier_stages_alone(made):
    from orchestration.versioning import is_up_to_date

    root, _ = made
    params = (root / "params.yaml").read_text()
    raw = yaml.safe_load(params)
    raw["histories"]["every_days"] += 1
    raw["evaluation"]["folds"] += 1
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    try:
        assert [stage for stage in EARLY if is_up_to_date(root, stage)] == [s for s in EARLY if s != "histories"]
    finally:
        (root / "params.yaml").write_text(params)
    assert is_up_to_date(root, "histories")


def test_after_dvc_repro_materialising_does_nothing_and_shows_the_same_versions(make_chain, instance):
    root = make_chain()
    run_ok(root, "dvc", "repro", "validation")
    lock = locked(root)
    result = materialise(root, instance, ["sources", "validation"])
    assert reused(result) == {"sources": True, "validation": True}
    assert locked(root) == lock
    assert verdicts(result) == written(root)
    # No record of the run was left by `dvc repro`; what the files say is shown.
    event = instance.get_latest_materialization_event(dg.AssetKey(["staged", "trip"]))
    assert event.asset_materialization.metadata["dagster/row_count"].value > 0


def test_bad_data_stops_the_chain_before_anything_is_published(make_chain, tiny_folder, tmp_path, instance):
    import polars as pl

    files = shutil.copytree(tiny_folder, tmp_path / "files")
    table = pl.read_parquet(files / "transactions.parquet")
    table.with_columns(sales_value=-pl.col("sales_value")).write_parquet(files / "transactions.parquet")
    root = make_chain(files)
    result = materialise(root, instance, ["sources", "validation", "histories"])
    assert not result.success
    by_source = {e.asset_key.path[1]: e for e in result.get_asset_check_evaluations()}
    assert verdicts(result) == written(root)
    assert verdicts(result)["purchase"] == "failed" and verdicts(result)["profile"] == "passed"
    bad = by_source["purchase"].metadata["first bad rows"].records
    assert bad[0].data["value"].startswith("-")
    assert set(versions(instance)) == {f"staged/{name}" for name in (*by_source, "texts")}
    assert not (root / "data/sources").exists() and not (root / "data/histories").exists()
    assert "validation" not in locked(root)
    # The command line says what, where and the mend.
    done = command(root, "python", "-m", "orchestration", "run", "--select", "validation,histories")
    assert done.returncode == 1
    assert "purchase" in done.stdout and "transactions.parquet" in done.stdout and "Traceback" not in done.stdout
