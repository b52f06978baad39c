import polars as pl
import pytest
import yaml

from instructue.errors import ConfigError
from instructue.evaluation.rules import Items, Occurs
from instructue.evaluation.tasks import asked, load_tasks, requests, tasks_path

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
    for task in load_tasks(small_config.data.dataset):
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
    ({"lable": 1}, "lable"),
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
