"""Temporary projects as a person would have them: a git repository with DVC in it, the chain's code, small params.

The repository's own .dvc is never touched.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.orchestration.projects import ROOT, as_dvc_project

MakeChain = Callable[..., Path]


@pytest.fixture(scope="session")
def make_chain(make_project: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> MakeChain:
    """make_chain(folder=None, changes=None) -> root of a project on the slice, ready to run, nothing run yet."""

    def make(folder: Path | None = None, changes: dict[str, Any] | None = None) -> Path:
        root = tmp_path_factory.mktemp("chain")
        make_project(folder, root, {"data.max_users": 12, **(changes or {})})
        for name in ("instructue", "data_checks"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", "dagster.yaml", ".dvcignore", ".gitignore"):
            shutil.copyfile(ROOT / name, root / name)
        as_dvc_project(root)
        return root

    return make


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that leaves nothing behind."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
