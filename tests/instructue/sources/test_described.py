"""Wrong descriptions are named by file and line; the schema for editors is up to date; `init` and `describe`."""

import json
from pathlib import Path

import jsonschema
import polars as pl
import pytest
import yaml

from instructue.__main__ import main
from instructue.errors import ConfigError, DataError
from instructue.paths import Paths
from instructue.sources.describe.figures import describe
from instructue.sources.describe.show import show_dataset
from instructue.sources.init.columns import as_moment, look
from instructue.sources.init.run import init
from instructue.sources.readers import Reader, data_folder
from instructue.sources.schema import PLACE, schema_text
from instructue.sources.spec import load_dataset, read_dataset

GOOD = """name: mine
title: a shop
start: "2024-01-01"
end: "2025-01-01"
user: customer
tables:
  orders: orders.csv
sources:
  - name: order
    title: orders
    event: order
    file: orders
    query: select file_row as row, customer, "at" as time, id, item from orders
    key: [id]
    attributes: [item]
    text: "{item}"
"""

FAULTS = {
    "a field misspelt": ("    event: order\n", "    evnt: order\n", r"line 11, sources\.0 \(order\)\.evnt.* 'event'"),
    "a field missing": ("user: customer\n", "", r"line 1, user: it is missing; add `user: \.\.\.`"),
    "a bad name": ("  - name: order\n", "  - name: Order 1\n", r"line 9, sources\.0 .*'Order 1' is no name"),
    "no such table": ("    file: orders\n", "    file: order\n", r"'order' is not among tables \['orders'\]"),
    "no such zone": ("user: c", "timezone: Paris\nuser: c", r"timezone 'Paris' is not known; give an IANA name"),
    "dates the wrong way": ('end: "2025-01-01"', 'end: "2023-01-01"', "start 2024-01-01 must lie before end 2023"),
    "a date unquoted": ('start: "2024-01-01"', "start: 2024-01-01", r"line 3, start: .*put it in quotes"),
    "an unknown slot": ('text: "{item}"', 'text: "{itm}"', r"line 9, sources\.0 \(order\): text names \['itm'\]"),
    "an unknown ending": ("orders.csv", "orders.xlsx", r"line 7, tables\.orders.*'orders\.xlsx' cannot be told"),
    "an option of another format": (
        "orders: orders.csv", 'orders: {file: o.parquet, delimiter: ";"}', r"line 7, .*\['delimiter'\] are for CSV",
    ),
    "a table's option misspelt": (
        "orders: orders.csv", 'orders:\n    file: o\n    delimeter: ";"', r"line 9, tables\.orders\.delimeter.*'deli",
    ),
    "no YAML": ("title: a shop", "title: [a shop", "not YAML: .*line 3"),
}  # fmt: skip


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_wrong_description_is_named_by_line(tmp_path, fault):
    right, wrong, said = FAULTS[fault]
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    assert read_dataset(path).folder == str(tmp_path)
    assert right in GOOD
    path.write_text(GOOD.replace(right, wrong))
    with pytest.raises(ConfigError, match=rf"(?s)mine\.yaml is.*{said}"):
        read_dataset(path)


def test_a_query_that_cannot_be_run_is_named_by_line(tmp_path):
    (tmp_path / "mine.yaml").write_text(GOOD)
    (tmp_path / "orders.csv").write_text("id,customer,at,thing\n1,1,2024-01-01,a\n")
    dataset = read_dataset(tmp_path / "mine.yaml")
    with (
        Reader(dataset, data_folder(dataset)) as reader,
        pytest.raises(
            ConfigError, match=r"mine\.yaml, line 13: the query of source 'order' cannot be run: .*\"item\" not found"
        ),
    ):
        reader.rows(dataset.sources[0])


def test_the_schema_for_editors_is_up_to_date_and_fits_our_descriptions():
    assert PLACE.read_text(encoding="utf-8") == schema_text(), "run python -m instructue.sources.schema"
    check = jsonschema.Draft202012Validator(json.loads(schema_text()))
    examples = Path(__file__).parents[3] / "examples"
    ours = [p for p in [*PLACE.parent.glob("*.yaml"), *examples.rglob("*.yaml")] if "." not in p.stem]
    assert {p.stem for p in ours} == {"complete_journey", "superapp", "movielens"}
    for path in ours:
        check.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert not check.is_valid(yaml.safe_load(GOOD.replace("event:", "evnt:")))


