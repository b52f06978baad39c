"""What a stage is given by Dagster: the project it works in, and whether to run even if it is up to date."""

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from instructue.config import Config, load_config
from instructue.paths import Paths


class Project(dg.ConfigurableResource):
    """One project root. params.yaml is read anew by each stage, so that an edit counts at once."""

    root: str = Field(description="Folder that holds params.yaml and dvc.yaml")

    @property
    def paths(self) -> Paths:
        return Paths(Path(self.root))

    def config(self) -> Config:
        """params.yaml, checked. Raises ConfigError."""
        return load_config(self.paths.params)


class StageConfig(dg.Config):
    """The one choice a person has when launching a stage."""

    rerun: bool = Field(default=False, description="Run the stage even if DVC says that it is up to date")


def rerunning(stages: list[str]) -> dict[str, Any]:
    """Run configuration that runs these stages whether or not they are up to date."""
    return {"ops": {stage: {"config": {"rerun": True}} for stage in stages}}
