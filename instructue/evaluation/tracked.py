"""The evaluation as an MLflow run: its figures as metrics, its reports as artefacts, tied to the model's run."""

import re
from typing import Any

from instructue.evaluation.results import MACRO, OURS
from instructue.files import sha256
from instructue.paths import Paths
from instructue.training.tracking import MODEL, run, trained_in


def log_results(results: dict[str, Any], paths: Paths) -> str:
    """Log what ours reached with all labels and without, and the reports; returns the run's id."""
    tags = {f"data.{name}": version for name, version in results["data"].items()}
    if paths.weights.is_file():
        weights = sha256(paths.weights)
        tags |= {MODEL: weights, "model.run": trained_in(paths, weights)}
    with run(paths, "evaluation", tags) as (mlflow, run_id):
        mlflow.log_params({key: str(value)[:500] for key, value in results["protocol"].items()})
        mlflow.log_metrics(metrics_of(results))
        for suffix in (".html", ".md", ".json"):
            mlflow.log_artifact(str(paths.evaluation_report.with_suffix(suffix)), "evaluation")
        mlflow.log_artifacts(str(paths.plots), "plots")
    return run_id


def metrics_of(results: dict[str, Any]) -> dict[str, float]:
    """'auc/TASK', and 'auc/TASK/zero_shot', by names that MLflow admits."""
    own = [r for r in results["rows"] if r["method"] == OURS and r["labels"] in ("all", 0) and r["value"] is not None]
    return {_admitted(f"{r['metric']}/{_place(r)}"): r["value"] for r in own}


def _place(row: dict[str, Any]) -> str:
    where = f"{row['family']}_average" if row["task"] == MACRO else row["task"]
    return where if row["labels"] == "all" else f"{where}/zero_shot"


def _admitted(name: str) -> str:
    return re.sub(r"[^\w./ -]", "_", name.replace("@", "_at_").replace("%", "_percent"))
