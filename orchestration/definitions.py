"""The whole graph on one screen: what Dagster loads.

    foundations      base_models ─────────────────┬──────────────────┬───────────┐
    sources_as_read  staged/* ─> source/*  ─> histories ─> userqa ─> user_model ─> user_embeddings ─> evaluation

Edges come from dvc.yaml, descriptions from assets/table.py, the sources from the data set's description.
"""

from pathlib import Path

import dagster as dg

from instructue.telemetry import telemetry_off
from orchestration.assets import load_assets
from orchestration.jobs import whole_chain
from orchestration.pipeline import project_root
from orchestration.resources import Project
from orchestration.schedules import weekly

telemetry_off()  # run workers import this module first


def define(root: Path) -> dg.Definitions:
    """Everything that Dagster knows of the project in `root`."""
    return dg.Definitions(
        assets=load_assets(root),
        jobs=[whole_chain],
        schedules=[weekly],
        resources={"project": Project(root=str(root))},
        # Stages share files and fill the machine each on its own; a process per step would only cost imports.
        executor=dg.in_process_executor,
    )


defs = define(project_root())
