"""Publishing as such, judged by plug-in validators that need no Great Expectations."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from instructue.errors import ConfigError, DataError, ValidationFailed
from instructue.files import remove
from instructue.sources.publish import validate_and_publish


@dataclass
class Verdict:
    """One outcome of a plug-in validator."""

    name: str
    source: str = "trip"
    passed: bool = False
    blocking: bool = False
    bad: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    sentence: str = "a sentence"
    observed: str = "this"
    expected: str = "that"
    checked: int = 100

    @property
    def failed(self) -> int:
        return len(self.bad)

    @property
    def bad_values(self) -> list[str]:
        return [f"{self.name}={p}" for p in self.bad]


@pytest.fixture
def publish(staged, make_project, tmp_path, monkeypatch):
    """publish(*verdicts) runs the stage with a validator that gives these."""
    config, paths = make_project(root=tmp_path, changes={"validation.validator": "plugged_in:judge"})
    paths.root.joinpath("data").mkdir()
    paths.staged.symlink_to(staged[1].staged)

    def run(*verdicts: Verdict):
        def judge(dataset, tables, texts, origins, report, share, before):
            run.before = before
            assert set(tables) == set(origins) == {s.name for s in dataset.sources} and share == 0
            assert all(o.is_file() for o in origins.values()) and "text" in texts.columns
            (report / "index.html").write_text("page")
            return list(verdicts)

        module = ModuleType("plugged_in")
        module.judge = judge
        monkeypatch.setitem(sys.modules, "plugged_in", module)
        return validate_and_publish(config, paths)

    run.paths = paths
    return run


def contents(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_clean_tables_are_published_byte_for_byte(publish):
    report = publish(Verdict("fine", passed=True))
    paths = publish.paths
    assert contents(paths.sources) == contents(paths.staged)
    assert list(contents(paths.quarantine)) == ["summary.json"]
    assert report.links["page"] == str(paths.validation_report / "index.html")
    assert report.rows == {k: v["kept"] for k, v in json.loads((paths.quarantine / "summary.json").read_text()).items()}
    assert sorted(p.name for p in paths.sources.parent.iterdir()) == ["quarantine", "sources", "staged"], "litter"


def test_a_row_that_breaks_two_rules_is_set_aside_once_with_both_reasons(publish):
    report = publish(Verdict("low", bad=np.array([3, 8])), Verdict("late", bad=np.array([8, 5])), Verdict("soft"))
    paths = publish.paths
    staged, aside, kept = (pl.read_parquet(f / "trip.parquet") for f in (paths.staged, paths.quarantine, paths.sources))
    assert aside.columns == ["source", "file", "row", "rule", "severity", "reason", "value", "user", "time"]
    assert aside["row"].to_list() == staged[[3, 5, 8]]["row"].to_list()
    assert aside["rule"].to_list() == ["low", "late", "low; late"] and aside["value"].to_list() == [
        "low=3",
        "late=5",
        "low=8; late=8",
    ]
    assert (
        set(aside["file"]) == {"transactions.parquet"}
        and aside["time"].to_list() == staged[[3, 5, 8]]["time"].to_list()
    )
    assert kept.equals(staged[[i for i in range(staged.height) if i not in (3, 5, 8)]])
    part = report.parts["trip"]
    assert (
        part.metrics | {"read": staged.height, "kept": staged.height - 3, "quarantined": 3, "failed": 0, "warned": 3}
        == part.metrics
    )
    assert [row["rule"] for row in part.tables["expectations"]] == ["low", "late", "soft"]
    assert report.metrics["quarantined"] == 3 and report.rows["trip"] == staged.height - 3


def test_a_row_lost_on_the_way_stops_the_publication(publish, monkeypatch):
    monkeypatch.setattr("instructue.sources.publish.write_table", lambda frame, path: frame[1:].write_parquet(path))
    with pytest.raises(DataError, match=r"source 'trip': \d+ rows were read, but \d+ kept \+ 1 quarantined"):
        publish(Verdict("low", bad=np.array([3, 8])))
    assert not publish.paths.sources.exists()


def test_a_failure_leaves_what_was_published_and_tells_all(publish):
    publish(Verdict("fine", passed=True))
    paths = publish.paths
    before = contents(paths.sources)
    verdicts = [
        Verdict("low", blocking=True, bad=np.arange(40, 46), sentence="amounts are not negative"),
        Verdict("fine", passed=True),
    ]
    with pytest.raises(ValidationFailed) as raised:
        publish(*verdicts)
    first = pl.read_parquet(paths.table("trip", staged=True))[40:46].sort("row").row(0, named=True)
    message = str(raised.value)
    for said in (
        "source 'trip'", "transactions.parquet", "rule low: amounts are not negative", f"row {first['row']}: low=",
        "and 3 more", f"user {first['user']}", "6 of 100", str(paths.quarantine), "max_quarantined_share (now 0)",
    ):  # fmt: skip
        assert said in message, said
    assert contents(paths.sources) == before
    assert raised.value.outcomes == verdicts and raised.value.report.parts["trip"].metrics["failed"] == 1
    assert pl.read_parquet(paths.quarantine / "trip.parquet").height == 6
    assert (paths.validation_report / "index.html").read_text() == "page"

    publish(Verdict("fine", passed=True))
    assert list(contents(paths.quarantine)) == ["summary.json"], "the mended file's quarantine is gone"


def test_a_failure_of_the_table_offers_no_tolerance(publish):
    with pytest.raises(ValidationFailed, match=r"rule empty: a sentence; found this") as raised:
        publish(Verdict("empty", blocking=True), Verdict("low", blocking=True, bad=np.array([1])))
    assert "max_quarantined_share" not in str(raised.value)
    assert not publish.paths.sources.exists()


def test_the_next_validation_is_told_what_was_published_last(publish):
    publish(Verdict("low", bad=np.array([3, 8])))
    assert publish.before == {}
    with pytest.raises(ValidationFailed):
        publish(Verdict("low", blocking=True, bad=np.arange(5)))
    report = publish(Verdict("fine", passed=True))
    assert publish.before == report.rows | {"trip": report.rows["trip"] - 2}, "what was stopped counts for nothing"


def test_two_runs_give_the_same_bytes(publish):
    def run():
        publish(Verdict("low", bad=np.array([3, 8])))
        return [contents(f) for f in (publish.paths.sources, publish.paths.quarantine)]

    first = run()
    remove(publish.paths.sources)
    assert run() == first


def test_a_validator_that_is_none_is_named(make_project, staged, tmp_path):
    for name in ("no_such_module:validate", "instructue.files:no_such_function"):
        config, paths = make_project(root=tmp_path, changes={"validation.validator": name})
        with pytest.raises(ConfigError, match=f"validation.validator '{name}' in params.yaml cannot be loaded"):
            validate_and_publish(config, paths)


def test_publishing_knows_no_validator_until_it_runs():
    code = (
        "import sys, instructue.sources.publish, instructue.stages\n"
        "heavy = {'data_checks', 'great_expectations', 'dagster', 'dvc', 'torch'}\n"
        "print([m for m in sys.modules if m.split('.')[0] in heavy])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_tables_that_do_not_fit_beside_each_other_give_the_same(project, staged, monkeypatch):
    from instructue.sources import staged as held

    config, paths = project
    shutil.copytree(staged[1].staged, paths.staged)
    reports, read, whole = [], [], held.read_staged
    monkeypatch.setattr(held, "read_staged", lambda path: (read.append(path.stem), whole(path))[1])
    for rows in (held.HELD, 0):
        monkeypatch.setattr(held, "HELD", rows)
        read.clear()
        report = validate_and_publish(config, paths)
        pages = [path.read_bytes() for path in sorted(paths.validation_report.iterdir())]
        tables = [path.read_bytes() for path in sorted(paths.sources.iterdir())]
        reports.append((report.rows, report.metrics, pages, tables))
        # Either each once, or again and again: the first source's users are asked for beside every other's.
        assert (read.count("purchase") == 1) == (rows > 0) and set(read) == set(report.rows)
    assert reports[0] == reports[1]
