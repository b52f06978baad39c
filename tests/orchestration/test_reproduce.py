"""make reproduce: a clone that leaves the reader's tree alone, and a comparison that sees what came out otherwise."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from instructue.config import load_config
from instructue.errors import ConfigError, DataError
from instructue.evaluation.results import OURS
from orchestration import reproduce
from tests.orchestration.projects import ROOT, as_dvc_project, run_ok


def commit(root: Path) -> str:
    run_ok(root, "git", "add", "--all")
    who = ("-c", "user.name=reader", "-c", "user.email=reader@example.org")
    run_ok(root, "git", *who, "commit", "--quiet", "--message", "state")
    return run_ok(root, "git", "rev-parse", "HEAD").strip()


def tracked(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in run_ok(root, "git", "ls-files").splitlines()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project of one stage whose output is in the cache and in dvc.lock, with the committed params.yaml."""
    root = tmp_path_factory.mktemp("template")
    shutil.copyfile(ROOT / "params.yaml", root / "params.yaml")
    stage = {"cmd": "cp input.txt out.txt", "deps": ["input.txt"], "outs": ["out.txt"]}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"copy": stage}}))
    (root / "input.txt").write_text("21")
    (root / ".gitignore").write_text("/build/\n/out.txt\n")
    as_dvc_project(root)
    run_ok(root, "dvc", "repro", "--quiet")
    commit(root)
    return root


