import re
from pathlib import Path

import polars as pl
import pytest
import yaml

from instructue.errors import ConfigError
from instructue.evaluation.recommendation import Basket
from instructue.evaluation.rules import Items, Occurs
from instructue.evaluation.tasks import asked, load_tasks, read_tasks, requests, requests_for, tasks_path

LESSON = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")

# n and positives as measured before this code existed.
MEASURED = {
    "income75k": (801, 0.281), "age55": (801, 0.164), "buy4w_frozen_pizza": (2373, 0.275),
    "buy4w_coffee": (2373, 0.174), "redeem_campaign": (2238, 0.131), "coupon_use_8w": (2373, 0.305),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURED)
def test_labels_of_the_full_data_are_as_measured(full, tasks, name):
    labels = tasks[name].label.labels(full)
    n, rate = MEASURED[name]
    assert labels.height == n
    assert round(labels["label"].mean(), 3) == pytest.approx(rate, abs=0.0006)
    assert labels.select("user", "context").is_unique().all()


@pytest.mark.parametrize(("name", "users", "items"), [("R_all", 1984, 1265), ("R_new", 2212, 267)])
def test_rankings_of_the_full_data_are_as_measured(full, tasks, name, users, items):
    rule = tasks[name].ranking
    assert len(rule.catalogue(full)) == items
    assert rule.labels(full).height == users


def test_redemption_asks_about_campaigns_that_start_after_the_snapshot(full, tasks):
    task = tasks["redeem_campaign"]
    offers = task.label.offers(full)
    assert set(offers["context"]) == {str(c) for c in range(16, 23)}
    assert (offers["time"] >= full.snapshot).all()
    rows = asked(task, full)
    assert rows.select("user", "context").equals(task.label.labels(full).select("user", "context"))
    assert rows.group_by("context").agg(pl.col("instruction").n_unique())["instruction"].max() == 1
    assert rows["instruction"].str.contains("type [abc] campaign with coupons for").all()


def test_new_items_were_never_had_before(small, tasks):
    rule = tasks["R_new"].ranking.model_copy(update={"min_users": 5})
    catalogue = rule.catalogue(small)
    relevant = rule.relevant(small, catalogue)
    had = small.with_attributes("purchase", small.past("purchase")).select("position", "category").unique()
    pairs = {(p, catalogue.index(c)) for p, c in had.rows() if c in set(catalogue)}
    assert relevant.any()
    assert not [pair for pair in pairs if relevant[pair]]


def test_label_window_opens_at_the_snapshot_and_closes_before_its_end(small):
    rule = Occurs(rule="occurs", source="purchase", where="amount >= 0", days=7)
    events = small.future("purchase", 7)
    assert events["time"].min() >= small.snapshot
    assert (events["time"].max() - small.snapshot).days < 7
    assert set(rule.labels(small).filter("label")["user"]) == set(events["user"])
    with pytest.raises(ConfigError, match="label_days"):
        small.future("purchase", 93)


def test_requests_cover_every_row_of_every_task(small_config, small_root, small):
    found = requests(small_config, small_root)
    assert found.columns == ["user", "task", "context", "instruction", "hides"]
    assert not found.select("user", "task", "context").is_duplicated().any()
    assert not found["instruction"].str.contains(r"[{}]").any()
    for task in load_tasks(small_config.data.description()):
        rows = found.filter(pl.col("task") == task.name)
        assert rows.height == task.label.labels(small).height
        assert all(hides == task.hides for hides in rows["hides"].to_list())
    assert found.filter(pl.col("task") == "age55")["hides"].list.contains("profile").all()


def test_only_the_named_tasks_are_asked(small_config, small_root):
    chosen = small_config.evaluation.model_copy(update={"tasks": ["age55"]})
    found = requests(small_config.model_copy(update={"evaluation": chosen}), small_root)
    assert found["task"].unique().to_list() == ["age55"]
    with pytest.raises(ConfigError, match="age66"):
        load_tasks("complete_journey", ["age66"])


