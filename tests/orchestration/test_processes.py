"""Two processes below a Pipes session: rank 0's log reaches the run, its report the asset."""

import dagster as dg
import pytest

from orchestration.metadata import report
from orchestration.processes import through_pipes
from tests.orchestration.projects import ROOT


@pytest.fixture
def run_asset(project, monkeypatch):
    """Materialise an asset whose work is through_pipes with two processes of tests.orchestration.rank."""
    config, paths = project
    config = config.model_copy(update={"model": config.model.changed({"training.processes": 2})})
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    @dg.asset
    def user_model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        said = through_pipes(config, paths, context, "tests.orchestration.rank")
        return dg.MaterializeResult(metadata=report(said, paths.root))

    def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
        return dg.materialize([user_model], instance=instance, raise_on_error=False)

    return run


def test_the_log_reaches_the_run_and_the_report_the_asset(run_asset, instance):
    result = run_asset(instance)
    assert result.success
    said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "rank 0 of 2 is here" in said and "rank 1 of 2 is here" not in said
    event = instance.get_latest_materialization_event(dg.AssetKey("user_model"))
    assert event.asset_materialization.metadata["loss"].value == 0.5
