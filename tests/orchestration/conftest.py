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
def tiny_folder(slice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slice cut to 6 households that redeem coupons: few event texts, so that encoding them takes seconds."""
    import polars as pl

    folder = tmp_path_factory.mktemp("tiny")
    redemptions = pl.read_parquet(slice_folder / "coupon_redemptions.parquet")
    chosen = redemptions["household_id"].unique().sort().head(6).implode()
    for path in slice_folder.glob("*.parquet"):
        table = pl.read_parquet(path)
        if "household_id" in table.columns:
            table = table.filter(pl.col("household_id").is_in(chosen))
        table.write_parquet(folder / path.name)
    return folder


@pytest.fixture(scope="session")
def make_chain(
    make_project: Callable[..., Any], tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> MakeChain:
    """make_chain(folder=None, changes=None) -> root of a project on a tiny slice, nothing run yet."""

    def make(folder: Path | None = None, changes: dict[str, Any] | None = None) -> Path:
        root = tmp_path_factory.mktemp("chain")
        make_project(folder or tiny_folder, root, changes)
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


@pytest.fixture(scope="module")
def module_instance() -> Iterator[dg.DagsterInstance]:
    """The same for all tests of one module."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral
