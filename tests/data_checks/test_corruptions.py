"""Real data, damaged on purpose: what stops, what is named, what is set aside, what stands. The damage: damage.py.

Damages of rows are made all at once, each in a place of its own: one staging and two validations show them all.
"""

import os
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from instructue.errors import ConfigError, DataError, ValidationFailed
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.stages import STAGES
from tests.data_checks.damage import (
    AGAIN,
    FILES,
    ODD_ROWS,
    ODD_TEXTS,
    PROMPTS,
    ROWS,
    SOURCES,
    TEXTS,
    FileDamage,
    RowDamage,
    named,
    rewrite,
)


def copied(folder: Path, target: Path) -> Path:
    """A copy of the slice whose files are links: write none, replace them."""
    return Path(shutil.copytree(folder, target, copy_function=os.link))


# Files of another form.


@pytest.mark.parametrize("case", FILES, ids=named(FILES))
def test_a_file_of_another_form_stops_before_anything_is_staged(case: FileDamage, slice_folder, make_project, tmp_path):
    folder = copied(slice_folder, tmp_path / "files")
    path = folder / f"{case.table}.parquet"
    data = path.read_bytes()
    if case.change is None:
        path.unlink()
    elif case.name == "wrong encoding":
        write_latin1(path)
    elif isinstance(changed := either(case.change, data, path), bytes):
        path.unlink()
        path.write_bytes(changed)
    else:
        rewrite(path, changed)
    config, paths = make_project(folder, tmp_path)
    names, says = rf"({case.table}\.parquet|'profile')", f"({case.says})"
    with pytest.raises((DataError, ConfigError), match=rf"(?s){names}.*{says}|{says}.*{names}"):
        STAGES["sources"](config, paths)
    assert not paths.staged.exists()


def either(change, data: bytes, path: Path):
    """Changes are of bytes or of the table."""
    try:
        return change(data)
    except (AttributeError, TypeError):
        return change(pl.read_parquet(path))