@pytest.mark.parametrize(("change", "message"), [
    ({"hides": []}, "must hide it"),
    ({"hides": ["profile", "diary"]}, "diary"),
    ({"label": {"rule": "attribute_in", "source": "purchase", "attribute": "age", "values": ["65+"]}}, "not a source"),
    ({"label": {"rule": "attribute_in", "source": "profile", "attribute": "wage", "values": ["65+"]}}, "no attribute"),
    ({"family": "recommendation"}, "does not fit"),
    ({"yes": None}, "both answers"),
    ({"lable": 1}, r"task age55: lable: no such field; there are \['name', 'family'"),
    ({"label": {"rule": "guess"}}, r"task age55: label: .*'attribute_in', .*'file', 'item_file'"),
    ({"label": {"rule": "occurs", "source": "purchase", "where": "amount > 0"}}, r"label\.days: is missing\. Local"),
    ({"label": {"rule": "attribute_in", "source": "profile", "attribute": "age", "values": [65]}}, r"values\.0: .*65"),
    ({"instruction": "Is {town} old?"}, r"task age55: instruction names \['town'\]; it may name \['who'\]"),
    ({"no": "No, {age}."}, r"no names \['age'\]"),
    ({"instruction": "Is {} old?"}, "brace that closes no name"),
    ({"instruction": "Is {who old?"}, "brace that closes no name"),
    ({"answer": "{item}"}, "`answer` names an item"),
    ({"each": "Will it buy {item}?"}, "`each` asks about one item"),
    ({"name": "5plus"}, r"task 5plus: name: .*got '5plus'"),
])  # fmt: skip
def test_tasks_that_cannot_be_judged_are_refused_by_name(tmp_path, dataset_file, change, message):
    raw = yaml.safe_load(tasks_path("complete_journey").read_text(encoding="utf-8"))
    (tmp_path / "own.yaml").write_text(dataset_file.read_text(encoding="utf-8"), encoding="utf-8")
    task = next(t for t in raw["tasks"] if t["name"] == "age55") | change
    (tmp_path / "own.tasks.yaml").write_text(yaml.safe_dump({"tasks": [task]}), encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        load_tasks(str(tmp_path / "own.yaml"))
    assert "own.tasks.yaml" in str(error.value)


def test_a_condition_on_an_unknown_column_is_named(small):
    with pytest.raises(ConfigError, match="colour"):
        Occurs(rule="occurs", source="purchase", where="colour = 'red'", days=7).labels(small)


def test_an_empty_catalogue_leaves_nobody(small):
    rule = Items(rule="items", source="purchase", attribute="type", min_users=10_000, days=28)
    assert rule.catalogue(small) == []
    assert rule.labels(small).is_empty()


@pytest.mark.parametrize(("change", "message"), [
    ({"answer": "something"}, r"must hold \{item\}"),
    ({"each": "Will it buy anything?"}, r"each .* must hold \{item\}"),
    ({"each": "Will it buy {item} of {shop}?"}, r"each names \['shop'\]; it may name \['who', 'item'\]"),
    ({"answer": "{item} of {shop}"}, r"answer names \['shop'\]; it may name \['who', 'item'\]"),
    ({"yes": "Yes"}, "no answers yes and no"),
    ({"instruction": "What of {category}?"}, r"instruction names \['category'\]"),
])  # fmt: skip
def test_rankings_that_cannot_be_judged_are_refused(tmp_path, small, change, message):
    raw = yaml.safe_load(tasks_path("complete_journey").read_text(encoding="utf-8"))
    task = next(t for t in raw["tasks"] if t["name"] == "R_new") | change
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"tasks": [task]}), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        read_tasks(tmp_path / "own.yaml", small.tables.dataset)


