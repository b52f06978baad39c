"""Kinds of a tiny described data set that no one wrote a fact for, computed against plain Python; what tasks predict
stays unasked."""

import re
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from instructue.config import HistoriesConfig
from instructue.errors import ConfigError, LeakageError
from instructue.sources.events import number_texts, tidy, with_text_ids
from instructue.sources.histories import build_histories, check_no_leak
from instructue.sources.readers import Reader
from instructue.sources.snapshots import plan_snapshots
from instructue.sources.spec import FactSpec, load_dataset
from instructue.sources.tables import Tables
from instructue.sources.values import values_of
from instructue.userqa.allowed import kept_back
from instructue.userqa.derived import KINDS, derived_facts, mute
from instructue.userqa.facts import Facts
from instructue.userqa.nouns import plural
from instructue.userqa.sample import choose
from instructue.userqa.windows import training_examples
from instructue.userqa.wording import templates

USERS = 40
DATASET = """
name: app
title: logins to an app
timezone: Europe/Berlin
start: "2024-01-01"
end: "2025-01-01"
user: user_id
who: customer
tables: {logins: logins.parquet, accounts: accounts.parquet, notes: notes.parquet}
sources:
  - name: login
    title: logins to the app
    event: login
    file: logins
    query: "select *, file_row as row, stamp as time from logins"
    key: [ticket]
    numbers: {seconds: {min: 0}, balance: {}}
    attributes: [ticket, device, first_screen, brand]
    text: "login from {device}, {first_screen}"
  - name: note
    title: notes
    event: note to support
    file: notes
    query: "select file_row as row, user_id, stamp as time, topic from notes"
    key: [user_id, time]
    attributes: [topic]
    text: "{topic}"
  - name: account
    kind: attributes
    title: accounts
    event: attribute
    file: accounts
    query: "select file_row as row, user_id, plan, region, one from accounts"
    key: [user_id]
    attributes: [plan, region, one]
    maps: {plan: {P: premium, B: basic}}
    text: "{attribute}: {value}"
facts:
  - name: note_any
    shape: any
    source: note
    ask: "Will the {who} write a note within {span}?"
    answer: "Yes, the {who} will write a note within {span}."
    otherwise: "No, the {who} will write no note within {span}."
"""
TASKS = """
tasks:
  - {name: where, label: {rule: attribute_in, source: account, attribute: region, values: [north]}, hides: [HIDES]}
  - {name: logs_in, label: {rule: occurs, source: login, where: "device = 'phone'", days: 7}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The described data set's files and its description."""
    folder, rng = tmp_path_factory.mktemp("app"), np.random.default_rng(3)
    rows = []
    for user in range(USERS):
        usual = ("phone", "tablet", "laptop")[user % 3]
        for _ in range(int(rng.integers(15, 60))):
            device = usual if rng.random() < 0.7 else ("phone", "tablet", "laptop", "watch")[rng.integers(4)]
            screen = ("home", "cart", "search", "deals", "help")[rng.integers(5) if rng.random() < 0.4 else user % 5]
            at = datetime(2024, 1, 2) + timedelta(minutes=int(rng.integers(240 * 1440)))
            rows.append((user, at, device, screen, f"t{len(rows)}", "acme", float(rng.integers(1, 900))))
    names = ["user_id", "stamp", "device", "first_screen", "ticket", "brand", "seconds"]
    logins = pl.DataFrame(rows, schema=names, orient="row").with_columns(balance=pl.col("seconds") - 450)
    logins.write_parquet(folder / "logins.parquet")
    logins.select("user_id", "stamp", topic="device").unique(["user_id", "stamp"]).write_parquet(
        folder / "notes.parquet"
    )
    plans = [None if u % 7 == 0 else "PBX"[u % 3] for u in range(USERS)]
    pl.DataFrame({"user_id": range(USERS), "plan": plans, "region": "north", "one": "same"}).with_columns(
        region=pl.when(pl.col("user_id") % 2 == 0).then(pl.lit("south")).otherwise("region")
    ).write_parquet(folder / "accounts.parquet")
    (folder / "app.yaml").write_text(DATASET, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def tables(folder):
    dataset = load_dataset(str(folder / "app.yaml"))
    with Reader(dataset, folder) as reader:
        read = {s.name: tidy(dataset, s, reader.rows(s)) for s in dataset.sources}
    texts = number_texts([own for _, own in read.values()])
    events = {s.name: with_text_ids(s, read[s.name][0], texts) for s in dataset.sources}
    plan = HistoriesConfig(
        evaluation_snapshot=date(2024, 8, 1), training_snapshots=4, every_days=28, horizon_days=56, gap_days=56,
        label_days=28, min_events=3,
    )  # fmt: skip
    histories = build_histories(dataset, events, plan_snapshots(plan, dataset.timezone), plan.min_events)
    check_no_leak(dataset, events, histories)
    values = values_of(dataset, texts)
    vectors, of_values = (np.zeros((size, 1), np.float32) for size in (texts.height, len(values.said)))
    return Tables(dataset, events, texts, histories, vectors, values, of_values)


@pytest.fixture(scope="module")
def derived(tables):
    return derived_facts(tables.dataset, frozenset())


@pytest.fixture(scope="module")
def facts(tables):
    return Facts(tables, training_examples(tables), 7)


@pytest.fixture(scope="module")
def logins(folder, tables):
    """User -> logins as dicts, with the local clock that the data set keeps."""
    rows = pl.read_parquet(folder / "logins.parquet")
    local = pl.col("stamp").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin").dt.replace_time_zone(None)
    return {user: part.to_dicts() for (user,), part in rows.with_columns(local=local).group_by("user_id")}


def named(derived, name):
    return next(fact for fact in derived if fact.name == name)


def around(tables, logins, row, fact):
    """(logins in the fact's window, logins of the history) of a candidate."""
    example = tables.histories.row(row["example"], named=True)
    at, span = example["snapshot"].replace(tzinfo=None), timedelta(days=fact.days or 10_000)
    past = [e for e in logins[example["user"]] if e["local"] < at]
    if fact.about == "history":
        return [e for e in past if e["local"] >= at - span], past
    return [e for e in logins[example["user"]] if at <= e["local"] < at + span], past


def test_only_sources_without_facts_get_kinds_and_the_best_come_first(derived):
    assert {f.source for f in derived} == {"login", "account"}
    login = [f for f in derived if f.source == "login"]
    assert len(login) == KINDS and login[0].shape == "any" and login[1].attribute == "device"
    assert {f.shape for f in login} >= {"any", "count", "change", "occurs", "top"}
    assert {f.about for f in login} == {"horizon", "history"}
    assert "seconds" in {f.measure for f in login} and "balance" not in {f.measure for f in login}
    assert len({f.name for f in derived}) == len(derived)


def test_more_room_asks_every_shape_of_every_attribute(tables):
    everything = [f for f in derived_facts(tables.dataset, frozenset(), most=99) if f.source == "login"]
    per = Counter(f.attribute for f in everything)
    assert set(per.values()) == {8, 5} and {f.shape for f in everything if f.attribute == "device"} == {
        "occurs", "new", "absent", "top", "when",
    }  # fmt: skip


def test_the_english_of_a_kind(tables, derived):
    said = {f.name: templates(f, tables.dataset) for f in derived}
    assert said["login_device_ahead"]["instruction"] == (
        "Will the customer have any logins with device {value} within four weeks?"
    )
    assert said["login_any"]["no"] == "No, the customer will have no logins within four weeks."
    assert said["account_plan_is"]["yes"] == "The plan of the customer is {answer}."
    for kind, forms in said.items():
        for text in [*forms.values(), *named(derived, kind).words]:
            assert "_" not in re.sub(r"{\w+}", "", text) and not re.search(r"\b[NEA]\b|{who}|{span}", text), text
    nouns = {"search query": "search queries", "visit to a store": "visits to a store", "pass": "passes", "day": "days"}
    assert {noun: plural(noun) for noun in nouns} == nouns


def test_candidates_are_true(tables, facts, logins):
    derived = derived_facts(tables.dataset, frozenset(), most=99)
    for name in ("login_device_ahead", "login_device_new", "login_device_stopped", "login_device_regular"):
        fact = named(derived, name)
        rows = facts.candidates(fact).to_dicts()[::9]
        assert len(rows) > 5, name
        for row in rows:
            window, past = around(tables, logins, row, fact)
            hits = sum(e["device"] == row["value"] for e in window)
            assert row["polarity"] == (hits == 0 if fact.shape == "absent" else hits >= fact.at_least), (name, row)
            assert fact.shape != "new" or not any(e["device"] == row["value"] for e in past)
    often, change = named(derived, "login_often"), named(derived, "login_seconds_change")
    assert often.words[0] == "no logins" and change.measure == "seconds"
    for row in facts.candidates(often).to_dicts()[::5]:
        window, _ = around(tables, logins, row, often)
        assert row["answer"] == often.words[sum(len(window) >= bound for bound in often.bounds)]
    for row in facts.candidates(change).to_dicts()[::5]:
        after, past = around(tables, logins, row, change)
        start = tables.histories.row(row["example"], named=True)["snapshot"].replace(tzinfo=None) - timedelta(days=28)
        ratio = sum(e["seconds"] for e in after) / sum(e["seconds"] for e in past if e["local"] >= start)
        assert row["answer"] == change.words[sum(ratio >= bound for bound in change.bounds)]


def test_what_names_a_row_or_never_differs_is_not_asked(tables):
    gone = mute(tables)
    assert gone == {("login", "ticket"), ("login", "brand"), ("account", "one")}
    kept = derived_facts(tables.dataset, gone)
    assert {f.attribute for f in kept} == {None, "device", "first_screen", "plan", "region"}
    assert len([f for f in kept if f.source == "login"]) == KINDS  # the room goes to the others


def test_all_kinds_make_a_balanced_set(tables):
    kinds = derived_facts(tables.dataset, mute(tables), most=99)
    wide = replace(tables, dataset=tables.dataset.model_copy(update={"facts": kinds}))
    asked, chosen = choose(Facts(wide, training_examples(wide), 7), 2000, 7)
    assert len(asked) >= 18 and {"login_any", "account_plan_is", "login_first_screen_top"} <= {f.name for f in asked}
    shares = chosen.drop_nulls("polarity").group_by("kind").agg(yes=pl.col("polarity").mean(), n=pl.len())
    assert shares.filter(pl.col("n") > 30, ~pl.col("yes").is_between(0.3, 0.7)).is_empty(), shares


def test_profile_attributes_are_answered_in_words(tables, derived, facts):
    fact = named(derived, "account_plan_is")
    rows = facts.candidates(fact)
    users = tables.histories["user"].gather(rows["example"])
    words = {"P": "premium", "B": "basic", "X": "X"}
    assert rows["answer"].to_list() == [words["PBX"[u % 3]] for u in users]
    assert not (users % 7 == 0).any() and (rows["other"] != rows["answer"]).all()
    assert set(rows["other"]) == set(words.values()) and rows["polarity"].null_count() == rows.height
    assert facts.candidates(named(derived, "account_one_is")).is_empty()
    without = fact.model_copy(update={"skip": ["premium"]})
    assert set(facts.candidates(without)["answer"]) == {"basic", "X"}


def test_what_a_task_predicts_is_kept_back(folder, tables):
    name, tasks = str(folder / "app.yaml"), folder / "app.tasks.yaml"
    assert kept_back(name, tables.dataset) == frozenset()
    tasks.write_text(TASKS.replace("HIDES", ""), encoding="utf-8")
    assert kept_back(name, tables.dataset) == {("account", "region")}
    assert {f.attribute for f in derived_facts(tables.dataset, kept_back(name, tables.dataset))} >= {"plan", "one"}
    tasks.write_text(TASKS.replace("HIDES", "account, login"), encoding="utf-8")
    kept = kept_back(name, tables.dataset)
    assert kept == {("account", a) for a in ("plan", "region", "one")}  # behaviour may be asked about, hidden or not
    assert {f.source for f in derived_facts(tables.dataset, kept)} == {"login"}
    for broken in ("tasks: [{name: x}]", "tasks: 3", "tasks: [", "- 1"):
        tasks.write_text(broken, encoding="utf-8")
        with pytest.raises(ConfigError, match="app.tasks.yaml: cannot tell what its tasks predict"):
            kept_back(name, tables.dataset)
    tasks.unlink()


def test_a_planted_kind_about_what_a_task_predicts_is_refused(tables, derived):
    region = named(derived, "account_region_is")
    guarded = Facts(tables, training_examples(tables), 7, frozenset({("account", "region")}))
    with pytest.raises(LeakageError, match="account_region_is.*'region'.*never asked about"):
        guarded.candidates(region)
    assert guarded.candidates(named(derived, "account_plan_is")).height


def test_complete_journey_gets_nothing_beyond_what_it_describes():
    dataset = load_dataset("complete_journey")
    kept = kept_back("complete_journey", dataset)
    assert kept == {(s.name, a) for s in dataset.attribute_sources for a in s.attributes} and len(kept) >= 7
    assert derived_facts(dataset, kept) == []
    planted = derived_facts(dataset, frozenset())  # what would be asked without the guard
    assert {f.source for f in planted} == {"profile"} and {f.attribute for f in planted} >= {"income", "age"}


@pytest.mark.parametrize(("change", "message"), [
    ({"about": "horizon", "days": 28}, "about: history, days: null"),
    ({"where": "plan = 'P'"}, "takes no where"),
    ({"attribute": None}, "needs an attribute"),
    ({"answer": "It is so."}, "must hold {answer}"),
])  # fmt: skip
def test_a_wrong_profile_kind_is_refused(derived, change, message):
    good = named(derived, "account_plan_is").model_dump()
    with pytest.raises(ValueError, match=message):
        FactSpec.model_validate(good | change)
