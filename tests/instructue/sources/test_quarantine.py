"""What was set aside, counted and shown."""

import numpy as np
import polars as pl
import pytest

from instructue.__main__ import main
from instructue.errors import DataError, ValidationFailed
from instructue.sources.publish import bad_rows
from instructue.sources.quarantine import read_quarantine
from instructue.stages import STAGES


@pytest.fixture(scope="module")
def stopped(staged, make_project, tmp_path_factory):
    """A validation that two negative trips, one without a user, and a profile stopped."""
    import shutil

    config, paths = make_project(root=tmp_path_factory.mktemp("stopped"))
    shutil.copytree(staged[1].staged, paths.staged)
    hit = pl.int_range(pl.len())
    changes = {
        "trip": [pl.when(hit.is_in([10, 20])).then(-1.5).otherwise("amount").alias("amount"),
                 pl.when(hit == 20).then(None).otherwise("user").alias("user")],
        "profile": [pl.when(hit == 3).then(pl.lit("wages")).otherwise("attribute").alias("attribute")],
    }  # fmt: skip
    for name, columns in changes.items():
        path = paths.table(name, staged=True)
        pl.read_parquet(path).with_columns(columns).write_parquet(path)
    with pytest.raises(ValidationFailed):
        STAGES["validation"](config, paths)
    return paths


def test_rows_are_counted_by_source_and_by_rule(stopped):
    found = read_quarantine(stopped)
    assert {name: n["quarantined"] for name, n in found.counts.items() if n["quarantined"]} == {"trip": 2, "profile": 1}
    assert all(n["read"] == n["kept"] + n["quarantined"] for n in found.counts.values())
    assert [r[:3] for r in found.by_rule().select("source", "rule", "rows").rows()] == [
        ("trip", "amount_in_range", 2), ("trip", "user_given", 1), ("profile", "attribute_known", 1),
    ]  # fmt: skip
    both = found.rows.filter(pl.col("rule").is_in(["user_given", "amount_in_range"]), pl.col("user").is_null())
    assert dict(both.select("rule", "value").iter_rows()) == {"user_given": "empty", "amount_in_range": "-1.5"}


def test_the_verb_shows_what_was_asked_for(stopped, capsys):
    assert main(["quarantine", "--root", str(stopped.root)]) == 0
    said = capsys.readouterr().out
    staged = pl.read_parquet(stopped.table("trip", staged=True))
    for word in ("attribute_known", "wages", "-1.5", "transactions.parquet", f" {staged['row'][10]} ", "index.html"):
        assert word in said, word
    assert main(["quarantine", "trip", "--rule", "amount_in_range", "--rows", "1", "--root", str(stopped.root)]) == 0
    said = capsys.readouterr().out
    assert said.count("-1.5") == 1 and "and 1 more (--rows 2)" in said and "profile" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [(["sales"], "there is no source 'sales'; sources: purchase"), (["--rule", "x"], "broken rules: amount_in_range"),
     (["--rows", "-1"], "give 0 or more")],
)  # fmt: skip
def test_what_is_not_there_is_named_with_what_is(stopped, capsys, words, says):
    assert main(["quarantine", *words, "--root", str(stopped.root)]) == 1
    assert says in capsys.readouterr().err


def test_the_verb_teaches_and_an_empty_quarantine_says_so(published, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["quarantine", "--help"])
    assert "max_quarantined_share" in " ".join(capsys.readouterr().out.split())
    assert main(["quarantine", "--root", str(published[1].root)]) == 0
    assert "nothing is in quarantine" in capsys.readouterr().out
    assert main(["quarantine", "--root", str(tmp_path)]) == 1
    assert "run the validation stage first" in capsys.readouterr().err


def test_a_value_with_the_sign_between_values_stays_whole(stopped, tmp_path):
    table = pl.DataFrame({"row": [4], "user": [1]})

    class Outcome:
        def __init__(self, name: str, value: str) -> None:
            self.name, self.source, self.sentence, self.bad, self.bad_values = (
                name,
                "trip",
                name,
                np.array([0]),
                [value],
            )
            self.blocking, self.passed = True, False

    from instructue.files import write_json
    from instructue.paths import Paths

    paths = Paths(tmp_path)
    write_json(paths.quarantine / "summary.json", {"trip": {"read": 1, "kept": 0, "quarantined": 1}})
    bad_rows(table, [Outcome("a", "x; y"), Outcome("b", "z")], "f").write_parquet(paths.quarantine / "trip.parquet")  # type: ignore[list-item]
    assert read_quarantine(paths).rows["value"].to_list() == ["x; y; z", "x; y; z"]
    (paths.quarantine / "trip.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="run again: python -m instructue validation"):
        read_quarantine(paths)
