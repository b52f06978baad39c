"""A killed or failed writer leaves what was there before, and nothing beside it."""

import json
import os
import subprocess
import sys

import pytest

from instructue.files import remove, replacing, write_json


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_the_block_ends(tmp_path):
    with replacing(tmp_path / "deep" / "out.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "deep" / "out.txt").exists()
    assert (tmp_path / "deep" / "out.txt").read_text() == "new"
    assert names(tmp_path / "deep") == ["out.txt"]


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "out"
    for content in (["a", "b"], ["c"]):
        with replacing(target) as temporary:
            temporary.mkdir()
            for name in content:
                (temporary / name).write_text(name)
    assert names(target) == ["c"] and names(tmp_path) == ["out"]


@pytest.mark.parametrize("folder", [False, True])
def test_an_error_leaves_the_old_and_no_litter(tmp_path, folder):
    target = tmp_path / "out"
    if folder:
        target.mkdir()
        (target / "old").write_text("old")
    else:
        target.write_text("old")
    with pytest.raises(RuntimeError, match="halfway"), replacing(target) as temporary:
        if folder:
            temporary.mkdir()
            (temporary / "new").write_text("new")
        else:
            temporary.write_text("new")
        raise RuntimeError("halfway")
    assert names(tmp_path) == ["out"]
    assert (target / "old" if folder else target).read_text() == "old"


def test_a_killed_writer_leaves_the_old(tmp_path):
    target = tmp_path / "out"
    target.write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from instructue.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as t:\n    t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(target)], env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert killed.returncode == -9 and target.read_text() == "old"


def test_hard_links_to_the_old_keep_their_content(tmp_path):
    # A cache that links to our outputs must not see them change.
    target, cached = tmp_path / "out", tmp_path / "cached"
    target.write_text("old")
    os.link(target, cached)
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert cached.read_text() == "old" and target.read_text() == "new"


def test_remove_takes_files_folders_links_and_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    assert (tmp_path / "folder" / "kept").exists()
    remove(tmp_path / "folder")
    remove(tmp_path / "never was")
    assert names(tmp_path) == []


def test_json_is_stable_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    first = (tmp_path / "a.json").read_bytes()
    write_json(tmp_path / "a.json", json.loads(first))
    assert (tmp_path / "a.json").read_bytes() == first
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert (tmp_path / "a.json").read_bytes() == first and names(tmp_path) == ["a.json"]