@pytest.fixture
def shop(tmp_path) -> Path:
    """A made-up shop's folder: monthly orders with named users, a log of views, users, and products."""
    folder = tmp_path / "shop"
    (folder / "views").mkdir(parents=True)
    for month in (1, 2):
        rows = [
            f"{month}{n:02};cu-{n % 7:04};{n % 28 + 1:02}.0{month}.2024 {n % 24:02}:15;P{n % 5};{n},50"
            for n in range(60)
        ]
        text = "Order No;Customer-ID;Ordered On;SKU;Total Price\n" + "\n".join(rows)
        (folder / f"orders_2024-0{month}.csv").write_text(text)
    views = [{"customerId": f"cu-{n % 7:04}", "ts": 1704100000000 + n * 7_000_000, "page": f"page {n % 9}",
              "url": f"https://shop/{n}"} for n in range(200)]  # fmt: skip
    pl.DataFrame(views).write_ndjson(folder / "views" / "a.jsonl")
    pl.DataFrame({"customer_id": [f"cu-{n:04}" for n in range(7)], "email": [f"{n}@x.org" for n in range(7)],
                  "city": ["Ulm", "Bern"] * 3 + [None]}).write_parquet(folder / "customers.parquet")  # fmt: skip
    (folder / "products.csv").write_text("sku,name\n" + "\n".join(f"P{n},Thing {n}" for n in range(5)))
    return folder


def test_init_sees_roles_times_and_look_ups(shop, tmp_path):
    out = tmp_path / "described" / "shop.yaml"
    proposal = init(str(shop), out)
    dataset = read_dataset(out)
    assert data_folder(dataset).samefile(shop) and (dataset.start, dataset.end) == ("2024-01-01", "2024-02-29")
    view, order, customer = dataset.sources
    assert (view.name, order.name, customer.name) == ("view", "order", "customer") and customer.kind == "attributes"
    assert dataset.tables["orders"] == "orders_*.csv" and dataset.user == "customer_id"
    with Reader(dataset, data_folder(dataset)) as reader:
        rows = {s.name: reader.rows(s) for s in dataset.sources}
    assert rows["order"].height == 120 and rows["order"]["name"].null_count() == 0
    assert rows["order"]["amount"].sum() == sum(n + 0.5 for n in range(60)) * 2
    assert rows["order"]["time"].dt.month().n_unique() == 2 and order.stamped_in == "local"
    assert view.stamped_in == "utc" and str(rows["view"]["time"].min()).startswith("2024-01-01 09:06:40")
    assert set(rows["view"]["user"]) == set(rows["order"]["user"]) == set(rows["customer"]["user"])
    assert "email (personal data)" in proposal.yaml and "url (links)" in proposal.yaml
    assert "SKU (its words come from products)" in proposal.yaml and order.attributes[0] == "name"
    assert "have an order with" in proposal.yaml and "within 11 days" in (out.parent / "shop.tasks.yaml").read_text()
    assert customer.attributes == ["city"] and order.key == ["order_no"]
    with pytest.raises(ConfigError, match="is there already"):
        init(str(shop), out)


def test_init_says_when_nothing_looks_like_users(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(ConfigError, match="no column looks like a user's"):
        init(str(tmp_path), tmp_path / "a.yaml")
    with pytest.raises(DataError, match=r"holds no file that ends in \.csv"):
        (tmp_path / "empty").mkdir()
        init(str(tmp_path / "empty"), tmp_path / "a.yaml")
    assert not (tmp_path / "a.yaml").exists()


def test_a_day_and_month_that_cannot_be_told_apart_are_said():
    both = as_moment(look("date", pl.Series(["03/04/2024", "05/06/2024"])), '"date"')
    one = as_moment(look("date", pl.Series(["03/04/2024", "25/06/2024"])), '"date"')
    assert both is not None and "CHECK which of day and month" in both.reason
    assert one is not None and "CHECK" not in one.reason and "'%d/%m/%Y'" in one.sql
    assert as_moment(look("price", pl.Series([1700000000, 1700000001])), "price") is None


def test_describe_counts_what_is_there(shop, tmp_path, capsys):
    out = tmp_path / "shop.yaml"
    init(str(shop), out)
    assert main(["describe", str(out), "--root", str(tmp_path)]) == 0
    page = (tmp_path / "reports" / "describe-shop.html").read_text(encoding="utf-8")
    dataset = load_dataset(str(out))
    figures = describe(dataset, data_folder(dataset))
    view, order, customer = figures.sources
    assert figures.users == 7 and figures.events == 320 and sum(n for _, _, n in figures.histogram) == 7
    assert order.months == [("2024-01", 60), ("2024-02", 60)] and order.outside == 0 and order.lengths[-1] == 18
    assert customer.users == 6 and customer.rows == 6  # the seventh has no city
    assert view.rows == 200 and view.texts[0][1] == 23
    said = capsys.readouterr().out
    assert "320 events" in said and "2024-02" in said and "Thing" in said
    assert page.count("<svg") == 3 and "http" not in page.replace("https://shop", "") and "Thing 1" in page


def test_the_page_reads_nothing_as_mark_up(shop, tmp_path):
    (shop / "products.csv").write_text("sku,name\n" + "\n".join(f"P{n},<script>x{n}</script>" for n in range(5)))
    init(str(shop), tmp_path / "shop.yaml")
    page = show_dataset(str(tmp_path / "shop.yaml"), Paths(tmp_path)).read_text(encoding="utf-8")
    assert "<script>" not in page and "&lt;script&gt;x1" in page