@pytest.mark.parametrize(("text", "message"), [
    ("tasks: [", "is not YAML"),
    ("- name: x", "valid list of tasks.*file: .*it holds one list"),
    ("task: []", "tasks: Field required; it holds one list"),
    ("tasks: [x]", "task number 1: "),
])  # fmt: skip
def test_a_file_that_is_no_list_of_tasks_is_refused(tmp_path, small, text, message):
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="(?s)own.yaml.*" + message):
        read_tasks(tmp_path / "own.yaml", small.tables.dataset)
    with pytest.raises(ConfigError, match="docs/tasks.md"):
        read_tasks(tmp_path / "none.yaml", small.tables.dataset)


def test_only_rankings_answer_with_an_item(tasks):
    assert tasks["R_all"].answer == "The {who} will buy {item}."
    bare = {k: v for k, v in tasks["R_all"].model_dump().items() if k not in ("answer", "yes", "no")}
    assert type(tasks["R_all"]).model_validate(bare).answer == "{item}"
    with pytest.raises(ConfigError, match="ranks no items"):
        _ = tasks["age55"].ranking


@pytest.fixture
def lesson(tmp_path, small):
    """A folder with the files of docs/tasks.md, and the tasks of all its YAML blocks by name."""
    for name, text in re.findall(r"```csv (\S+)\n(.*?)```", LESSON, re.S):
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = {}
    for place, text in enumerate(re.findall(r"```yaml\n(.*?)```", LESSON, re.S)):
        (tmp_path / f"{place}.yaml").write_text(text, encoding="utf-8")
        found |= {task.name: task for task in read_tasks(tmp_path / f"{place}.yaml", small.tables.dataset)}
    return tmp_path, found


def test_every_example_of_the_lesson_is_a_sound_task(lesson, small):
    folder, tasks = lesson
    assert {task.label.rule for task in tasks.values()} == {
        "file", "item_file", "occurs", "attribute_in", "responds", "items",
    }  # fmt: skip
    # The files as printed: every row is understood, though the small cut may hold none of their users.
    for name in ("churn", "answers_mail", "next_order"):
        tasks[name].label.labels(small)
    users = small.users.to_list()
    labels = pl.DataFrame({"customer": users, "churned": [u % 2 == 0 for u in users], "decided_on": "2017-11-30"})
    labels.write_csv(folder / "churn.csv")
    mails = [pl.DataFrame({"user": users, "campaign": c, "reward": f"{c} prize"}) for c in ("autumn", "winter")]
    pl.concat(mails).with_row_index("n").with_columns(mailed=pl.col("n") % 2, answered=pl.col("n") % 3 == 0).write_csv(
        folder / "mails.csv"
    )
    bought = small.with_attributes("purchase", small.tables.events["purchase"])
    bought.select("user", "time", item="category").write_csv(folder / "orders.csv")
    bought.select(item="category", text="category").unique("item").write_csv(folder / "items.csv")
    for task in tasks.values():
        rows = asked(task, small)
        assert rows.height > 20 and not rows["instruction"].str.contains(r"[{}]").any()
    found = requests_for(list(tasks.values()), small)
    assert set(found["task"]) == set(tasks)
    assert found.filter(pl.col("task") == "answers_mail")["instruction"].n_unique() == 2
    assert tasks["answers_mail"].label.labels(small)["treated"].mean() == pytest.approx(0.5, abs=0.01)
    assert all(task.label.labels(small)["label"].any() for task in tasks.values())
    assert Basket.of(tasks["next_order"], small).past.any()


def test_a_bare_yes_or_no_is_the_answer(small, tmp_path):
    text = LESSON.split("```yaml\n")[1].split("```")[0]
    assert any(isinstance(name, bool) for name in yaml.safe_load(text)["tasks"][0])  # what YAML makes of it
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "churn.csv").write_text("customer,churned,decided_on\n", encoding="utf-8")
    assert read_tasks(tmp_path / "own.yaml", small.tables.dataset)[0].yes == "Yes, the {who} will stop coming."
