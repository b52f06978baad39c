"""Large sources in pieces: the same bytes however many, and only files that are new or changed are read."""

from pathlib import Path

import duckdb
import polars as pl
import pytest
import yaml

from instructue.config import Config, parse_config
from instructue.errors import DataError
from instructue.paths import Paths
from instructue.sources.ingest import ROW_GROUP, stage_sources, write_table, write_tables
from instructue.sources.readers import Reader
from instructue.sources.rowwise import is_rowwise
from instructue.sources.spec import load_dataset

ROOT = Path(__file__).parents[3]
SHOP = """name: shop
title: a shop
timezone: Europe/Berlin
start: "2024-01-01"
end: "2025-01-01"
user: customer
tables:
  orders: orders/*/orders.csv
  items: items.csv
  people: people/*.jsonl
sources:
  - name: order
    title: orders
    event: order
    file: orders
    query: |
      select o.file_row as row, customer, "at" as time, price as amount, id, coalesce(word, code) as item,
             day as booked
      from orders o left join items using (code)
    key: [id]
    amount: {min: 0}
    attributes: [item, booked]
    text: "bought {item}, booked on {booked}"
  - name: visit
    title: days with an order
    event: visit
    file: orders
    query: |
      select min(file_row) as row, customer, min("at") as time, "at"::date as day, count(*) as orders,
             if(count(*) > 3, 'many', 'some') as size from orders group by customer, "at"::date
    key: [customer, day]
    numbers: {orders: {min: 1}}
    attributes: [size]
    text: "a visit with {size} orders"
  - name: person
    kind: attributes
    title: people
    event: attribute
    file: people
    query: select file_row as row, customer, town, age from people
    key: [customer]
    attributes: [town, age]
    text: "{attribute}: {value}"
"""


