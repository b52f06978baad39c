"""Facts computed in columns against the same facts in plain Python; leaks planted and caught."""

from collections import Counter, defaultdict
from datetime import timedelta

import polars as pl
import pytest
from pydantic import ValidationError

from instructue.errors import ConfigError, LeakageError
from instructue.sources.spec import FactSpec
from instructue.sources.tables import load_tables
from instructue.userqa.allowed import check_fact, kept_back
from instructue.userqa.facts import Facts
from instructue.userqa.windows import check_triplets, events_around, training_examples


@pytest.fixture(scope="module")
def tables(asked):
    return load_tables(*asked)


@pytest.fixture(scope="module")
def facts(tables):
    return Facts(tables, training_examples(tables), 7)


@pytest.fixture(scope="module")
def events(tables):
    """Source -> user -> list of events as dicts with attributes: slow and obvious."""
    out = {}
    for source in tables.dataset.event_sources:
        rows = tables.events[source.name].join(tables.texts.drop("source", "text"), on="text_id")
        by_user = defaultdict(list)
        for row in rows.to_dicts():
            by_user[row["user"]].append(row)
        out[source.name] = by_user
    return out


def by_name(tables, name):
    return next(fact for fact in tables.dataset.facts if fact.name == name)


def some(frame, n=25):
    """Every so many rows: users, values and answers of all sorts."""
    return frame.gather_every(max(1, frame.height // n)).to_dicts()


def windows(tables, events, fact, example, source=None):
    """(events in the fact's window, events of the history), by the local clock."""
    row = tables.histories.row(example, named=True)
    local = row["snapshot"].replace(tzinfo=None)
    own = [e | {"local": e["time"].replace(tzinfo=None)} for e in events[source or fact.source][row["user"]]]
    past = [e for e in own if e["local"] < local]
    if fact.about == "horizon":
        return [e for e in own if local <= e["local"] < local + timedelta(days=fact.days)], past
    since = local - timedelta(days=fact.days or 10_000)
    return [e for e in past if e["local"] >= since], past


@pytest.mark.parametrize(
    "name", ["buy_category_4w", "buy_type_4w", "buy_department_4w", "regular_type", "recent_category"]
)
def test_occurs(tables, facts, events, name):
    fact = by_name(tables, name)
    for row in some(facts.candidates(fact)):
        inside, past = windows(tables, events, fact, row["example"])
        assert row["polarity"] == (sum(e[fact.attribute] == row["value"] for e in inside) >= fact.at_least), row
        assert row["known"] == any(e[fact.attribute] == row["value"] for e in past)


def test_new_is_never_in_the_history(tables, facts, events):
    fact = by_name(tables, "adopt_type_4w")
    for row in some(facts.candidates(fact)):
        inside, past = windows(tables, events, fact, row["example"])
        assert not any(e["type"] == row["value"] for e in past)
        assert row["polarity"] == any(e["type"] == row["value"] for e in inside)


def test_absent_any_and_follows(tables, facts, events):
    stopped, coupon, redeem = (by_name(tables, n) for n in ("stopped_type", "coupon_use_8w", "redeem_any_8w"))
    for row in some(facts.candidates(stopped)):
        inside, past = windows(tables, events, stopped, row["example"])
        assert row["polarity"] == (not any(e["type"] == row["value"] for e in inside))
        before = [e for e in past if e not in inside and e["type"] == row["value"]]
        assert len(before) >= stopped.at_least
    for row in some(facts.candidates(coupon)):
        assert row["polarity"] == any(e["coupon"] > 0 for e in windows(tables, events, coupon, row["example"])[0])
    for row in some(facts.candidates(redeem)):
        assert row["polarity"] == bool(windows(tables, events, redeem, row["example"])[0])
    mailed = by_name(tables, "redeem_campaign_12w").model_copy(update={"days": 56})
    for row in some(facts.candidates(mailed)):
        sent = [e for e in windows(tables, events, mailed, row["example"])[0] if e["categories"] == row["value"]]
        redeemed, _ = windows(tables, events, mailed, row["example"], "redemption")
        assert sent and row["polarity"] == any(
            r["campaign"] == s["campaign"] and r["local"].date() >= s["local"].date() for s in sent for r in redeemed
        )


def test_change_count_share_and_when(tables, facts, events):
    change, count, share, when = (
        by_name(tables, n) for n in ("spending_change_4w", "visits_4w", "private_brand_8w", "part_of_day_4w")
    )
    for row in some(facts.candidates(change)):
        inside, past = windows(tables, events, change, row["example"])
        start = tables.histories.row(row["example"], named=True)["snapshot"].replace(tzinfo=None) - timedelta(days=28)
        ratio = sum(e["amount"] for e in inside) / sum(e["amount"] for e in past if e["local"] >= start)
        assert row["answer"] == change.words[sum(ratio >= b for b in change.bounds)]
        assert row["other"] in {change.words[0], change.words[-1]} - {row["answer"]}
    for row in some(facts.candidates(count)):
        n = len(windows(tables, events, count, row["example"])[0])
        assert row["answer"] == count.words[sum(n >= b for b in count.bounds)] and row["other"] != row["answer"]
    for row in some(facts.candidates(share)):
        inside, _ = windows(tables, events, share, row["example"])
        part = sum(e["brand"] == "private" for e in inside) / len(inside)
        assert row["answer"] == share.words[sum(part >= b for b in share.bounds)]
    for row in some(facts.candidates(when)):
        counted = Counter(e["part_of_day"] for e in windows(tables, events, when, row["example"])[0])
        assert counted[row["answer"]] == max(counted.values()) and row["other"] != row["answer"]


def test_top_lists(tables, facts, events):
    top, fresh = by_name(tables, "top_categories_4w"), by_name(tables, "new_categories_4w")
    for row in some(facts.candidates(top)):
        inside, _ = windows(tables, events, top, row["example"])
        counted = Counter(e["category"] for e in inside if e["category"] not in top.skip)
        best = sorted(counted, key=lambda c: (-counted[c], c))[:3]
        assert row["answer"] == (", ".join(best[:-1]) + " and " + best[-1] if len(best) > 1 else best[0])
        assert row["other"] != row["answer"]
    for row in some(facts.candidates(fresh)):
        _, past = windows(tables, events, fresh, row["example"])
        assert not {e["category"] for e in past} & set(row["answer"].replace(" and ", ", ").split(", "))


def test_a_kind_is_only_asked_where_its_horizon_is_known(tables, facts):
    fact = by_name(tables, "coupon_use_8w")
    asked = tables.histories[facts.candidates(fact)["example"]]
    assert asked.select((pl.col("snapshot").dt.offset_by("56d") <= pl.col("horizon_end")).all()).item()
    assert asked.height < facts.examples.height  # the last snapshot's horizon is too short


def test_leak_into_the_history_is_caught(tables):
    examples = training_examples(tables)
    events_around(tables, examples, "purchase")
    leaking = examples.with_columns(purchase_end=pl.col("purchase_horizon"))
    with pytest.raises(LeakageError, match="in its history"):
        events_around(tables, leaking, "purchase")
    reaching = examples.with_columns(horizon_end=pl.col("snapshot").dt.offset_by("1d"))
    with pytest.raises(LeakageError, match="in its horizon"):
        events_around(tables, reaching, "purchase")


def test_leak_in_the_triplets_is_caught(asked, tables):
    triplets = pl.read_parquet(asked[1].userqa / "triplets.parquet")
    check_triplets(triplets, tables.histories)
    later = pl.col("horizon_end").dt.offset_by("200d")
    evaluation = tables.histories.filter(pl.col("split") == "evaluation")["example"][0]
    planted = {
        "outside its example's": triplets.with_columns(horizon_end=later),
        "names a horizon": triplets.with_columns(horizon_end=pl.col("snapshot"), about=pl.lit("history")),
        "not of a training example": triplets.with_columns(example=pl.lit(evaluation, dtype=pl.UInt32)),
        "another snapshot": triplets.with_columns(snapshot=pl.col("snapshot").dt.offset_by("7d")),
    }
    for what, leaking in planted.items():
        with pytest.raises(LeakageError, match=what):
            check_triplets(leaking, tables.histories)
    # A horizon that its example allows but that passes the evaluation snapshot.
    moved = tables.histories.with_columns(horizon_end=pl.col("horizon_end").dt.offset_by("300d"))
    with pytest.raises(LeakageError, match="evaluation snapshot"):
        check_triplets(triplets.with_columns(horizon_end=later), moved)


def test_what_the_data_set_lacks_is_refused(tables):
    fact = by_name(tables, "buy_category_4w")
    wrong = {
        "'occurs' does not fit source 'profile'; use an event source": {"source": "profile"},
        "'is' does not fit source 'purchase'; use a source with `kind: attributes`": {"shape": "is"},
        "then: 'profile' has no times": {"then": "profile"},
        "match: source 'trip' has no 'category'": {"then": "trip", "match": "category"},
        "is not an SQL condition": {"where": "amount >"},
        "no attribute 'colour'": {"attribute": "colour"},
        "no number 'weight'": {"measure": "weight"},
        r"\['weight'\]": {"where": "weight > 3"},
    }
    for message, change in wrong.items():
        with pytest.raises(ConfigError, match=message):
            check_fact(fact.model_copy(update=change), tables.dataset)
    with pytest.raises(ConfigError, match="buy_category_4w.*cannot be judged"):
        Facts(tables, training_examples(tables), 7).candidates(fact.model_copy(update={"where": "category > 3"}))


def test_demographics_stay_with_the_tasks(tables):
    dataset = tables.dataset
    kept = kept_back(dataset.name, dataset)
    for attribute in dataset.source("profile").attributes:
        planted = FactSpec(name="who", shape="is", about="history", source="profile", attribute=attribute, days=None,
                           ask="What is it?", answer="It is {answer}.")  # fmt: skip
        with pytest.raises(LeakageError, match="never asked about, as a task predicts it"):
            Facts(tables, training_examples(tables), 7, kept).candidates(planted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"otherwise": None}, "needs `otherwise`"),
        ({"attribute": None}, "needs an attribute"),
        ({"words": ["a"]}, "neither bounds nor words"),
        ({"days": None}, "a horizon needs days"),
        ({"ask": "Will it buy?"}, "must hold {value}"),
        ({"ask": "Will it buy {value} or {more}?"}, "unknown slots"),
        ({"shape": "absent"}, "history's last days"),
    ],
)
def test_a_wrongly_described_fact_is_refused(tables, change, message):
    good = by_name(tables, "buy_category_4w").model_dump()
    with pytest.raises(ValidationError, match=message):
        FactSpec.model_validate(good | change)
