"""Projects on the slice that go as far as a trained model, made once for all tests. Read only."""

import pytest

from instructue.config import Config
from instructue.paths import Paths

FLOAT32 = {"model.training.dtype": "float32", "userqa.teacher": "template"}


@pytest.fixture(scope="session")
def based(shared) -> tuple[Config, Paths]:
    """The project with its base models alone."""
    return shared("asked", FLOAT32, ("base_models",))


@pytest.fixture(scope="session")
def asked(shared) -> tuple[Config, Paths]:
    """A float32 project with base models (2 layers of the real one), histories and template-worded UserQA."""
    return shared("asked", FLOAT32, ("base_models", "sources", "validation", "histories", "userqa"))


@pytest.fixture(scope="session")
def trained(shared, asked) -> tuple[Config, Paths]:
    """The same project with a trained model."""
    return shared("asked", FLOAT32, ("model",))
