"""What Dagster loads: groups, descriptions, edges, the job, the schedule, the command line around it."""

import datetime

import dagster as dg
import pytest

from instructue.errors import ConfigError
from orchestration import home
from orchestration.__main__ import main, parser
from orchestration.assets import load_rows
from orchestration.definitions import define
from orchestration.run import choose
from orchestration.schedules import weekly
from tests.orchestration.projects import ROOT

STORY = ["foundations", "sources_as_read", "sources_checked", "questions", "user_model", "evaluation"]


@pytest.fixture(scope="module")
def graph():
    return define(ROOT).resolve_asset_graph()


def test_every_asset_says_its_grain_owner_kind_and_code(graph):
    for node in graph.asset_nodes:
        assert node.description.startswith("One "), node.key
        assert " per " in node.description or node.key.path == ["user_model"], node.key
        assert node.owners and node.kinds and node.code_version, node.key


def test_groups_tell_the_story_in_order(graph):
    order = [graph.get(key).group_name for level in graph.toposorted_asset_keys_by_level for key in level]
    assert set(order) == set(STORY)
    first = {group: order.index(group) for group in STORY}
    assert sorted(STORY[1:], key=first.__getitem__) == STORY[1:]


def test_edges_follow_the_files(graph):
    def parents(*key: str) -> set[str]:
        return {k.to_user_string() for k in graph.get(dg.AssetKey(list(key))).parent_keys}

    assert parents("staged", "purchase") == set()
    assert parents("source", "purchase") == {"staged/purchase"}
    assert {"source/purchase", "source/texts", "base_models"} <= parents("histories")
    assert {"histories", "userqa", "base_models"} <= parents("user_model")
    assert "user_model" in parents("user_embeddings")
    assert "user_embeddings" in parents("evaluation") and "user_model" not in parents("evaluation")


def test_checks_block(graph):
    keys = {key.asset_key.to_user_string() for key in graph.asset_check_keys}
    names = {"purchase", "trip", "promotion", "campaign", "redemption", "profile"}
    assert keys == {f"source/{name}" for name in names} | {"userqa", "user_embeddings"}
    assert all(graph.get_check_spec(key).blocking for key in graph.asset_check_keys)


def test_the_job_holds_every_asset(graph):
    job = define(ROOT).resolve_job_def("whole_chain")
    assert set(job.asset_layer.executable_asset_keys) == {node.key for node in graph.asset_nodes}


def test_the_weekly_schedule_is_off_and_asks_for_one_run_per_date():
    assert weekly.default_status == dg.DefaultScheduleStatus.STOPPED
    with dg.DagsterInstance.ephemeral() as instance:
        requests = []
        for hour in (4, 5):
            at = datetime.datetime(2026, 11, 23, hour, tzinfo=datetime.UTC)
            context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
            requests += weekly.evaluate_tick(context).run_requests
    assert [r.run_key for r in requests] == ["2026-11-23"] * 2
    job = define(ROOT).resolve_job_def("whole_chain")
    assert dg.validate_run_config(job, requests[0].run_config)["ops"]["sources"]["config"] == {"rerun": True}


def test_selection_by_stage_or_asset():
    rows = load_rows(ROOT)[1]
    assert choose(rows, []) == rows
    assert [r.stage for r in choose(rows, ["source/purchase", "user_model"])] == ["validation", "model"]
    with pytest.raises(ConfigError, match=r"no stage or asset nope; there are .*source/purchase"):
        choose(rows, ["nope"])


def test_home_is_absolute_and_silent(tmp_path, monkeypatch):
    import yaml

    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    made = home.prepare_home(tmp_path)
    assert made.is_absolute() and made == tmp_path / ".dagster"
    settings = yaml.safe_load((made / "dagster.yaml").read_text())
    assert settings["telemetry"]["enabled"] is False and settings["nux"]["enabled"] is False
    with dg.DagsterInstance.get() as instance:
        assert not instance.telemetry_enabled and not instance.nux_enabled


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    assert "examples:" in capsys.readouterr().out


def test_a_root_without_dvc_yaml_is_one_clear_message(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("INSTRUCTUE_ROOT", str(tmp_path))
    assert main(["run"]) == 1
    assert "holds no dvc.yaml" in capsys.readouterr().err
    assert not (tmp_path / ".dagster").exists()
