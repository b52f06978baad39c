"""A team's own files, written from the real households of the small cut; every fault is planted and must be named."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import yaml

from instructue.errors import ConfigError, DataError, LeakageError
from instructue.evaluation.label_files import FileLabels, ItemFile
from instructue.evaluation.recommendation import Basket
from instructue.evaluation.rules import Items, Occurs
from instructue.evaluation.tasks import asked, read_tasks, requests_for

BINARY = {
    "name": "own", "family": "marketing", "description": "their own", "instruction": "Will this {who} come?",
    "yes": "Yes, it will.", "no": "No, it will not.",
}  # fmt: skip
RANKED = {"name": "own", "family": "recommendation", "description": "theirs", "instruction": "What will it buy?"}


def own_task(folder, label, dataset, **changes):
    """The one task of a tasks file in `folder`, as a team would write it."""
    task = (RANKED if label["rule"] == "item_file" else BINARY) | changes | {"label": label}
    (folder / "own.tasks.yaml").write_text(yaml.safe_dump({"tasks": [task]}), encoding="utf-8")
    return read_tasks(folder / "own.tasks.yaml", dataset)[0]


@pytest.fixture
def dataset(small):
    return small.tables.dataset


@pytest.fixture(scope="module")
def buys(small):
    """Who buys coffee within four weeks, and when: the same labels by rule, to hold the file's against."""
    rule = Occurs(rule="occurs", source="purchase", where="category = 'coffee'", days=28)
    return rule.labels(small).select("user", "label")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("words", [("true", "false"), ("1", "0"), ("YES", "No"), (True, False), (1, 0), (1.0, 0.0)])
def test_labels_from_a_file_are_those_of_the_rule(tmp_path, small, dataset, buys, suffix, words):
    said = pl.Series([words[0] if label else words[1] for label in buys["label"]])
    frame = pl.DataFrame({"customer": buys["user"].cast(pl.String), "bought": said, "note": "x"}).sample(
        fraction=1, shuffle=True, seed=1
    )
    frame.write_csv(tmp_path / "l.csv") if suffix == "csv" else frame.write_parquet(tmp_path / "l.parquet")
    label = {"rule": "file", "path": f"l.{suffix}", "user": "customer", "label": "bought"}
    task = own_task(tmp_path, label, dataset)
    found = task.label.labels(small)
    assert found.schema == {"user": pl.Int64, "context": pl.String, "label": pl.Boolean}
    assert found.select("user", "label").equals(buys.sort("user"))
    assert task.label.files() == [tmp_path / f"l.{suffix}"]
    assert task.label.notes(small) == [f"l.{suffix} has no times, so whether its labels came after the snapshot "
                                       "cannot be checked"]  # fmt: skip


def test_context_columns_word_the_instruction_and_tell_rows_apart(tmp_path, small, dataset):
    first, second = small.users[0], small.users[1]
    pl.DataFrame({
        "user": [second, first, first], "label": [0, 1, 0], "Campaign Name": ["b", "b", "a"], "size": [3, 3, 4],
        "mailed": ["yes", "no", "yes"],
    }).write_parquet(tmp_path / "l.parquet")  # fmt: skip
    label = {"rule": "file", "path": "l.parquet", "context": ["Campaign Name", "size"], "treatment": "mailed"}
    task = own_task(tmp_path, label, dataset, instruction="Will this {who} answer {Campaign Name} of {size}?")
    labels = task.label.labels(small)
    assert labels.to_dicts() == [
        {"user": first, "context": "a | 4", "label": False, "treated": True},
        {"user": first, "context": "b | 3", "label": True, "treated": False},
        {"user": second, "context": "b | 3", "label": False, "treated": True},
    ]
    rows = asked(task, small)
    assert rows.select("user", "context").equals(labels.select("user", "context"))
    assert rows["instruction"].to_list() == [f"Will this household answer {c}?" for c in ("a of 4", "b of 3", "b of 3")]
    assert requests_for([task], small)["context"].to_list() == labels["context"].to_list()
    with pytest.raises(ConfigError, match=r"task own: yes names \['size'\]; it may name \['who'\]"):
        own_task(tmp_path, label, dataset, yes="Yes, to {size}.")


