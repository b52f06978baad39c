"""Findings on Dagster, DVC and Great Expectations for `python -m instructue doctor`, which loads this by name."""

import os
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

from instructue.doctor import Finding
from instructue.errors import InstructUEError
from instructue.paths import Paths

RESOLVE = "make env; some package pulled in antlr4-python3-runtime < 4.13 (hydra-core < 1.4 or omegaconf < 2.4 do)"


def checks(paths: Paths) -> Iterator[Finding]:
    """All findings."""
    yield selections()
    yield great_expectations()
    yield home(paths.root)
    yield from versioning(paths.root)


def selections() -> Finding:
    """Dagster parses selection strings. It does not where DVC's dependencies brought an old antlr."""
    import dagster as dg

    try:
        with warnings.catch_warnings(action="ignore"):
            dg.AssetSelection.from_string("*")
    except Exception as error:  # whatever a broken parser raises
        return Finding("Dagster selections", False, f"{type(error).__name__}: {error}", RESOLVE)
    return Finding("Dagster selections", True, f"parsed by Dagster {dg.__version__}")


def great_expectations() -> Finding:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("great-expectations")
    except PackageNotFoundError:
        return Finding("Great Expectations", False, "not installed", "make env")
    ok = int(found.split(".")[0]) >= 1
    return Finding("Great Expectations", ok, found, "make env; remove dagster-ge, which pulls in 0.18")


def home(root: Path) -> Finding:
    """DAGSTER_HOME is absolute and there, or is left to us."""
    value = os.environ.get("DAGSTER_HOME")
    if value is None:
        return Finding("DAGSTER_HOME", True, f"not set; `make run` and `make ui` use {Paths(root).dagster_home}")
    ok = Path(value).is_absolute() and Path(value).is_dir()
    return Finding(
        "DAGSTER_HOME", ok, value, "unset it, or name an existing folder by its absolute path", required=False
    )


def versioning(root: Path) -> Iterator[Finding]:
    """The project is a git repository with DVC in it, and dvc.yaml can be read."""
    from orchestration.pipeline import load_pipeline
    from orchestration.versioning import stages_up_to_date

    git = subprocess.run(["git", "-C", str(root), "rev-parse", "--git-dir"], capture_output=True, check=False)
    found = git.returncode == 0
    yield Finding("git", found, "repository found" if found else f"{root} is not in one", "git init")
    try:
        stages = list(load_pipeline(root).steps)
        fresh = stages_up_to_date(root)
    except InstructUEError as error:
        yield Finding("DVC", False, str(error), "run `dvc init` in the project's root")
        return
    stale = [stage for stage in stages if stage not in fresh]
    detail = "all stages up to date" if not stale else f"to run: {', '.join(stale)}"
    yield Finding("DVC", True, f"project found; {detail}")