def write_latin1(path: Path) -> None:
    """A text column whose bytes are no UTF-8, which Parquet's writers do not look at."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    place = table.column_names.index("product_category")
    texts = pa.array(["crème".encode("latin-1")] * table.num_rows, pa.binary())
    latin = pa.Array.from_buffers(pa.string(), len(texts), texts.buffers())
    path.unlink()
    pq.write_table(table.set_column(place, "product_category", latin), path)


# Rows.


@dataclass
class Damaged:
    """All damages of rows at once. places: name -> line of the file (or lines, for a product's text)."""

    places: dict[str, list[int]]
    bad: dict[str, dict[int, str]]  # source -> row -> the rules it breaks
    stopped: ValidationFailed
    report: StageReport
    paths: Paths
    quarantine: dict[str, pl.DataFrame]
    staged: dict[str, pl.DataFrame]
    kept: dict[str, pl.DataFrame]
    before: list[str]


@pytest.fixture(scope="module")
def lines(slice_folder: Path) -> pl.DataFrame:
    """Lines of transactions; whether each is promoted, by brute force."""
    places = pl.read_parquet(slice_folder / "promotions.parquet").filter(
        (pl.col("display_location") != "0") | (pl.col("mailer_location") != "0")
    )
    keys = ["product_id", "store_id", "week"]
    shown = places.select(keys).unique().with_columns(promoted=True)
    found = pl.read_parquet(slice_folder / "transactions.parquet").with_row_index("row")
    found = found.join(shown, on=keys, how="left", maintain_order="left").with_columns(
        pl.col("promoted").fill_null(False)
    )
    return found.with_columns(first=pl.col("row").min().over("basket_id"), size=pl.len().over("basket_id"))


@pytest.fixture(scope="module")
def damaged(slice_folder, lines, make_project, tmp_path_factory) -> Damaged:
    folder = copied(slice_folder, tmp_path_factory.mktemp("damaged") / "files")
    places, bad = choose_places(lines, slice_folder), {name: {} for name in SOURCES}
    damage_lines(folder, lines, places, bad)
    damage_texts(folder, lines, places, bad)
    damage_codes(folder, lines, places, bad)
    config, paths = make_project(folder)
    STAGES["sources"](config, paths)
    paths.sources.mkdir(parents=True)
    (paths.sources / "texts.parquet").write_bytes(b"what was published before")
    with pytest.raises(ValidationFailed) as raised:
        STAGES["validation"](config, paths)
    before = [p.read_bytes().decode() for p in paths.sources.iterdir()]
    blocking = {p.stem: set(pl.read_parquet(p)["severity"]) for p in paths.quarantine.glob("*.parquet")}
    assert set(map(frozenset, blocking.values())) == {frozenset({"blocking"})}
    tolerant, _ = make_project(folder, changes={"validation.max_quarantined_share": 0.2})
    report = STAGES["validation"](tolerant, paths)
    read = {n: pl.read_parquet(paths.quarantine / f"{n}.parquet") for n in SOURCES if bad[n]}
    assert {p.stem for p in paths.quarantine.glob("*.parquet")} == set(read)
    staged, kept = ({n: pl.read_parquet(paths.table(n, staged=s)) for n in SOURCES} for s in (True, False))
    return Damaged(places, bad, raised.value, report, paths, read, staged, kept, before)


def choose_places(lines: pl.DataFrame, folder: Path) -> dict[str, list[int]]:
    """A line per damage: dear, in a large basket of its own, not its first. For texts, all lines of a rare product."""
    texts = {**TEXTS, **ODD_TEXTS, **PROMPTS}
    products = pl.read_parquet(folder / "products.parquet")["product_id"]
    rare = lines.filter(pl.col("product_id").is_in(products.implode())).group_by("product_id")
    rare = rare.agg(pl.col("row"), n=pl.len(), early=pl.col("row").min() < AGAIN).sort("product_id")
    rare = rare.filter(pl.col("n").is_between(2, 9), ~pl.col("early")).head(len(texts))
    taken = rare["row"].explode()
    plain = lines.filter(
        pl.col("size") > 20, pl.col("sales_value") > 2, pl.col("row") > pl.col("first"), pl.col("first") > AGAIN,
        ~pl.col("promoted"), ~pl.col("row").is_in(taken.implode()),
    ).unique("basket_id", keep="first", maintain_order=True)  # fmt: skip
    names = [*named(ROWS), *ODD_ROWS]
    chosen = {name: [row] for name, row in zip(names, plain["row"].to_list(), strict=False)}
    assert len(chosen) == len(names) and rare.height == len(texts)
    return chosen | dict(zip(texts, rare["row"].to_list(), strict=True))


def damage_lines(folder, lines, places, bad) -> None:
    path = folder / "transactions.parquet"
    frame = pl.read_parquet(path)
    firsts = dict(lines.select("row", "first").iter_rows())
    for name, cells in [*((case.name, case.cells) for case in ROWS), *ODD_ROWS.items()]:
        here = pl.int_range(pl.len()) == places[name][0]
        frame = frame.with_columns(
            pl.when(here).then(pl.lit(value, dtype=frame.schema[column])).otherwise(column).alias(column)
            for column, value in cells.items()
        )
    for case in ROWS:
        (row,) = places[case.name]
        for source, rules in case.rules.items():
            bad[source][firsts[row] if (source, case.trip) == ("trip", "first") else row] = rules
    rewrite(path, pl.concat([frame, frame.head(AGAIN)]))
    places["delivered twice"] = list(range(len(lines), len(lines) + AGAIN))
    bad["purchase"] |= dict.fromkeys(places["delivered twice"], "key_unique")
    again = lines.filter(pl.col("promoted"), pl.col("row") < AGAIN)["row"].to_list()
    bad["promotion"] |= {len(lines) + row: "key_unique" for row in again}


def damage_texts(folder, lines, places, bad) -> None:
    path = folder / "products.parquet"
    frame, promoted = pl.read_parquet(path), set(lines.filter("promoted")["row"])
    words = {n: w for n, (w, _, _) in TEXTS.items()} | ODD_TEXTS | PROMPTS
    product = {lines["product_id"][places[n][0]]: w for n, w in words.items()}
    category = pl.col("product_id").replace_strict(product, default=pl.col("product_category"), return_dtype=pl.String)
    rewrite(path, frame.with_columns(product_category=category))
    for name, (_, rule, _) in TEXTS.items():
        bad["purchase"] |= dict.fromkeys(places[name], rule)
        bad["promotion"] |= dict.fromkeys(promoted & set(places[name]), rule)


def damage_codes(folder, lines, places, bad) -> None:
    """A code that nobody described, and a stamp that no local clock has shown."""
    taken = set(bad["promotion"])
    place = lines.filter(pl.col("promoted"), ~pl.col("row").is_in(taken), pl.col("row") > AGAIN).row(50, named=True)
    here = pl.all_horizontal(*[pl.col(c) == place[c] for c in ("product_id", "store_id", "week")])
    path = folder / "promotions.parquet"
    rewrite(path, pl.read_parquet(path).with_columns(
        display_location=pl.when(here).then(pl.lit("Q")).otherwise("display_location")))  # fmt: skip
    places["unknown code"] = lines.filter(here)["row"].to_list()
    bad["promotion"] |= dict.fromkeys(places["unknown code"], "display_mapped")
    mailed = pl.read_parquet(folder / "campaigns.parquet").with_row_index("row")
    campaign = mailed["campaign_id"][0]
    path = folder / "campaign_descriptions.parquet"
    skipped = pl.when(pl.col("campaign_id") == campaign).then(pl.lit(datetime(2017, 3, 12, 2, 30), pl.Datetime("ns")))
    rewrite(path, pl.read_parquet(path).with_columns(start_date=skipped.otherwise("start_date")))
    places["an hour that the clock left out"] = mailed.filter(pl.col("campaign_id") == campaign)["row"].to_list()
    bad["campaign"] |= dict.fromkeys(places["an hour that the clock left out"], "time_given")


def shown(damaged: Damaged, source: str, row: int) -> dict:
    return damaged.quarantine[source].row(by_predicate=pl.col("row") == row, named=True)


@pytest.mark.parametrize("case", ROWS, ids=named(ROWS))
def test_a_bad_row_is_set_aside_with_its_rule_and_value(case: RowDamage, damaged):
    (row,) = damaged.places[case.name]
    found = shown(damaged, "purchase", row)
    assert found["rule"] == case.rules["purchase"] and found["file"] == "transactions.parquet"
    assert re.search(case.value, found["value"]), found["value"]
    assert f"rule {case.rules['purchase']}:" in str(damaged.stopped)


@pytest.mark.parametrize(("name", "rule", "value"), [(n, r, v) for n, (_, r, v) in TEXTS.items()], ids=list(TEXTS))
def test_a_bad_text_sets_its_rows_aside_and_is_shown_short_and_safe(name, rule, value, damaged):
    for row in damaged.places[name]:
        found = shown(damaged, "purchase", row)
        assert found["rule"] == rule and value in found["value"] and len(found["value"]) < 200
        assert re.search(r"[\x00-\x1f\u202e]", found["value"]) is None
    assert re.search(r"[\x00-\x09\x0b-\x1f\u202e]", str(damaged.stopped)) is None, "the message steers the terminal"


def test_everything_is_found_and_nothing_else(damaged):
    for source in SOURCES:
        rows = damaged.quarantine[source].select("row", "rule").iter_rows() if source in damaged.quarantine else ()
        assert dict(rows) == damaged.bad[source], source
        staged, kept, count = damaged.staged[source], damaged.kept[source], len(damaged.bad[source])
        aside = pl.Series(list(damaged.bad[source]), dtype=pl.UInt32)
        assert kept.equals(staged.filter(~pl.col("row").is_in(aside.implode()))), source
        metrics = damaged.report.parts[source].metrics
        assert (metrics["read"], metrics["kept"], metrics["quarantined"]) == (staged.height, kept.height, count)
    for name in ("delivered twice", "unknown code", "an hour that the clock left out"):
        assert damaged.places[name]


def test_what_stops_says_where_and_how_to_mend_and_leaves_the_published(damaged):
    message, sums = str(damaged.stopped), {o.source: o for o in damaged.stopped.outcomes if o.name == "counts_add_up"}
    for said in ("transactions.parquet", "campaigns.parquet", "promotions.parquet", "max_quarantined_share",
                 "and 297 more", "key_unique", "display_mapped", "(the code may come from", "time_given"):  # fmt: skip
        assert said in message, f"{said!r} is not in:\n{message}"
    assert damaged.before == ["what was published before"]
    stopped = {o.source for o in damaged.stopped.outcomes if o.blocking and not o.passed}
    assert stopped == {s for s in SOURCES if damaged.bad[s]}
    for source in SOURCES:
        read, bad = damaged.staged[source].height, len(damaged.bad[source])
        assert (
            sums[source].passed and sums[source].observed == f"{read:,} read, {read - bad:,} kept + {bad:,} quarantined"
        )


@pytest.mark.parametrize("name", [*ODD_ROWS, *ODD_TEXTS, *PROMPTS])
def test_what_is_odd_and_right_is_published(name, damaged):
    rows = pl.Series(damaged.places[name], dtype=pl.UInt32)
    kept = damaged.kept["purchase"].filter(pl.col("row").is_in(rows.implode()))
    assert kept["row"].sort().equals(rows.sort(), check_names=False)
    if words := {**ODD_TEXTS, **PROMPTS}.get(name):
        texts = pl.read_parquet(damaged.paths.texts())
        category = kept.join(texts, on="text_id")["category"].unique().to_list()
        assert category == [words.lower()]


def test_what_looks_like_a_prompt_is_named_and_let_through(damaged):
    (found,) = [o for o in damaged.stopped.outcomes if (o.source, o.name) == ("purchase", "text_no_prompt")]
    assert found.verdict == "warned" and not len(found.bad) and "ignore all previous" in "".join(found.noted_values)
    rows = damaged.staged["purchase"][found.noted]["row"].to_list()
    assert sorted(rows) == sorted(r for n in PROMPTS for r in damaged.places[n])
