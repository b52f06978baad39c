"""A small world, written once. Read only."""

from pathlib import Path

import pytest

from instructue.superapp.write import Wish, generate

WISH = Wish(users=500, seed=11, users_per_file=500)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("superapp") / "world"
    generate(WISH, folder)
    return folder
