"""MLflow, on SQLite at an absolute path, imported only when a run begins."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instructue.paths import Paths

EXPERIMENT = "instructue"
MODEL = "model.weights"  # tag of a run that trained or judged a model: sha256 of its weights


@contextmanager
def run(paths: Paths, name: str, tags: dict[str, str]) -> Iterator[Any]:
    """An MLflow run; yields (mlflow module, run id). Metrics, params and artifacts are logged through the module."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    import mlflow

    mlflow.set_tracking_uri(paths.mlflow_uri)
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        mlflow.create_experiment(EXPERIMENT, artifact_location=paths.mlflow_artifacts.resolve().as_uri())
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_run(run_name=name, tags=tags | git_tags(paths.root)) as active:
        yield mlflow, active.info.run_id


def trained_in(paths: Paths, weights: str) -> str:
    """Id of the newest run that left these weights; '' where the project's store knows none."""
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=paths.mlflow_uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    sought = f"tags.`{MODEL}` = '{weights}' and attributes.run_name = 'model'"
    runs = (
        client.search_runs([found.experiment_id], sought, max_results=1, order_by=["start_time DESC"]) if found else []
    )
    return runs[0].info.run_id if runs else ""


def git_tags(root: Path) -> dict[str, str]:
    """Revision and whether the work tree differs from it; empty outside a git repository."""

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    revision = git("rev-parse", "HEAD")
    if revision is None:
        return {}
    return {"git.sha": revision, "git.dirty": str(bool(git("status", "--porcelain", "--untracked-files=no"))).lower()}


def flat(values: dict, prefix: str = "") -> dict[str, Any]:
    """Nested params as dotted names."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return out
