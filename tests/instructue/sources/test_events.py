"""Clocks, texts, samples, and the bytes of what is staged."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from instructue.sources.events import number_texts, stable_sample, tidy, with_text_ids
from instructue.sources.readers import Reader
from instructue.sources.spec import load_dataset
from instructue.stages import STAGES


@pytest.fixture(scope="module")
def dataset():
    return load_dataset("complete_journey")


@pytest.fixture(scope="module")
def texts(staged) -> pl.DataFrame:
    return pl.read_parquet(staged[1].texts(staged=True))


def local(dataset, source: str, stamps: list[datetime]) -> list[datetime | None]:
    """Naive local wall clock of stamps as a source would write them."""
    n = len(stamps)
    spec = dataset.source(source)
    words = {a: ["x"] * n for a in spec.attributes}
    numbers = {c: [1.0] * n for c in spec.columns}
    keys = {k: list(range(n)) for k in spec.key if k not in {"time", dataset.user, *spec.attributes}}
    rows = pl.DataFrame({"row": range(n), "user": [1] * n, "time": stamps, **words, **numbers, **keys})
    return tidy(dataset, spec, rows)[0]["time"].dt.replace_time_zone(None).to_list()


def test_utc_stamps_become_local_times(dataset):
    stamps = [datetime(2017, 10, 1, 2), datetime(2017, 10, 1, 4), datetime(2018, 1, 1, 4, 59), datetime(2017, 1, 1, 5)]
    assert local(dataset, "purchase", stamps) == [
        datetime(2017, 9, 30, 22), datetime(2017, 10, 1), datetime(2017, 12, 31, 23, 59), datetime(2017, 1, 1),
    ]  # fmt: skip


def test_clock_changes_lose_and_reorder_nothing(dataset):
    spring = [datetime(2017, 3, 12, 6, 59), datetime(2017, 3, 12, 7)]
    assert local(dataset, "purchase", spring) == [datetime(2017, 3, 12, 1, 59), datetime(2017, 3, 12, 3)]
    autumn = [datetime(2017, 11, 5, 5, 30), datetime(2017, 11, 5, 6, 30)]
    assert local(dataset, "purchase", autumn) == [datetime(2017, 11, 5, 1, 30)] * 2
    spec = dataset.source("trip")
    words = {**dict.fromkeys(spec.attributes, "x"), **dict.fromkeys(spec.columns, 1.0)}
    rows = pl.DataFrame({"row": [0, 1], "user": [1, 1], "time": autumn, "basket_id": [1, 2]}).with_columns(
        **{k: pl.lit(v) for k, v in words.items()}
    )
    events, own = tidy(dataset, spec, rows)
    ordered = with_text_ids(spec, events, number_texts([own]))
    assert ordered["row"].to_list() == [0, 1] and ordered["time"].diff()[1] == timedelta(hours=1)


def test_local_stamps_keep_their_clock_and_the_hour_that_never_was_has_none(dataset):
    stamps = [datetime(2017, 5, 17), datetime(2017, 3, 12, 2, 30), datetime(2017, 11, 5, 1, 30)]
    assert local(dataset, "redemption", stamps) == [datetime(2017, 5, 17), None, datetime(2017, 11, 5, 1, 30)]


def test_a_sample_does_not_depend_on_order_and_grows_by_adding():
    users = pl.Series("user", [u * 7919 % 100_003 for u in range(2000)])
    chosen = stable_sample(users, 100)
    assert chosen.to_list() == stable_sample(users.reverse(), 100).to_list()
    assert set(chosen) < set(stable_sample(users, 300)) < set(users)
    assert set(stable_sample(users, 0)) == set(users) == set(stable_sample(users, 10_000))
    assert set(stable_sample(users, 100, seed=1)) != set(chosen)
    # Pinned: another version or platform must choose the same users.
    assert stable_sample(pl.Series(range(1, 2470)), 5).to_list() == [1597, 610, 2207, 1220, 233]


def test_a_sample_never_counts_rows_without_a_user():
    users = pl.Series("user", [None, 3, None, -4, 5], dtype=pl.Int64)
    assert set(stable_sample(users, 2)) < {3, -4, 5} and stable_sample(users, 2).null_count() == 0
    assert set(stable_sample(users, 0)) == {3, -4, 5}


def test_sampled_stage_keeps_all_of_the_chosen_and_none_of_the_others(make_project, staged, dataset, tmp_path):
    config, paths = make_project(root=tmp_path, changes={"data.max_users": 7})
    STAGES["sources"](config, paths)
    whole = {s.name: pl.read_parquet(staged[1].table(s.name, staged=True)).drop("text_id") for s in dataset.sources}
    chosen = stable_sample(whole["purchase"]["user"], 7)
    assert len(chosen) == 7
    for name, table in whole.items():
        kept = pl.read_parquet(paths.table(name, staged=True)).drop("text_id")
        assert kept.equals(table.filter(pl.col("user").is_in(chosen.implode()))), name


def test_texts_are_numbered_by_content_alone(texts):
    assert texts["text_id"].to_list() == list(range(texts.height)) and texts["text"].null_count() == 0
    columns = [c for c in texts.columns if c not in {"text_id", "source", "text"}]
    parts = [
        part.select("source", "text", *[c for c in columns if part[c].null_count() < part.height])
        for part in texts.partition_by("source")
    ]
    shuffled = [p.sample(fraction=1, shuffle=True, seed=1) for p in reversed(parts)]
    assert number_texts(shuffled).equals(texts)


def test_every_row_finds_its_attributes_again_through_its_text(slice_folder, staged, dataset, texts):
    with Reader(dataset, slice_folder) as reader:
        for source in dataset.event_sources:
            events = pl.read_parquet(staged[1].table(source.name, staged=True)).join(texts, on="text_id")
            raw = reader.rows(source)
            assert events.height == raw.height
            both = events.join(raw, on="row", suffix="_raw")
            for name in source.attributes:
                words = both[f"{name}_raw"].replace(source.maps.get(name, {})).fill_null("unknown")
                assert (both[name] == words).all(), (source.name, name)


def test_codes_become_words_and_unlisted_ones_stay(dataset, texts):
    promotions = texts.filter(pl.col("source") == "promotion")
    assert set(promotions["display"]) <= set(dataset.source("promotion").maps["display"].values())
    assert promotions["text"].str.contains("promoted: on an end cap, ").any()
    spec = dataset.source("promotion")
    rows = pl.DataFrame({
        "row": [0], "user": [1], "time": [datetime(2017, 5, 1)], "amount": [1.0], "discount": [0.0],
        "basket_id": [1], "product_id": [1],
        "category": ["tea"], "display": ["Q"], "mailer": ["0"], "department": [None],
    })  # fmt: skip
    assert tidy(dataset, spec, rows)[1]["text"].to_list() == ["tea promoted: Q, not in the mailer"]


def test_profiles_are_long_and_leave_gaps_out(slice_folder, staged, texts):
    people = pl.read_parquet(slice_folder / "demographics.parquet")
    long = pl.read_parquet(staged[1].table("profile", staged=True)).join(texts, on="text_id")
    filled = sum(people[c].len() - people[c].null_count() for c in people.columns if c != "household_id")
    assert long.height == filled and people.null_count().sum_horizontal().item() > 0
    someone = people.row(0, named=True)
    own = long.filter(pl.col("user") == someone["household_id"])
    assert dict(own.select("attribute", "value").iter_rows())["age"] == someone["age"]
    assert f"age: {someone['age']}" in own["text"].to_list()


def test_tables_are_sorted_and_typed(staged, dataset):
    for source in dataset.event_sources:
        table = pl.read_parquet(staged[1].table(source.name, staged=True))
        assert table.select(pl.struct("user", "time", "row").is_sorted()).item(), source.name
        assert table.schema["time"] == pl.Datetime("us", "America/New_York")
        assert (table.schema["row"], table.schema["text_id"], table.schema["user"]) == (pl.UInt32, pl.UInt32, pl.Int64)
        assert all(table.schema[c] == pl.Float64 for c in source.columns)


def test_two_runs_give_the_same_bytes(staged, make_project, tmp_path):
    config, paths = make_project(root=tmp_path)
    STAGES["sources"](config, paths)
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in (staged[1].staged, paths.staged))
    assert first.keys() == second.keys() and len(first) == 7
    assert [name for name in first if first[name] != second[name]] == []
