"""The assets: a table of what there is (table), and one factory for all of it (factory)."""

from pathlib import Path

import dagster as dg

from instructue.config import load_config
from instructue.errors import ConfigError
from instructue.sources.spec import load_dataset
from orchestration.assets.factory import build
from orchestration.assets.table import Row, rows
from orchestration.pipeline import Pipeline, load_pipeline


def load_rows(root: Path) -> tuple[Pipeline, list[Row]]:
    """dvc.yaml and the asset table of params.yaml's data set. Raises ConfigError if their stages differ."""
    pipeline = load_pipeline(root)
    found = rows(load_dataset(load_config(root / "params.yaml").data.description(root)))
    if {row.stage for row in found} != set(pipeline.steps):
        known = sorted(row.stage for row in found)
        raise ConfigError(f"{root}/dvc.yaml has stages {sorted(pipeline.steps)}, the asset table {known}")
    return pipeline, found


def load_assets(root: Path) -> list[dg.AssetsDefinition]:
    """All assets of the project in `root`."""
    pipeline, found = load_rows(root)
    by_stage = {row.stage: row for row in found}
    return [build(row, by_stage, pipeline) for row in found]
