"""Real data, damaged on purpose: what stops, what is named, what is set aside, what stands."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from instructue.errors import DataError, ValidationFailed
from instructue.files import remove
from instructue.stages import STAGES

Change = Callable[[pl.DataFrame], pl.DataFrame]
SOURCES = ("purchase", "trip", "promotion", "campaign", "redemption", "profile")
AGAIN = 300  # rows of a delivery that comes twice


def damaged(folder: Path, target: Path, table: str, change: Change) -> Path:
    """A copy of the slice with one file changed."""
    shutil.copytree(folder, target)
    path = target / f"{table}.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    return target


@pytest.fixture(scope="module")
def lines(slice_folder: Path) -> pl.DataFrame:
    return pl.read_parquet(slice_folder / "transactions.parquet").with_row_index("row")


@pytest.fixture(scope="module")
def promoted(slice_folder: Path, lines: pl.DataFrame) -> pl.DataFrame:
    """Bought lines that were displayed or mailed, by brute force."""
    places = pl.read_parquet(slice_folder / "promotions.parquet").filter(
        (pl.col("display_location") != "0") | (pl.col("mailer_location") != "0")
    )
    return lines.join(places, on=["product_id", "store_id", "week"], how="semi")


@pytest.fixture(scope="module")
def victim(lines: pl.DataFrame, promoted: pl.DataFrame) -> dict:
    """A dear, unpromoted line inside a large basket, neither its first nor alone in deciding its sums."""
    plain = lines.with_columns(first=pl.col("row").min().over("basket_id"), size=pl.len().over("basket_id"))
    plain = plain.filter(pl.col("size") > 20, pl.col("sales_value") > 2, pl.col("row") > pl.col("first")).join(
        promoted, on="row", how="anti"
    )
    return plain.sort("row").row(100, named=True)


def at(row: int, column: str, value: object) -> Change:
    """Put `value` into one cell of a file."""
    return lambda f: f.with_columns(
        pl.when(pl.int_range(pl.len()) == row)
        .then(pl.lit(value, dtype=f.schema[column]))
        .otherwise(column)
        .alias(column)
    )


def swapped(one: str, other: str) -> Change:
    return lambda f: f.rename({one: other, other: one})


@dataclass
class Case:
    """One damage; bad: rows of the origin file that each source must set aside; says: what the message must name."""

    table: str
    change: Change
    bad: dict[str, set[int]]
    says: list[str] = field(default_factory=list)


def case_of(name: str, victim: dict, lines: pl.DataFrame, promoted: pl.DataFrame) -> Case:
    row, first = victim["row"], victim["first"]
    one, both = {"purchase": {row}}, {"purchase": {row}, "trip": {first}}
    if name == "negative amount":
        return Case("transactions", at(row, "sales_value", -3.5), one, ["amount_in_range", "-3.5", "from 0 to 5,000"])
    if name == "not a number":
        return Case("transactions", at(row, "sales_value", float("nan")), both, ["amount_given", "NaN"])
    if name == "infinite":
        return Case("transactions", at(row, "sales_value", float("inf")), both, ["amount_in_range", "inf", "finite"])
    if name == "infinite, no upper bound":
        return Case(
            "transactions",
            at(row, "retail_disc", float("inf")),
            both,
            ["discount_in_range", "saved_in_range", "inf", "finite"],
        )
    if name == "future":
        return Case(
            "transactions",
            at(row, "transaction_timestamp", datetime(2031, 5, 1, 12)),
            one,
            ["time_in_range", "2031-05-01", "before 2018-01-01"],
        )
    if name == "before the start":
        return Case(
            "transactions",
            at(row, "transaction_timestamp", datetime(1999, 5, 1)),
            both,
            ["time_in_range", "1999-04-30 20:00", "from 2017-01-01"],
        )
    if name == "no user":
        # The line becomes a visit of its own with its neighbours' basket.
        return Case(
            "transactions", at(row, "household_id", None), {"purchase": {row}, "trip": {row}}, ["user_given", "empty"]
        )
    if name == "delivered twice":
        twice = {len(lines) + r for r in range(AGAIN)}
        again = {len(lines) + r for r in promoted["row"].to_list() if r < AGAIN}
        return Case(
            "transactions",
            lambda f: pl.concat([f, f.head(AGAIN)]),
            {"purchase": twice, "promotion": again},
            ["key_unique", "basket_id", "product_id", "and 297 more"],
        )
    place = promoted.row(50, named=True)
    same = promoted.filter(*[pl.col(c) == place[c] for c in ("product_id", "store_id", "week")])
    here = pl.all_horizontal(*[pl.col(c) == place[c] for c in ("product_id", "store_id", "week")])
    change = lambda f: f.with_columns(display_location=pl.when(here).then(pl.lit("Q")).otherwise("display_location"))  # noqa: E731
    return Case(
        "promotions", change, {"promotion": set(same["row"].to_list())}, ["display_mapped", "Q", "promotions.parquet"]
    )


CASES = [
    "negative amount", "not a number", "infinite", "infinite, no upper bound", "future", "before the start",
    "no user", "delivered twice", "unknown code",
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_rows_stop_the_chain_or_are_set_aside(name, slice_folder, make_project, tmp_path, victim, lines, promoted):
    case = case_of(name, victim, lines, promoted)
    folder = damaged(slice_folder, tmp_path / "files", case.table, case.change)
    config, paths = make_project(folder, tmp_path)
    STAGES["sources"](config, paths)
    paths.sources.mkdir(parents=True)
    (paths.sources / "texts.parquet").write_bytes(b"what was published before")

    with pytest.raises(ValidationFailed) as raised:
        STAGES["validation"](config, paths)
    message = str(raised.value)
    for said in [
        *case.says,
        *case.bad,
        "transactions.parquet",
        "max_quarantined_share",
        *(f"row {min(rows)}" for rows in case.bad.values()),
    ]:
        assert said in message, f"{said!r} is not in:\n{message}"
    assert [p.name for p in paths.sources.iterdir()] == ["texts.parquet"], "published although validation stopped"
    assert (paths.sources / "texts.parquet").read_bytes() == b"what was published before"
    check_quarantine(paths, case.bad, "blocking")
    assert {o.source for o in raised.value.outcomes if o.blocking and not o.passed} == set(case.bad)

    tolerant, _ = make_project(folder, tmp_path, {"validation.max_quarantined_share": 0.02})
    report = STAGES["validation"](tolerant, paths)
    check_quarantine(paths, case.bad, "tolerated")
    for source in SOURCES:
        staged, kept = pl.read_parquet(paths.table(source, staged=True)), pl.read_parquet(paths.table(source))
        bad = pl.Series(sorted(case.bad.get(source, [])), dtype=pl.UInt32)
        assert kept.equals(staged.filter(~pl.col("row").is_in(bad.implode()))), source
        metrics = report.parts[source].metrics
        assert (metrics["read"], metrics["kept"], metrics["quarantined"]) == (staged.height, kept.height, len(bad))


def check_quarantine(paths, bad: dict[str, set[int]], severity: str) -> None:
    files = {p.stem: pl.read_parquet(p) for p in paths.quarantine.glob("*.parquet")}
    assert {name: set(f["row"]) for name, f in files.items()} == bad
    for source, rows in files.items():
        assert rows.height == len(bad[source])
        assert (
            set(rows["severity"]) == {severity}
            and set(rows["source"]) == {source}
            and set(rows["file"]) == {"transactions.parquet"}
        )
        assert rows.select(pl.col("rule", "reason", "value").str.len_chars().min()).row(0) > (0, 0, 0)


def test_clean_slice_passes_with_nothing_set_aside(published):
    _, paths = published
    assert [p.name for p in paths.quarantine.iterdir()] == ["summary.json"]
    for name in (*SOURCES, "texts"):
        staged, out = (
            pl.read_parquet(p) for p in (paths.staged / f"{name}.parquet", paths.sources / f"{name}.parquet")
        )
        assert out.equals(staged) and out.height > 100


def test_an_empty_source_stops_whatever_is_tolerated(slice_folder, make_project, tmp_path):
    folder = damaged(slice_folder, tmp_path / "files", "coupon_redemptions", lambda f: f.clear())
    config, paths = make_project(folder, tmp_path, {"validation.max_quarantined_share": 1.0})
    STAGES["sources"](config, paths)
    with pytest.raises(
        ValidationFailed, match=r"(?s)'redemption' from .*coupon_redemptions.parquet.*not_empty: the table has rows"
    ) as raised:
        STAGES["validation"](config, paths)
    assert "max_quarantined_share" not in str(raised.value), "tolerance cannot mend an empty source"
    assert not paths.sources.exists()


def test_swapped_user_column_stops_whatever_is_tolerated(slice_folder, make_project, tmp_path):
    swap = swapped("household_id", "basket_id")
    folder = damaged(slice_folder, tmp_path / "files", "transactions", swap)
    config, paths = make_project(folder, tmp_path, {"data.max_users": 0, "validation.max_quarantined_share": 0.5})
    STAGES["sources"](config, paths)
    with pytest.raises(
        ValidationFailed, match=r"(?s)'campaign'.*users_match: of its users, the share that purchase does not know"
    ):
        STAGES["validation"](config, paths)
    assert not paths.sources.exists()


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        ("transactions", swapped("sales_value", "transaction_timestamp"),
         r"source 'purchase' from .*transactions.parquet.*'amount' must be a number"),
        ("transactions", lambda f: f.drop("sales_value"), r"'purchase' from .*transactions.parquet.*sales_value"),
        ("products", lambda f: f.drop("brand"), r"source 'purchase' from .*joined with .*products.parquet.*brand"),
        ("demographics", lambda f: f.with_columns(pl.format("H{}", "household_id").alias("household_id")),
         r"source 'profile' from .*demographics.parquet.*'household_id' must be a whole number, it is String"),
    ],
    ids=["swapped types", "missing column", "missing column of a joined file", "users as text"],
)  # fmt: skip
def test_a_file_of_another_form_stops_before_anything_is_staged(
    table, change, says, slice_folder, make_project, tmp_path
):
    config, paths = make_project(damaged(slice_folder, tmp_path / "files", table, change), tmp_path)
    with pytest.raises(DataError, match=says):
        STAGES["sources"](config, paths)
    assert not paths.staged.exists()


@pytest.mark.parametrize("table", ["transactions", "promotions", "demographics"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short_stops_before_anything_is_staged(table, share, slice_folder, make_project, tmp_path):
    folder = shutil.copytree(slice_folder, tmp_path / "files")
    whole = (folder / f"{table}.parquet").read_bytes()
    (folder / f"{table}.parquet").write_bytes(whole[: int(len(whole) * share)])
    config, paths = make_project(folder, tmp_path)
    with pytest.raises(DataError, match=rf"{table}\.parquet cannot be read as Parquet; is it cut short"):
        STAGES["sources"](config, paths)
    assert not paths.staged.exists()


def test_a_file_damaged_inside_stops_before_anything_is_staged(slice_folder, make_project, tmp_path):
    folder = shutil.copytree(slice_folder, tmp_path / "files")
    data = bytearray((folder / "transactions.parquet").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    (folder / "transactions.parquet").write_bytes(data)
    config, paths = make_project(folder, tmp_path)
    with pytest.raises(DataError, match=r"transactions\.parquet"):
        STAGES["sources"](config, paths)
    assert not paths.staged.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop("amount"), "columns: the columns .* are there; found amount missing"),
        (lambda f: f.with_columns(pl.col("amount").cast(pl.String)), "types: .*; found amount is String"),
    ],
    ids=["missing column", "wrong type"],
)
def test_a_staged_table_of_another_form_stops(change, says, staged, tmp_path, make_project):
    config, paths = make_project(root=tmp_path, changes={"validation.max_quarantined_share": 0.9})
    shutil.copytree(staged[1].staged, paths.staged)
    change(pl.read_parquet(paths.table("trip", staged=True))).write_parquet(paths.table("trip", staged=True))
    with pytest.raises(ValidationFailed, match=rf"(?s)source 'trip' from .*transactions.parquet.*rule {says}"):
        STAGES["validation"](config, paths)
    remove(paths.table("trip", staged=True))
    with pytest.raises(DataError, match=r"trip.parquet is not there; run the sources stage first"):
        STAGES["validation"](config, paths)
    assert not paths.sources.exists()
