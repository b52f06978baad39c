"""Projects on the slice that go as far as a trained model, made once for all tests. Read only."""

import pytest

from instructue.config import Config
from instructue.paths import Paths
from instructue.stages import STAGES

FLOAT32 = {"model.training.dtype": "float32", "userqa.teacher": "template"}


@pytest.fixture(scope="session")
def asked(make_project) -> tuple[Config, Paths]:
    """A float32 project with base models (2 layers of the real one), histories and template-worded UserQA."""
    config, paths = make_project(changes=FLOAT32)
    for stage in ("base_models", "sources", "validation", "histories", "userqa"):
        STAGES[stage](config, paths)
    return config, paths


@pytest.fixture(scope="session")
def trained(asked) -> tuple[Config, Paths]:
    """The same project with a trained model."""
    config, paths = asked
    STAGES["model"](config, paths)
    return config, paths
