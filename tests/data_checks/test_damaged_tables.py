"""Real tables damaged as a whole: each fault is named and nothing else; a clean slice passes. The damage: damage.py."""

import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from data_checks.outcome import CheckOutcome
from data_checks.runner import adds_up, validate
from instructue.errors import DataError, ValidationFailed
from instructue.files import remove
from instructue.sources.spec import load_dataset
from instructue.stages import STAGES
from tests.data_checks.damage import SOURCES, TABLES, TableDamage, named, rewrite


@pytest.fixture(scope="module")
def tables(staged) -> dict[str, pl.DataFrame]:
    return {name: pl.read_parquet(staged[1].table(name, staged=True)) for name in (*SOURCES, "texts")}


def judged(tables, changed, folder, names, before=1.0, tolerated=0.0) -> dict[str, CheckOutcome]:
    """What a validation of the sources `names` finds broken."""
    whole = load_dataset("complete_journey")
    dataset = whole.model_copy(update={"sources": [s for s in whole.sources if s.name in names]})
    rows = {name: int(tables[name].height * before) for name in names}
    origins = {name: Path(f"{whole.source(name).file}.parquet") for name in names}
    outcomes = validate(dataset, tables | changed, tables["texts"], origins, folder, tolerated, rows)
    return {f"{o.source}.{o.name}": o for o in outcomes if not o.passed}


@pytest.mark.parametrize("case", TABLES, ids=named(TABLES))
def test_a_damaged_table_is_named_and_nothing_else(case: TableDamage, tables, tmp_path):
    changed = {name: change(tables[name]) for name, change in case.change.items()}
    found = judged(tables, changed, tmp_path, {*changed, *case.also}, case.before, case.tolerated)
    rows = {o.source for o in found.values() if o.verdict == "failed" and len(o.bad)}
    shares = {f"{source}.quarantined_share": "failed" for source in rows}
    assert {name: o.verdict for name, o in found.items()} == case.found | shares
    assert case.says in found[next(iter(case.found))].observed
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert all(f">{name.split('.')[1]}</code>" in page for name in case.found)


def test_clean_slice_passes_with_nothing_set_aside(published, tables, tmp_path):
    _, paths = published
    assert judged(tables, {}, tmp_path, set(SOURCES)) == {}, "real data raises an alarm"
    assert [p.name for p in paths.quarantine.iterdir()] == ["summary.json"]
    for name in (*SOURCES, "texts"):
        staged, out = (p / f"{name}.parquet" for p in (paths.staged, paths.sources))
        assert out.read_bytes() == staged.read_bytes()


def test_a_blank_where_a_value_was_counts_as_unknown(tables, tmp_path):
    texts = tables["texts"].with_columns(
        category=pl.when(pl.col("category") < "n").then(pl.lit(" N/A ")).otherwise("category")
    )
    found = judged(tables | {"texts": texts}, {}, tmp_path, {"purchase"})
    assert {name: o.verdict for name, o in found.items()} == {"purchase.category_filled": "warned"}


def test_counts_that_do_not_add_up_are_an_expectation_of_their_own(tables, tmp_path):
    lost = CheckOutcome("rule", "trip", "s", False, True, "", "", 10, 1, pl.Series([3, 12]).to_numpy(), ["a", "b"])
    assert adds_up("trip", [lost], 13).passed and not adds_up("trip", [lost], 10).passed
    assert adds_up("trip", [lost], 10).observed == "10 read, 9 kept + 2 quarantined"


def test_no_tolerance_mends_an_empty_source_and_a_stage_that_has_not_run_is_named(staged, make_project, tmp_path):
    config, paths = make_project(root=tmp_path, changes={"validation.max_quarantined_share": 1.0})
    shutil.copytree(staged[1].staged, paths.staged, copy_function=os.link)
    table = paths.table("redemption", staged=True)
    rewrite(table, pl.read_parquet(table).clear())
    with pytest.raises(ValidationFailed, match=r"(?s)'redemption' from .*redemptions.parquet.*not_empty: ") as raised:
        STAGES["validation"](config, paths)
    assert "max_quarantined_share" not in str(raised.value) and not paths.sources.exists()
    remove(table)
    with pytest.raises(DataError, match=r"redemption.parquet is not there; run the sources stage first"):
        STAGES["validation"](config, paths)