def test_a_context_column_called_context_is_the_context(tmp_path, small, dataset):
    pl.DataFrame({"user": small.users[:2], "label": [0, 1], "context": ["a", "b"]}).write_csv(tmp_path / "l.csv")
    label = {"rule": "file", "path": "l.csv", "context": ["context"]}
    assert asked(own_task(tmp_path, label, dataset, instruction="Is it {context}?"), small)[
        "instruction"
    ].to_list() == [
        "Is it a?",
        "Is it b?",
    ]


def test_users_who_are_not_judged_are_left_out_and_counted(tmp_path, small, dataset):
    users = [*small.users[:3], 10**9, 10**9 + 1]
    when = ["2017-10-01", "2017-10-01T04:00:00Z", "2017-12-05 13:30", "2017-12-05 13:30:59", "2017-12-05T00:00+02:00"]
    pl.DataFrame({"user": users, "label": [1, 0, 1, 0, 1], "at": when}).write_csv(tmp_path / "l.csv")
    task = own_task(tmp_path, {"rule": "file", "path": "l.csv", "time": "at"}, dataset)
    assert task.label.labels(small)["user"].to_list() == users[:3]
    assert task.label.notes(small) == ["l.csv: 2 of 5 rows are of users who are not judged; left out"]


@pytest.mark.parametrize("typed", [str, lambda t: t, lambda t: t.replace(tzinfo=None), lambda t: t.date()])
def test_a_label_from_before_the_snapshot_is_refused(tmp_path, small, dataset, typed):
    times = [typed(small.snapshot + timedelta(days=d)) for d in (0, 5, -1, -2)]
    pl.DataFrame({"user": small.users[:4], "label": [0, 1, 1, 0], "at": times}).write_parquet(tmp_path / "l.parquet")
    task = own_task(tmp_path, {"rule": "file", "path": "l.parquet", "time": "at"}, dataset)
    with pytest.raises(
        LeakageError, match=r"l\.parquet, row 3: at is 2017-09-30 00:00.*2 such rows.*remove these rows"
    ):
        task.label.labels(small)


@pytest.mark.parametrize(("rows", "context", "message"), [
    ([("1", "maybe", "a"), ("2", "1", "a")], [], r"l\.csv, row 1: label is 'maybe'; write true or false"),
    ([("1", "1", "a"), ("2", "", "a")], [], r"row 2: label is empty"),
    ([("1", "1", "a"), ("Bob", "1", "a"), ("Al", "1", "a")], [], r"row 2: user is 'Bob' \(2 such rows\); users of"),
    ([("1", "1", "a"), ("2.5", "1", "a")], [], r"row 2: user is '2\.5'"),
    ([("7", "1", "a"), ("8", "1", "b"), ("7", "0", "b")], [], r"rows 1 and 3 are both of user 7; .* under `context`"),
    ([("7", "1", "a"), ("7", "1", "b"), ("7", "0", "b")], ["tag"], r"rows 2 and 3 are both of user 7, context 'b'"),
    ([("7", "1", "a"), ("8", "1", "")], ["tag"], r"row 2: tag is empty"),
])  # fmt: skip
def test_rows_that_cannot_be_meant_are_named(tmp_path, small, dataset, rows, context, message):
    pl.DataFrame(rows, schema=["user", "label", "tag"], orient="row").write_csv(tmp_path / "l.csv")
    task = own_task(tmp_path, {"rule": "file", "path": "l.csv", "context": context}, dataset)
    with pytest.raises(DataError, match=message):
        task.label.labels(small)


