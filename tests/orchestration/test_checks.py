"""Verdicts as asset checks, reports as metadata, records of versions."""

import json
import urllib.request
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from data_checks.outcome import CheckOutcome
from data_checks.record import suite_record
from instructue.paths import Paths
from instructue.report import StageReport
from orchestration import checks, metadata, pages, records
from orchestration.versioning import Version

KEY = dg.AssetKey(["source", "purchase"])


def outcome(name: str, *, passed: bool, blocking: bool = True, bad: tuple[int, ...] = ()) -> CheckOutcome:
    return CheckOutcome(
        name=name, source="purchase", sentence=f"{name} holds", passed=passed, blocking=blocking, observed="-3",
        expected="0 or more", checked=100, failed=len(bad), bad=np.array(bad, np.int64), bad_values=["-3"] * len(bad),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "passed", "severity"),
    [
        ([outcome("a", passed=True)], True, "WARN"),
        ([outcome("a", passed=True), outcome("b", passed=False, blocking=False)], False, "WARN"),
        ([outcome("a", passed=False, blocking=False), outcome("b", passed=False, bad=(4, 7))], False, "ERROR"),
    ],
    ids=["green", "warning lets go on", "error stops"],
)
def test_a_suite_becomes_one_check(outcomes, passed, severity):
    result = checks.result(KEY, suite_record(outcomes))
    assert (result.passed, result.severity.value) == (passed, severity)
    assert result.metadata["rows checked"].value == 100
    assert len(result.metadata["expectations"].records) == len(outcomes)


def test_a_failed_check_shows_what_was_found_first():
    suite = suite_record([outcome("a", passed=True), outcome("b", passed=False, bad=(4, 7))])
    result = checks.result(KEY, suite)
    assert result.metadata["expectations"].records[0].data["verdict"] == "failed"
    assert [r.data["position"] for r in result.metadata["first bad rows"].records] == [4, 7]
    assert "b holds: found -3" in result.description
    assert "purchase: b holds; found -3" in str(checks.Unfit({"purchase": suite}))
    assert not checks.is_fit({"purchase": suite}) and checks.is_fit({})


def test_records_come_back_as_they_went(tmp_path):
    paths = Paths(tmp_path)
    version = Version("sources", {"data/staged": "abc"}, {}, 7)
    part = StageReport("sources", rows={"purchase": 3}, tables={"sample": [{"a": 1}]})
    kept = records.Record(StageReport("sources", plots={"p": Path("p.png")}, parts={"purchase": part}), {"x": {}}, 1.5)
    records.save(paths, version, kept)
    assert records.load(paths, version) == kept
    assert records.load(paths, Version("sources", {"data/staged": "other"}, {}, 7)) is None
    next((paths.cache / "records").rglob("*.json")).write_text("{")
    assert records.load(paths, version) is None


def test_report_as_metadata(tmp_path):
    (tmp_path / "loss.png").write_bytes(b"\x89PNG")
    said = StageReport(
        "model",
        rows={"triplets": 5},
        metrics={"loss": 0.5},
        plots={"loss": Path("loss.png"), "gone": Path("gone.png")},
        tables={"t": [{"a": 1}, {"b": [0.5, 0.25, 0.125, 1.0]}]},
        links={"mlflow": "http://x", "page": "a/b"},
        notes=["n"],
    )
    found = metadata.report(said, tmp_path)
    assert found["dagster/row_count"] == 5 and found["loss"] == 0.5
    assert found["plot/loss"].value.startswith("![loss](data:image/png;base64,")
    assert isinstance(found["plot/gone"], dg.PathMetadataValue)
    assert isinstance(found["mlflow"], dg.UrlMetadataValue) and isinstance(found["page"], dg.PathMetadataValue)
    rows = [record.data for record in found["t"].records]
    assert rows == [{"a": 1, "b": None}, {"a": None, "b": "[0.5, 0.25, 0.125, ...] (4)"}]


def test_the_page_of_a_source_opens_from_its_metadata(tmp_path):
    page = tmp_path / "reports" / "validation" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<b>all rows</b>")
    found = metadata.report(StageReport("validation", links={"page": f"{page}#purchase"}), tmp_path)["page"]
    assert isinstance(found, dg.UrlMetadataValue) and found.value.endswith("/validation/index.html#purchase")
    page.with_name("results.json").write_text(json.dumps({"sources": {"purchase": suite_record([])}}))
    result = checks.result(KEY, checks.judge_sources(None, Paths(tmp_path))["purchase"])  # type: ignore[arg-type]
    assert result.metadata["results page"] == found
    server = pages.serve(tmp_path, port=0)
    assert server is not None
    port = server.server_address[1]
    with urllib.request.urlopen(found.value.replace(str(pages.PORT), str(port))) as answer:
        assert answer.read() == b"<b>all rows</b>"
    assert pages.serve(tmp_path, port=port) is None, "the port is taken"
    server.shutdown()
    server.server_close()
    outside = metadata.report(StageReport("x", links={"page": "/etc/index.html", "j": "reports/a.json"}), tmp_path)
    assert all(isinstance(value, dg.PathMetadataValue) for value in outside.values())
