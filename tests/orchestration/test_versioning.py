"""The DVC bridge on a small real DVC project of one stage: no data set, no model."""

import threading
import time
from pathlib import Path

import pytest
import yaml

from orchestration.versioning import VersioningError, is_up_to_date, run_stage, stages_up_to_date, version_of
from tests.orchestration.projects import as_dvc_project, run_ok

DOUBLE = {"cmd": "cp input.txt out.txt", "deps": ["input.txt", "code"], "params": ["double"], "outs": ["out.txt"]}
PIPELINE = {"stages": {"double": DOUBLE}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
    (tmp_path / "params.yaml").write_text("double: {times: 2}\nother: {x: 1}\n")
    (tmp_path / "input.txt").write_text("21")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "double.py").write_text("x = 2\n")
    as_dvc_project(tmp_path)
    return tmp_path


def double(root: Path) -> str:
    times = yaml.safe_load((root / "params.yaml").read_text())["double"]["times"]
    (root / "out.txt").write_text(str(int((root / "input.txt").read_text()) * times))
    return "done"


def test_runs_once_then_reuses(root):
    first = run_stage(root, "double", lambda: double(root))
    assert not first.reused and first.result == "done"
    second = run_stage(root, "double", lambda: pytest.fail("ran again"))
    assert second.reused and second.result is None and second.version == first.version
    assert stages_up_to_date(root) == {"double"}
    assert "up to date" in run_ok(root, "dvc", "status")


def test_force_runs_again_and_same_bytes_are_the_same_version(root):
    first = run_stage(root, "double", lambda: double(root))
    second = run_stage(root, "double", lambda: double(root), force=True)
    assert not second.reused and second.version == first.version


@pytest.mark.parametrize("edit", ["params", "code", "input"])
def test_an_edit_makes_it_stale_and_a_run_gives_a_new_version(root, edit):
    run_stage(root, "double", lambda: double(root))
    make_edit(root, edit)
    assert not is_up_to_date(root, "double")
    assert not run_stage(root, "double", lambda: double(root)).reused


def test_an_edit_of_a_section_that_it_does_not_follow_changes_nothing(root):
    run_stage(root, "double", lambda: double(root))
    (root / "params.yaml").write_text("double: {times: 2}\nother: {x: 9}\n")
    assert is_up_to_date(root, "double")


@pytest.mark.parametrize(("edit", "named"), [("params", "params.yaml"), ("code", "code"), ("input", "input.txt")])
def test_an_edit_while_it_runs_is_not_recorded(root, edit, named):
    def work():
        double(root)
        make_edit(root, edit)

    with pytest.raises(VersioningError, match=rf"{named} changed while stage 'double' ran"):
        run_stage(root, "double", work)
    assert not is_up_to_date(root, "double") and not (root / "dvc.lock").exists()


def make_edit(root: Path, what: str) -> None:
    if what == "params":
        (root / "params.yaml").write_text("double: {times: 3}\nother: {x: 1}\n")
    elif what == "code":
        (root / "code" / "double.py").write_text("x = 3\n")
    else:
        (root / "input.txt").write_text("22")


def test_work_that_fails_leaves_the_former_version_recorded(root):
    before = run_stage(root, "double", lambda: double(root)).version

    def work():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run_stage(root, "double", work, force=True)
    assert version_of(root, "double") == before and is_up_to_date(root, "double")


def test_two_runs_at_once_do_the_work_once(root):
    started, ran = threading.Event(), []

    def slow():
        ran.append(1)
        started.set()
        time.sleep(1)  # the other one is at the door by now
        return double(root)

    results = []
    second = threading.Thread(
        target=lambda: (started.wait(), results.append(run_stage(root, "double", slow))), daemon=True
    )
    second.start()
    first = run_stage(root, "double", slow)
    second.join()
    assert len(ran) == 1 and not first.reused and results[0].reused


def test_missing_input_names_the_stage(root):
    (root / "input.txt").unlink()
    with pytest.raises(VersioningError, match=r"stage 'double' cannot start.*input\.txt"):
        run_stage(root, "double", lambda: double(root))


def test_a_frozen_stage_keeps_its_version(root):
    before = run_stage(root, "double", lambda: double(root)).version
    run_ok(root, "dvc", "freeze", "double")
    make_edit(root, "input")
    assert run_stage(root, "double", lambda: pytest.fail("ran though frozen")).version == before


def test_no_git_and_no_dvc_say_the_mend(root, tmp_path_factory):
    with pytest.raises(VersioningError, match="dvc init"):
        is_up_to_date(tmp_path_factory.mktemp("bare"), "double")
    (root / ".git").rename(root / "elsewhere")
    with pytest.raises(VersioningError, match="git init"):
        is_up_to_date(root, "double")


def test_a_version_knows_the_files_of_a_folder(root):
    pipeline = {"stages": {"two": {"cmd": "true", "outs": ["folder"]}}}
    (root / "dvc.yaml").write_text(yaml.safe_dump(pipeline))

    def work():
        (root / "folder").mkdir()
        (root / "folder" / "a").write_text("same")
        (root / "folder" / "b").write_text("same")

    version = run_stage(root, "two", work).version
    assert version.files["folder/a"] == version.files["folder/b"] != version.outs["folder"] == version.id