def test_an_unreadable_time_is_named(tmp_path, small, dataset):
    pl.DataFrame({"user": ["1", "2"], "label": ["1", "0"], "at": ["2017-10-05", "5.10.2017"]}).write_csv(
        tmp_path / "l.csv"
    )
    task = own_task(tmp_path, {"rule": "file", "path": "l.csv", "time": "at"}, dataset)
    with pytest.raises(DataError, match=r"row 2: at is '5\.10\.2017'; write a time like 2017-10-05"):
        task.label.labels(small)


@pytest.mark.parametrize(("label", "message"), [
    ({"path": "none.csv"}, r"own\.tasks\.yaml:\n  task own: path: .*none\.csv is not there"),
    ({"label": "churn"}, r"task own: label: .*l\.csv has no column 'churn'; it has \['user', 'label', 'tag'\]"),
    ({"context": ["town"]}, r"context town: .* no column 'town'.* `context:`"),
    ({"path": "semi.csv"}, r"separate its columns by commas"),
    ({"path": "l.xlsx"}, r"neither \.parquet nor \.csv"),
    ({"path": "torn.parquet"}, r"path: .*torn\.parquet cannot be read"),
    ({"context": ["label"]}, r"task own: label: column 'label' is named twice"),
    ({"context": ["who"]}, r"may not be called"),
    ({"lable": "churn"}, r"task own: label\.lable: no such field; there are \['rule', 'path', 'user'"),
    ({"path": None}, r"task own: label\.path: .*\(got None\)"),
])  # fmt: skip
def test_a_label_that_names_what_is_not_there_is_refused_at_once(tmp_path, dataset, label, message):
    (tmp_path / "l.csv").write_text("user,label,tag\n1,1,a\n", encoding="utf-8")
    (tmp_path / "semi.csv").write_text("user;label\n1;1\n", encoding="utf-8")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "l.xlsx").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=message):
        own_task(tmp_path, {"rule": "file", "path": "l.csv"} | label, dataset)


def test_a_file_that_changed_is_read_again(tmp_path, small):
    path = tmp_path / "l.csv"
    rule = FileLabels(rule="file", path=path)
    path.write_text(f"user,label\n{small.users[0]},1\n", encoding="utf-8")
    assert rule.labels(small)["label"].to_list() == [True]
    path.write_text(f"user,label\n{small.users[0]},no\n", encoding="utf-8")
    assert rule.labels(small)["label"].to_list() == [False]


@pytest.fixture(scope="module")
def baskets(small, tmp_path_factory):
    """What the small cut's households bought, by category, as an order file and an items file."""
    folder = tmp_path_factory.mktemp("orders")
    bought = small.with_attributes("purchase", small.tables.events["purchase"]).select("user", "time", item="category")
    bought = bought.filter(pl.col("item") != "unknown")
    bought.write_parquet(folder / "orders.parquet")
    bought.select("item").unique().with_columns(text="category " + pl.col("item")).write_csv(folder / "items.csv")
    return folder


@pytest.mark.parametrize("new_only", [False, True])
def test_a_file_of_items_gives_the_basket_of_the_rule(small, baskets, dataset, new_only):
    known = Items(rule="items", source="purchase", attribute="category", where="category <> 'unknown'", min_users=5,
                  new_only=new_only, days=28)  # fmt: skip
    label = {"rule": "item_file", "path": "orders.parquet", "items": "items.csv", "time": "time", "days": 28,
             "min_users": 5, "new_only": new_only}  # fmt: skip
    task = own_task(baskets, label, dataset, answer="The {who} will buy {item}.")
    rule = task.ranking
    catalogue = rule.catalogue(small)
    assert catalogue == known.catalogue(small) and len(catalogue) > 50
    assert rule.texts(small) == [f"category {item}" for item in catalogue] and known.texts(small) == catalogue
    for future in (False, True):
        expected = known.occasions(small, catalogue, future=future)
        np.testing.assert_array_equal(rule.occasions(small, catalogue, future=future), expected)
        assert expected.any()
    basket = Basket.of(task, small)
    np.testing.assert_array_equal(basket.relevant, known.relevant(small, catalogue)[basket.users])
    assert rule.labels(small).equals(known.labels(small))
    assert rule.notes(small) == strangers_of(small)


