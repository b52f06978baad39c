"""The results page: whole without a network, and the same story as results.json and the outcomes."""

import json
import re
from dataclasses import replace

import polars as pl
import pytest

from data_checks.outcome import CheckOutcome
from data_checks.page import write_report
from data_checks.runner import validate
from instructue.sources.readers import data_folder
from instructue.sources.spec import load_dataset


@pytest.fixture(scope="module")
def checked(staged, tmp_path_factory):
    """Two bad rows in one source: the page, the results and the outcomes."""
    config, paths = staged
    dataset = load_dataset(config.data.description())
    folder, report = data_folder(dataset, config.data.folder), tmp_path_factory.mktemp("report")
    tables = {s.name: pl.read_parquet(paths.table(s.name, staged=True)) for s in dataset.sources}
    hit = pl.int_range(pl.len()).is_in([10, 20])
    tables["trip"] = tables["trip"].with_columns(amount=pl.when(hit).then(-1.5).otherwise("amount"))
    origins = {s.name: folder / dataset.tables[s.file] for s in dataset.sources}
    outcomes = validate(dataset, tables, pl.read_parquet(paths.texts(staged=True)), origins, report)
    return dataset, tables, origins, outcomes, report


def test_the_page_needs_nothing_from_elsewhere(checked):
    html = (checked[-1] / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"https?:|//|<script|<link|<img|@import|url\(", html) == []
    assert str(checked[2]["trip"].parent) not in html, "a folder of this machine is on the page"
    assert html.count("<section") == html.count("</section>") == 2 + len(checked[0].sources)


def test_the_page_names_what_failed(checked):
    html = (checked[-1] / "index.html").read_text(encoding="utf-8")
    trip = html[html.index('<section id="trip"') : html.index('<section id="promotion"')]
    assert "Stopped: nothing was published." in html and "2 rows are quarantined" in trip
    assert "amount is a finite number from 0 to 20,000" in trip and trip.count("<code>-1.5</code>") == 2
    for row in checked[1]["trip"][[10, 20]].iter_rows(named=True):
        assert f"<code>{row['row']}</code>" in trip and str(row["time"]) in trip


def test_the_results_say_the_same_as_the_outcomes(checked):
    dataset, tables, origins, outcomes, report = checked
    results = json.loads((report / "results.json").read_text(encoding="utf-8"))
    assert results["published"] is False and list(results["sources"]) == [s.name for s in dataset.sources]
    for name, part in results["sources"].items():
        own = [o for o in outcomes if o.source == name]
        assert part["read"] == tables[name].height == part["kept"] + part["quarantined"]
        assert [(e["name"], e["verdict"], e["failed_rows"]) for e in part["expectations"]] == [
            (o.name, o.verdict, o.failed) for o in own
        ]
        assert part["file"] == origins[name].name
    assert [n for n, p in results["sources"].items() if p["verdict"] != "passed"] == ["trip"]
    (amount,) = [e for e in results["sources"]["trip"]["expectations"] if e["name"] == "amount_in_range"]
    assert [r["value"] for r in amount["first_bad_rows"]] == ["-1.5", "-1.5"]


def test_words_from_the_data_cannot_break_the_page(checked, tmp_path):
    dataset, tables, origins, outcomes, _ = checked
    odd = [
        replace(o, bad_values=["<script>alert(1)</script>"] * len(o.bad), sentence=f"{o.sentence} <b>&")
        for o in outcomes
    ]
    write_report(tmp_path, dataset, tables, origins, odd)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in html and "<b>&" not in html and "&lt;script&gt;" in html


def test_a_page_of_warnings_and_tolerated_rows_says_so(checked, tmp_path):
    dataset, tables, origins, outcomes, _ = checked
    tolerated = [o if o.passed else replace(o, blocking=False) for o in outcomes]
    write_report(tmp_path, dataset, tables, origins, tolerated)
    assert "Published without 2 bad rows." in (tmp_path / "index.html").read_text(encoding="utf-8")
    warned = [
        replace(o, blocking=False, bad=o.bad[:0], bad_values=[], noted=o.bad, noted_values=o.bad_values)
        if isinstance(o, CheckOutcome) and not o.passed
        else o
        for o in outcomes
    ]
    write_report(tmp_path, dataset, tables, origins, warned)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Published, with warnings." in html and html.count("<code>-1.5</code>") == 2, "rows are shown and kept"
