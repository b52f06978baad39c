"""Running commands and materialising assets in temporary projects, and reading what came of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg

ROOT = Path(__file__).parent.parent.parent
EARLY = ["base_models", "sources", "validation", "histories"]


def command(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `root`, with this interpreter as `python` and this checkout's packages."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=False)


def run_ok(root: Path, *words: str) -> str:
    """What a command that must succeed printed."""
    done = command(root, *words)
    assert done.returncode == 0, f"{words} in {root}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def as_dvc_project(root: Path) -> None:
    """git init, dvc init, with the settings that this repository commits."""
    run_ok(root, "git", "init", "--quiet")
    run_ok(root, "dvc", "init", "--quiet")
    shutil.copyfile(ROOT / ".dvc" / "config", root / ".dvc" / "config")


def materialise(
    root: Path, instance: dg.DagsterInstance, stages: list[str], rerun: list[str] | None = None
) -> dg.ExecuteInProcessResult:
    """Materialise all assets of some stages in this process, as `python -m orchestration run` does."""
    from orchestration.assets import load_rows
    from orchestration.run import choose, execute

    return execute(root, instance, choose(load_rows(root)[1], stages), rerun or [])


def versions(instance: dg.DagsterInstance) -> dict[str, str]:
    """The data version of each asset that has been materialised."""
    from dagster._core.definitions.data_version import extract_data_version_from_entry

    found = {}
    for key in instance.all_asset_keys():
        event = instance.get_latest_materialization_event(key)
        if event is not None:
            found[key.to_user_string()] = extract_data_version_from_entry(event).value
    return found


def reused(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """For each step that materialised something, whether it did no work."""
    return {
        e.step_key: e.step_materialization_data.materialization.metadata["reused"].value
        for e in result.all_events
        if e.is_step_materialization
    }