def day(folder: Path, number: int, rows: int = 40) -> Path:
    """Orders of one day: users in disorder, times that tie, one row of nobody, a price that only looks whole on day 1,
    codes that are numbers on some days."""
    path = folder / "orders" / f"day={number:02}" / "orders.csv"
    path.parent.mkdir(exist_ok=True)
    lines = ["id,customer,at,price,code"]
    for n in range(rows):
        user = "" if n == 7 else (n * 7 + number) % 11
        price, code = (n % 5, f"{n % 3:03}") if number == 1 else (n % 5 + 0.5, "x" if n % 3 else "001")
        lines.append(f"{number * 1000 + n},{user},2024-02-{number:02} {n % 6 + 8:02}:00:00,{price},{code}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def shop(tmp_path) -> Path:
    folder = tmp_path / "shop"
    for name in ("orders", "people"):
        (folder / name).mkdir(parents=True)
    (folder / "shop.yaml").write_text(SHOP)
    (folder / "items.csv").write_text("code,word\nx,shoes\n001,a hat\n002,\n")
    for number in (1, 2, 4):
        day(folder, number)
    for part in range(2):
        people = {"customer": [part, part + 2, None], "town": ["Ulm", None, "Bonn"], "age": [30 + part, 40, None]}
        pl.DataFrame(people).write_ndjson(folder / "people" / f"{part}.jsonl")
    return folder


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """What is read from now on: folders of single files, and of sources that are read whole."""
    seen: list[str] = []
    only, batches, rows = Reader.only, Reader.batches, Reader.rows

    def spy(method, said):
        return lambda self, *given: (seen.append(said(*given)), method(self, *given))[1]

    monkeypatch.setattr(Reader, "only", spy(only, lambda table, path: path.parent.name))
    monkeypatch.setattr(Reader, "batches", spy(batches, lambda source, _: f"batches of {source.name}"))
    monkeypatch.setattr(Reader, "rows", spy(rows, lambda source: f"all of {source.name}"))
    return seen


def config(shop: Path, rows: int, users: int = 0) -> Config:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["data"] |= {"dataset": "shop", "described_in": str(shop), "partition_rows": rows, "max_users": users}
    return parse_config(raw, "params.yaml")


def staged(shop: Path, root: Path, rows: int, users: int = 0) -> tuple[dict[str, bytes], dict]:
    report = stage_sources(config(shop, rows, users), Paths(root))
    files = {path.name: path.read_bytes() for path in sorted(Paths(root).staged.iterdir())}
    return files, {name: (part.rows, part.metrics, part.tables) for name, part in report.parts.items()}


@pytest.mark.parametrize("users", [0, 4])
def test_the_same_bytes_in_any_number_of_pieces(shop, tmp_path, users):
    whole = staged(shop, tmp_path / "whole", 0, users)
    assert whole[1]["order"][0] == {"order": 120} if not users else 0 < whole[1]["order"][0]["order"] < 120
    for rows in (5, 50) if not users else (25,):
        assert staged(shop, tmp_path / str(rows), rows, users) == whole, rows
    table = pl.read_parquet(Paths(tmp_path / "whole").table("order", staged=True))
    assert table["user"].null_count() == 3 and (users or table["row"].sort().to_list() == list(range(120)))


def test_real_sources_have_the_same_bytes_in_pieces(make_project):
    files = {}
    for rows in (0, 3000):
        settings, paths = make_project(changes={"data.partition_rows": rows})
        stage_sources(settings, paths)
        files[rows] = {path.name: path.read_bytes() for path in sorted(paths.staged.iterdir())}
    assert files[0] == files[3000]
    assert list(paths.ingested("complete_journey").iterdir())


def test_only_new_and_changed_files_are_read(shop, tmp_path, reads):
    def again(*expected: str, compare: bool = True) -> None:
        reads.clear()
        found = staged(shop, tmp_path / "kept", 25)
        # Rows of groups are of many files: that source is read whole each time.
        assert [r for r in reads if " " not in r] == list(expected)
        assert [r for r in reads if " " in r and r != "batches of order"] == ["batches of visit", "all of person"]
        assert not compare or found == staged(shop, tmp_path / "fresh", 0)

    again("day=01", "day=02", "day=04", compare=False)
    again(compare=False)
    day(shop, 5)
    again("day=05")
    day(shop, 3)  # rows of later days move on, though their files are not read
    again("day=03")
    day(shop, 2, rows=30)
    again("day=02", compare=False)
    same = shop / "orders" / "day=06" / "orders.csv"  # delivered again: another day by its folder
    same.parent.mkdir()
    same.write_bytes((shop / "orders" / "day=05" / "orders.csv").read_bytes())
    again("day=06")
    same.unlink()
    (shop / "orders" / "day=04" / "orders.csv").unlink()
    again(compare=False)
    kept = Paths(tmp_path / "kept").ingested("shop")
    assert len(list(kept.iterdir())) == 4, "pieces of files that are gone are removed"
    (shop / "items.csv").write_text("code,word\nx,boots\n")
    again("day=01", "day=02", "day=03", "day=05", compare=False)
    (shop / "shop.yaml").write_text(SHOP.replace("bought {item}", "ordered {item}"))
    again("day=01", "day=02", "day=03", "day=05")


def test_a_damaged_file_is_named_and_leaves_no_piece(shop, tmp_path):
    first = staged(shop, tmp_path, 50)[0]
    path = day(shop, 5)
    path.write_text(path.read_text().replace("5001,", '5001,"', 1))
    with pytest.raises(DataError, match=r"day=05.orders\.csv"):
        staged(shop, tmp_path, 50)
    assert {p.name: p.read_bytes() for p in Paths(tmp_path).staged.iterdir()} == first
    day(shop, 5)
    assert staged(shop, tmp_path, 50) == staged(shop, tmp_path / "fresh", 0)


def test_tables_that_follow_each_other_are_the_file_that_they_are_at_once(tmp_path):
    n = ROW_GROUP + 10
    table = pl.DataFrame({"a": pl.int_range(n, eager=True), "b": pl.int_range(n, eager=True) % 7 / 2})
    table = table.with_columns(t=pl.col("a").cast(pl.Datetime("us", "Europe/Berlin")), s=pl.col("b").cast(pl.String))
    write_table(table, tmp_path / "one")
    for step in (1000, ROW_GROUP - 1, n):
        write_tables((table.slice(at, step) for at in range(0, n, step)), tmp_path / "many")
        assert (tmp_path / "many").read_bytes() == (tmp_path / "one").read_bytes(), step


ROWWISE = {
    "select file_row as row, customer from orders": True,
    "select o.file_row as row, lower(code), local(price) from orders o where price > 3": True,
    "select orders.file_row as row from orders left join (select code, max(word) as w from items group by code) "
    "using (code)": True,
    "select 2 * file_row as row from orders": False,
    "select file_row as row, file_row % 7 as k from orders": False,
    "select file_row as row, FILE_ROW as k from orders": False,
    "select i.file_row as row from orders o join items i using (code)": False,
    "select *, file_row as row from orders": False,
    "select file_row as row from orders limit 5": False,
    "select distinct file_row as row from orders": False,
    "select file_row as row from orders order by price": False,
    "select min(file_row) as row, customer from orders group by customer": False,
    "select sum(price), count(*) from orders": False,
    "select file_row as row, SUM(price) over () as s from orders": False,
    "select file_row as row from orders qualify row_number() over (partition by customer order by at) = 1": False,
    "select file_row as row from orders where price > (select avg(price) from orders)": False,
    "select o.file_row as row from orders o join orders p using (customer)": False,
    "select o.file_row as row from items right join orders o using (code)": False,
    "select o.file_row as row from orders o full join items using (code)": False,
    "select o.file_row as row from orders o, items": False,
    "select o.file_row as row from orders o join read_csv('x.csv') using (code)": False,
    "select o.file_row as row from orders o join elsewhere using (code)": False,
    "select file_row as row from orders tablesample 10%": False,
    "select file_row as row, random() as r from orders": False,
    "select file_row as row, current_date as d from orders": False,
    "select file_row as row from orders union all select file_row as row from orders": False,
    "with o as (from orders) select file_row as row from o": False,
}


@pytest.mark.parametrize("query", list(ROWWISE))
def test_queries_whose_files_may_be_read_one_by_one(described, query):
    connection, dataset = described
    source = dataset.source("order").model_copy(update={"query": query})
    assert is_rowwise(connection, dataset, source) is ROWWISE[query]


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    path = tmp_path_factory.mktemp("described") / "shop.yaml"
    path.write_text(SHOP)
    with duckdb.connect() as connection:
        yield connection, load_dataset(str(path))