def strangers_of(small):
    orders = small.with_attributes("purchase", small.tables.events["purchase"]).filter(pl.col("category") != "unknown")
    count = orders.filter(~pl.col("user").is_in(small.users.implode())).height
    return [f"orders.parquet: {count} of {orders.height} rows are of users who are not judged; left out"] * (count > 0)


def test_without_times_all_is_the_future(small, tmp_path, dataset):
    users = small.users[:2].to_list()
    pl.DataFrame({"user": [users[0], users[0], users[1], 10**9], "item": [7.0, 7.0, 9.0, 7.0]}).write_parquet(
        tmp_path / "orders.parquet"
    )
    (tmp_path / "items.csv").write_text("item,text\n8,bread\n7,milk\n", encoding="utf-8")
    rule = own_task(tmp_path, {"rule": "item_file", "path": "orders.parquet", "items": "items.csv"}, dataset).ranking
    assert rule.catalogue(small) == ["7", "8"] and rule.texts(small) == ["milk", "bread"]
    future = rule.occasions(small, ["7", "8"], future=True)
    assert future[0].tolist() == [1, 0] and not future[1:].any()
    assert not rule.occasions(small, ["7", "8"], future=False).any()
    assert rule.labels(small)["user"].to_list() == users[:1]
    assert [note.split(":")[-1] for note in rule.notes(small)] == [
        " 1 of 4 rows are of users who are not judged; left out",
        " 1 items of it are not in items.csv; 1 of 4 rows left out",
        "orders.parquet has no times, so whether its labels came after the snapshot cannot be checked; nothing is "
        "known of the past",
    ]


@pytest.mark.parametrize(("items", "message"), [
    ("item,text\n7,milk\n8,bread\n7,milk\n", r"items\.csv: rows 1 and 3 are both of item '7'; keep one row per item"),
    ("item,text\n7,milk\n8,\n", r"items\.csv, row 2: text is empty"),
    ("item,text\nmilk,milk\n", r"no 'item' of it is in .*items\.csv.*like '7'"),
])  # fmt: skip
def test_items_that_cannot_be_meant_are_named(small, tmp_path, dataset, items, message):
    (tmp_path / "orders.csv").write_text(f"user,item\n{small.users[0]},7\n", encoding="utf-8")
    (tmp_path / "items.csv").write_text(items, encoding="utf-8")
    rule = own_task(tmp_path, {"rule": "item_file", "path": "orders.csv", "items": "items.csv"}, dataset).ranking
    with pytest.raises(DataError, match=message):
        rule.labels(small)


@pytest.mark.parametrize(("change", "message"), [
    ({"time": "at"}, "time and days go together"),
    ({"days": 28}, "time and days go together"),
    ({"new_only": True}, "new_only and min_users look at the past"),
    ({"text": "words"}, "text: .*items.csv has no column 'words'"),
    ({"items": "none.csv"}, "items: .*none.csv is not there"),
])  # fmt: skip
def test_an_item_file_is_checked_at_once(tmp_path, dataset, change, message):
    (tmp_path / "orders.csv").write_text("user,item,at\n1,7,2017-10-02\n", encoding="utf-8")
    (tmp_path / "items.csv").write_text("item,text\n7,milk\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        own_task(tmp_path, {"rule": "item_file", "path": "orders.csv", "items": "items.csv"} | change, dataset)


def test_an_empty_catalogue_of_a_file_leaves_nobody(small, baskets):
    rule = ItemFile(rule="item_file", path=baskets / "orders.parquet", items=baskets / "items.csv", time="time",
                    days=28, min_users=10_000)  # fmt: skip
    assert rule.catalogue(small) == [] and rule.labels(small).is_empty()
