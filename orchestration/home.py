"""DAGSTER_HOME: below the project's root, with the committed dagster.yaml in it."""

import os
import shutil
from pathlib import Path

from instructue.paths import Paths

SHIPPED = Path(__file__).parent.parent / "dagster.yaml"


def prepare_home(root: Path) -> Path:
    """Make <root>/.dagster, put dagster.yaml into it, set DAGSTER_HOME. The root's own dagster.yaml goes first."""
    home = Paths(root).dagster_home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    own = root / "dagster.yaml"
    shutil.copyfile(own if own.is_file() else SHIPPED, home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(home)
    return home
