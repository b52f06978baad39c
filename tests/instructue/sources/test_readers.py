"""What the reader gives for the slice's files, against the files themselves."""

import shutil

import polars as pl
import pytest

from instructue.errors import ConfigError, DataError
from instructue.sources.readers import Reader, data_folder
from instructue.sources.spec import load_dataset


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("complete_journey")


@pytest.fixture(scope="module")
def files(slice_folder, dataset) -> dict[str, pl.DataFrame]:
    return {table: pl.read_parquet(slice_folder / file).with_row_index("row") for table, file in dataset.tables.items()}


@pytest.fixture(scope="module")
def rows(slice_folder, dataset) -> dict[str, pl.DataFrame]:
    with Reader(dataset, slice_folder) as reader:
        return {s.name: reader.rows(s) for s in dataset.sources}


def test_every_line_of_the_bill_is_read_once_with_its_row_number(files, rows):
    read, lines = rows["purchase"].sort("row"), files["transactions"]
    assert read["row"].to_list() == lines["row"].to_list()
    for ours, theirs in {
        "user": "household_id",
        "amount": "sales_value",
        "coupon": "coupon_disc",
        "time": "transaction_timestamp",
    }.items():
        assert read[ours].to_list() == lines[theirs].to_list(), ours
    category = lines.join(files["products"].drop("row"), on="product_id", how="left", maintain_order="left")[
        "product_category"
    ]
    assert read["category"].to_list() == category.str.to_lowercase().to_list()


def test_a_trip_is_a_basket(files, rows):
    lines = files["transactions"]
    baskets = lines.group_by("basket_id").agg(pl.col("row").min(), pl.len().alias("items"), pl.col("sales_value").sum())
    both = rows["trip"].join(baskets, on="basket_id", suffix="_brute")
    assert both.height == baskets.height == rows["trip"].height
    assert (both["items"] == both["items_brute"]).all() and (both["row"] == both["row_brute"]).all()
    assert (both["amount"] - both["sales_value"]).abs().max() < 1e-9


def test_part_of_the_week_and_day_follow_the_local_clock(rows):
    local = rows["trip"].with_columns(
        pl.col("time").dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York")
    )
    hour, day = pl.col("time").dt.hour(), pl.col("time").dt.weekday()
    words = local.with_columns(
        week=pl.when(day >= 6).then(pl.lit("weekend")).otherwise(pl.lit("weekday")),
        day=pl.when(hour < 6).then(pl.lit("night")).when(hour < 12).then(pl.lit("morning"))
        .when(hour < 17).then(pl.lit("afternoon")).otherwise(pl.lit("evening")),
    )  # fmt: skip
    assert (words["part_of_week"] == words["week"]).all() and (words["part_of_day"] == words["day"]).all()
    # By UTC they would differ: the test would not see a reader that forgot the clock otherwise.
    assert (rows["trip"]["time"].dt.weekday() != local["time"].dt.weekday()).sum() > 50


def test_promotions_are_the_promoted_lines_and_no_line_twice(files, rows):
    shown = files["promotions"].filter((pl.col("display_location") != "0") | (pl.col("mailer_location") != "0"))
    brute = files["transactions"].join(shown, on=["product_id", "store_id", "week"], how="semi")
    assert sorted(rows["promotion"]["row"]) == sorted(brute["row"]) and brute.height > 1000


def test_logs_and_profiles_are_read_whole(files, rows):
    for source, table in {"campaign": "campaigns", "redemption": "redemptions", "profile": "demographics"}.items():
        assert sorted(rows[source]["row"]) == files[table]["row"].to_list(), source


def test_user_numbers_of_any_width_become_64_bits(slice_folder, dataset, tmp_path):
    folder = shutil.copytree(slice_folder, tmp_path / "files")
    people = pl.read_parquet(folder / "demographics.parquet")
    people.with_columns(pl.col("household_id").cast(pl.Int16)).write_parquet(folder / "demographics.parquet")
    with Reader(dataset, folder) as reader:
        assert reader.rows(dataset.source("profile"))["user"].dtype == pl.Int64
    people.with_columns(pl.lit(2**63 + 1, dtype=pl.UInt64).alias("household_id")).write_parquet(
        folder / "demographics.parquet"
    )
    with Reader(dataset, folder) as reader, pytest.raises(DataError, match="'household_id' does not fit 64 bits"):
        reader.rows(dataset.source("profile"))


def test_a_folder_with_a_quote_in_its_name(slice_folder, dataset, tmp_path):
    folder = shutil.copytree(slice_folder, tmp_path / "o'hara's files")
    with Reader(dataset, folder) as reader:
        assert reader.rows(dataset.source("redemption")).height == 133


def test_a_missing_file_is_named(slice_folder, dataset, tmp_path):
    folder = shutil.copytree(slice_folder, tmp_path / "files")
    (folder / "coupons.parquet").unlink()
    with pytest.raises(
        DataError, match=r"coupons\.parquet is missing; data set 'complete_journey' needs it for table 'coupons'"
    ):
        Reader(dataset, folder)


def test_a_query_without_a_described_column_is_named(slice_folder, dataset):
    thin = dataset.source("profile").model_copy(
        update={"query": "select file_row as row, household_id, age from demographics"}
    )
    with (
        Reader(dataset, slice_folder) as reader,
        pytest.raises(DataError, match=r"gives no column \['composition', 'home_ownership'"),
    ):
        reader.rows(thin)


def test_a_time_that_is_none_is_refused(slice_folder, dataset):
    spec = dataset.source("redemption")
    numbered = spec.model_copy(
        update={"query": spec.query.replace("redemption_date as time", "epoch_us(redemption_date) as time")}
    )
    with (
        Reader(dataset, slice_folder) as reader,
        pytest.raises(DataError, match=r"coupon_redemptions.*'time' must be a date or time, it is Int64"),
    ):
        reader.rows(numbered)


def test_folders_that_are_not_there_are_named(dataset, tmp_path):
    with pytest.raises(ConfigError, match=r"no folder .*nowhere; set data.folder"):
        data_folder(dataset, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="package 'no_such_package' is not installed"):
        data_folder(dataset.model_copy(update={"package": "no_such_package"}))
    assert (data_folder(dataset) / "transactions.parquet").is_file()