@pytest.fixture
def small(template: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test to change."""
    return shutil.copytree(template, tmp_path / "project")


def row(task: str, method: str, value: float, low: float | None, high: float | None, **other) -> dict:
    told = {"task": task, "family": "prediction", "method": method, "labels": "all", "metric": "auc"}
    return told | {"value": value, "low": low, "high": high, "n": 9, "positives": 4} | other


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An evaluation.json with two figures that are compared and three that are not."""
    rows = [
        row("coffee", OURS, 0.82, 0.80, 0.84),
        row("coffee", "tfidf_lr", 0.78, 0.76, 0.80),
        row("coffee", OURS, 0.5, 0.4, 0.6, metric="ks"),
        row("coffee", OURS, 0.7, 0.6, 0.8, labels=64),
        row("macro", OURS, 0.8, 0.7, 0.9),
    ]
    path = tmp_path / "reports" / "evaluation.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"dataset": "d", "snapshot": "2017-10-01", "protocol": {}, "rows": rows, "paired": []}))
    return path


def test_the_committed_variant_runs_every_study_on_all_users():
    config = load_config(ROOT / "params.yaml", reproduce.VARIANT)
    assert set(config.studies.run) == {"following", "robustness", "item_by_item", "losses", "unseen_users", "taught"}
    assert config.studies.users == 0 and config.studies.noise == [0.0, 0.2, 0.4, 0.6, 0.8]
    plain = load_config(ROOT / "params.yaml")
    # What the README's table comes from is left as it is.
    changed = {name for name in type(plain).model_fields if getattr(plain, name) != getattr(config, name)}
    assert not config.evaluation.leave_out  # the slower baselines are run too
    assert set(config.evaluation.few_labels) > set(plain.evaluation.few_labels)
    more = {"leave_out": [], "few_labels": config.evaluation.few_labels}
    same = plain.evaluation.model_copy(update=more)
    changed -= {"evaluation"} if config.evaluation == same else set()
    changed -= {"embeddings"} if config.embeddings == plain.embeddings.model_copy(update={"untrained": True}) else set()
    assert changed == {"studies"}


def test_uncommitted_changes_are_refused_unless_told_so(small):
    reproduce.refuse_changes(small, dirty=False)
    (small / "notes.txt").write_text("not tracked, so no matter")
    reproduce.refuse_changes(small, dirty=False)
    (small / "input.txt").write_text("22")
    with pytest.raises(ConfigError, match=r"1 tracked files have uncommitted changes \(input.txt\).*--dirty"):
        reproduce.refuse_changes(small, dirty=False)
    reproduce.refuse_changes(small, dirty=True)
    assert (reproduce.bring_clone(small) / "input.txt").read_text() == "21"


def test_the_clone_has_the_variant_and_what_the_cache_holds_and_the_tree_stays(small):
    before = tracked(small)
    clone = reproduce.bring_clone(small)
    reproduce.write_params(clone, "debug")
    reproduce.share_cache(small, clone)
    assert load_config(clone / "params.yaml") == load_config(small / "params.yaml", "debug")
    assert (clone / "out.txt").read_text() == "21"
    assert "up to date" in run_ok(clone, "dvc", "status")
    assert tracked(small) == before and run_ok(small, "git", "status", "--porcelain") == ""
    with pytest.raises(ConfigError, match="no variant 'nonsense'"):
        reproduce.write_params(clone, "nonsense")


def test_what_the_cache_lacks_is_left_to_the_chain(small):
    shutil.rmtree(small / ".dvc" / "cache")
    clone = reproduce.bring_clone(small)
    reproduce.share_cache(small, clone)
    assert not (clone / "out.txt").exists()


def test_a_clone_of_the_same_commit_is_gone_on_with_and_one_of_another_is_not(small):
    clone = reproduce.bring_clone(small)
    (clone / "half-done").write_text("kept")
    assert (reproduce.bring_clone(small) / "half-done").is_file()
    assert not (reproduce.bring_clone(small, fresh=True) / "half-done").exists()
    (clone / "half-done").write_text("of the old commit")
    (small / "input.txt").write_text("23")
    head = commit(small)
    clone = reproduce.bring_clone(small)
    assert not (clone / "half-done").exists() and (clone / "input.txt").read_text() == "23"
    assert run_ok(clone, "git", "rev-parse", "HEAD").strip() == head


def test_only_primary_figures_of_single_tasks_are_kept(results):
    kept = [(r["task"], r["method"], r["value"]) for r in reproduce.main_rows(results)]
    assert kept == [("coffee", OURS, 0.82), ("coffee", "tfidf_lr", 0.78)]
    with pytest.raises(DataError, match="is not there"):
        reproduce.main_rows(results.with_name("none.json"))


def test_items_asked_about_one_by_one_count_among_the_figures(results):
    raw = json.loads(results.read_text())
    told = {
        "task": "R_all",
        "method": OURS,
        "setting": "asked",
        "metric": "ndcg@10",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
    }
    others = [
        {"metric": "hr@10"},
        {"method": "ease"},
        {"task": "macro"},
        {"metric": "ndcg@10_difference", "baseline": "ease"},
    ]
    words = {"title": "t", "question": "q", "answer": "a", "varied": "v"}
    studies = {"item_by_item": [told, *(told | other for other in others)], "another": [told]}
    raw["studies"] = [words | {"name": name, "rows": rows} for name, rows in studies.items()]
    results.write_text(json.dumps(raw))
    found = [row["method"] for row in reproduce.main_rows(results)]
    assert found == [OURS, "tfidf_lr", f"{OURS}, asked"]


def test_accepted_figures_come_out_within_themselves(results, tmp_path, capsys):
    words = ["--root", str(tmp_path), "--results", str(results)]
    assert reproduce.main(words) == 1 and "--accept" in capsys.readouterr().err
    assert reproduce.main([*words, "--accept"]) == 0
    assert reproduce.main(words) == 0
    assert "2 of 2 committed figures came out within" in capsys.readouterr().out


@pytest.mark.parametrize("planted", [0.79, 0.85, None])
def test_a_figure_outside_its_interval_or_missing_fails(results, tmp_path, capsys, planted):
    words = ["--root", str(tmp_path), "--results", str(results)]
    reproduce.main([*words, "--accept"])
    raw = json.loads(results.read_text())
    if planted is None:
        raw["rows"] = raw["rows"][1:]
    else:
        raw["rows"][0] |= {"value": planted, "low": planted - 0.02, "high": planted + 0.02}
    results.write_text(json.dumps(raw))
    capsys.readouterr()
    assert reproduce.main(words) == 1
    said = capsys.readouterr().out
    assert ("missing" if planted is None else "OUTSIDE") in said and "1 of 2 committed figures" in said


def test_a_figure_without_interval_must_come_out_the_same():
    old = {"task": "t", "method": "m", "metric": "auc", "value": 0.5, "low": None, "high": None}
    same, other = (reproduce.compare([old], [old | {"value": value}])[0] for value in (0.5, 0.51))
    assert same.within and not other.within


def test_damaged_figures_are_named(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('[{"task": "coffee"}]')
    with pytest.raises(DataError, match=r"results\.json is no list of rows"):
        reproduce.read_committed(path)


def test_a_chain_that_stops_is_said_without_a_traceback_and_the_tree_stays(make_chain, capfd):
    root = make_chain(changes={"data.dataset": "nowhere"})
    shutil.copytree(ROOT / "orchestration", root / "orchestration", ignore=shutil.ignore_patterns("__pycache__"))
    commit(root)
    before = tracked(root)
    assert reproduce.main(["--root", str(root), "--variant", "debug", "--accept"]) == 1
    said = capfd.readouterr().err
    assert "nowhere" in said and "the chain stopped in" in said and "Traceback" not in said
    assert tracked(root) == before and not (root / "docs").exists()
    assert load_config(root / "build/reproduce/params.yaml").model.training.steps == 6
