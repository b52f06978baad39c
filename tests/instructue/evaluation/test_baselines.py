"""Baselines: each finds a planted signal, sees nothing at or after the snapshot, and is the same every time."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from instructue.errors import LeakageError
from instructue.evaluation.baselines import features, items, language_model, two_tower
from instructue.evaluation.baselines.blocks import BLOCKS, View
from instructue.evaluation.baselines.heuristics import HEURISTICS
from instructue.evaluation.metrics import binary_metrics
from instructue.evaluation.population import Population
from instructue.sources.histories import build_histories
from instructue.sources.snapshots import plan_snapshots


def auc(scores, y) -> float:
    return float(binary_metrics(np.asarray(scores, float), y, np.ones((1, len(y))), ("auc",))["auc"][0])


def with_events(population: Population, change) -> Population:
    """The population again from tables whose events went through change(source, frame); same row ranges."""
    events = {s.name: change(s, population.tables.events[s.name]) for s in population.tables.dataset.sources}
    return dataclasses.replace(population, tables=dataclasses.replace(population.tables, events=events), _pasts={})


@pytest.fixture(scope="module")
def rewritten(small) -> Population:
    """The same pasts; what happens from the snapshot on is turned upside down."""

    def change(source, events):
        if source.kind != "events":
            return events
        late = pl.col("time") >= small.snapshot
        other = pl.col("text_id").reverse()
        numbers = [pl.when(late).then(pl.col(c) * 7 + 3).otherwise(pl.col(c)).alias(c) for c in source.columns]
        return events.with_columns(pl.when(late).then(other).otherwise(pl.col("text_id")).alias("text_id"), *numbers)

    return with_events(small, change)


@pytest.fixture(scope="module")
def moved(config, small, small_tables) -> tuple[Population, int]:
    """One user's last past event of the first source moved to the day after the snapshot, and the user's position."""
    first = small_tables.dataset.event_sources[0].name
    position = int(small.past(first)["position"][-1])
    row = int(small.histories[f"{first}_end"][position]) - 1
    events = small_tables.events[first].with_row_index("place")
    late = pl.lit(small.snapshot).dt.offset_by("1d")
    events = events.with_columns(time=pl.when(pl.col("place") == row).then(late).otherwise(pl.col("time")))
    tables = small_tables.events | {first: events.drop("place").sort("user", "time", maintain_order=True)}
    snapshots = plan_snapshots(config.histories, small_tables.dataset.timezone)
    histories = build_histories(small_tables.dataset, tables, snapshots, config.histories.min_events)
    return Population.of(dataclasses.replace(small_tables, events=tables, histories=histories)), position


def rank_features(population: Population, task) -> list[np.ndarray]:
    rule = task.ranking
    catalogue = rule.catalogue(population)
    found = [*items.windows(rule, population, catalogue).values(), items.recency(rule, population, catalogue)]
    return [*found, *items.recent_frequency(rule, population, catalogue).values()]


QUICK = ("mean_text", "mean_text_per_source", "tfidf", "aggregates", "two_tower")


def made(name: str, population: Population, paths, hides: tuple[str, ...] = ()) -> np.ndarray:
    return BLOCKS[name].make(View(population, hides, np.arange(population.size), paths))


@pytest.fixture
def short(monkeypatch):
    """Training short enough for tests that ask what is seen, not how well it is learnt."""
    monkeypatch.setattr(two_tower, "EPOCHS", 2)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", QUICK)
def test_a_block_sees_nothing_from_the_snapshot_on_and_is_the_same_every_time(name, small, rewritten, small_root):
    once = made(name, small, small_root)
    assert once.dtype == np.float32 and len(once) == small.size and np.isfinite(once).all()
    assert once.std(axis=0).max() > 0
    np.testing.assert_array_equal(once, made(name, small, small_root))
    np.testing.assert_array_equal(once, made(name, rewritten, small_root))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("name", QUICK)
def test_a_block_does_without_what_is_hidden(name, small, small_root):
    def emptied(source, events):
        return events.with_columns(text_id=pl.lit(events["text_id"][0])) if source.name == "trip" else events

    hidden = made(name, small, small_root, ("trip",))
    np.testing.assert_array_equal(hidden, made(name, with_events(small, emptied), small_root, ("trip",)))
    whole = made(name, small, small_root)
    assert hidden.shape != whole.shape or (hidden != whole).any()


def test_an_event_moved_past_the_snapshot_is_no_longer_seen(small, moved, tasks):
    population, position = moved
    first = small.tables.dataset.event_sources[0].name
    assert population.past(first).height == small.past(first).height - 1
    others = np.arange(small.size) != position
    for make in (features.mean_text_per_source, features.aggregates):
        before, after = make(small, []), make(population, [])
        assert before.shape[1] == after.shape[1] and (before[position] != after[position]).any()
        if make is features.mean_text_per_source:
            np.testing.assert_array_equal(before[others], after[others])
    rows = tasks["buy4w_coffee"].label.labels(small)
    counted = HEURISTICS["activity"]
    fewer = counted(population, tasks["buy4w_coffee"], rows) - counted(small, tasks["buy4w_coffee"], rows)
    assert fewer[position] == -1 and (fewer[others] == 0).all()


def test_heuristics_and_item_features_see_nothing_from_the_snapshot_on(small, rewritten, tasks):
    for task in (t for t in tasks.values() if t.family != "recommendation"):
        rows = task.label.labels(small)
        for heuristic in HEURISTICS.values():
            told, again = heuristic(small, task, rows), heuristic(rewritten, task, rows)
            assert (told is None) == (again is None)
            if told is not None:
                assert np.isfinite(told).all() and len(told) == rows.height
                np.testing.assert_array_equal(told, again)
    for name in ("R_all", "R_new"):
        for told, again in zip(rank_features(small, tasks[name]), rank_features(rewritten, tasks[name]), strict=True):
            np.testing.assert_array_equal(told, again)


def test_heuristics_rank_by_what_happened_before(full, tasks):
    found = {}
    for name in ("buy4w_coffee", "coupon_use_8w", "redeem_campaign"):
        rows = tasks[name].label.labels(full)
        y = rows["label"].to_numpy().astype(int)
        found[name] = {h: auc(make(full, tasks[name], rows), y) for h, make in HEURISTICS.items()}
    for name, least in (("buy4w_coffee", 0.83), ("coupon_use_8w", 0.81), ("redeem_campaign", 0.73)):
        assert found[name]["own_frequency"] > least
        assert found[name]["own_frequency"] > max(found[name]["recency"], found[name]["activity"]) > 0.55


def test_heuristics_count_occasions_days_and_answers(small, tasks):
    task = tasks["buy4w_coffee"]
    rows = task.label.labels(small)
    past = small.with_attributes("purchase", small.past("purchase")).filter(pl.col("category") == "coffee")
    user = past["position"][0]
    own = past.filter(pl.col("position") == user)
    assert int(HEURISTICS["own_frequency"](small, task, rows)[user]) == own["time"].n_unique()
    assert HEURISTICS["recency"](small, task, rows)[user] == -own["age"].min()
    never = np.setdiff1d(np.arange(small.size), past["position"].to_numpy())
    assert (HEURISTICS["own_frequency"](small, task, rows)[never] < 1).all()
    assert len(np.unique(HEURISTICS["recency"](small, task, rows)[never])) == 1
    offers = tasks["redeem_campaign"].label.labels(small)
    shares = HEURISTICS["own_frequency"](small, tasks["redeem_campaign"], offers)
    assert shares.min() >= 0 and shares.max() <= 1 and len(np.unique(shares)) > 2


def test_heuristics_say_nothing_where_the_past_does_not(small, tasks):
    rows = tasks["age55"].label.labels(small)
    assert HEURISTICS["own_frequency"](small, tasks["age55"], rows) is None
    assert HEURISTICS["recency"](small, tasks["age55"], rows) is None
    assert HEURISTICS["activity"](small, tasks["age55"], rows) is not None
    blind = tasks["buy4w_coffee"].model_copy(update={"hides": ["purchase"]})
    rows = blind.label.labels(small)
    assert HEURISTICS["own_frequency"](small, blind, rows) is None
    trips = HEURISTICS["activity"](small, blind, rows)
    assert (trips < HEURISTICS["activity"](small, tasks["buy4w_coffee"], rows)).all()


def test_recent_frequency_prefers_what_was_had_lately(small, tasks):
    rule = tasks["R_all"].ranking
    catalogue = rule.catalogue(small)
    by_life = items.recent_frequency(rule, small, catalogue)
    had = items.windows(rule, small, catalogue)
    occasions = rule.occasions(small, catalogue, future=False)
    assert (had["last_28"] <= had["last_91"]).all() and (had["last_91"] <= occasions).all()
    assert ((had["since"] < items.NEVER) == (occasions > 0)).all()
    user = int(had["last_28"].sum(axis=1).argmax())
    short, long = (by_life[f"half-life {days} days"][user] for days in (items.HALF_LIVES[0], items.HALF_LIVES[-1]))
    lately, often = had["last_28"][user], occasions[user]
    assert np.corrcoef(short, lately)[0, 1] > np.corrcoef(long, lately)[0, 1]
    assert np.corrcoef(long, often)[0, 1] > np.corrcoef(short, often)[0, 1]
    latest = items.recency(rule, small, catalogue)[user].argmax()
    assert had["since"][user, latest] == had["since"][user].min()


def test_the_two_tower_learns_who_will_do_what(small):
    """Users of one half are made to do one thing in every past and future: their vectors must tell them apart."""
    half = np.isin(small.users.to_numpy(), small.users.to_numpy()[::2])
    chosen = pl.Series(small.users.to_numpy()[half]).implode()

    def change(source, events):
        if source.kind != "events":
            return events
        ids = events["text_id"].unique().sort()
        own = pl.when(pl.col("user").is_in(chosen)).then(ids[0]).otherwise(ids[len(ids) // 2])
        return events.with_columns(text_id=own.cast(events["text_id"].dtype))

    vectors = two_tower.two_tower(with_events(small, change), [])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    direction = vectors[half].mean(axis=0) - vectors[~half].mean(axis=0)
    assert auc(vectors @ direction, half.astype(int)) == 1


def test_the_two_tower_refuses_what_lies_past_the_snapshot(small):
    first = small.tables.dataset.event_sources[0].name
    histories = small.tables.histories

    def cheating(**columns) -> Population:
        spoilt = histories.with_columns(**columns)
        return dataclasses.replace(small, tables=dataclasses.replace(small.tables, histories=spoilt), _pasts={})

    with pytest.raises(LeakageError, match="training horizons end after"):
        two_tower.two_tower(cheating(horizon_end=pl.col("horizon_end").max()), [])
    with pytest.raises(LeakageError, match="reach past their snapshot"):
        two_tower.two_tower(cheating(**{f"{first}_end": pl.col(f"{first}_horizon")}), [])
    last = pl.col(f"{first}_horizon").max().over("user")
    with pytest.raises(LeakageError, match="to be learnt from stands at"):
        two_tower.two_tower(cheating(**{f"{first}_horizon": last}), [])


@pytest.fixture(scope="module")
def written(small) -> language_model.Writer:
    return language_model.Writer.of(small, ["trip"], tokenise)


def tokenise(texts: list[str]) -> list[list[int]]:
    return [[ord(letter) for letter in text[:40]] for text in texts]


def test_a_written_history_fits_ends_in_the_latest_events_and_leaves_hidden_sources_out(small, written, monkeypatch):
    monkeypatch.setattr(language_model, "TOKENS", 1200)
    title = {s.name: s.title for s in small.tables.dataset.sources}
    texts = small.tables.texts["text"]
    for user in range(0, small.size, 10):
        ids = written.history(user)
        told = "".join(map(chr, ids))
        assert len(ids) <= 1200 and told.startswith("A household.") and told.endswith("This household is")
        assert title["purchase"][:30] in told and title["trip"][:30] not in told
        seen = [s.name for s in small.tables.dataset.event_sources if s.name != "trip"]
        newest = min((float(e["age"][-1]), str(texts[int(e["text_id"][-1])])) for e in _pasts(small, seen, user))[0]
        assert any(
            f" {texts[int(text)]}"[:40] in told.split("latest events:")[1]
            for past in _pasts(small, seen, user)
            for text in past.filter(pl.col("age") == pl.lit(newest, pl.Float32))["text_id"]
        )


def _pasts(population: Population, sources: list[str], user: int) -> list[pl.DataFrame]:
    pasts = [population.past(source).filter(pl.col("position") == user) for source in sources]
    return [past for past in pasts if past.height]


def test_a_written_history_sees_nothing_from_the_snapshot_on(small, rewritten, written):
    other = language_model.Writer.of(rewritten, ["trip"], tokenise)
    assert all(written.history(user) == other.history(user) for user in range(small.size))


def test_the_language_model_reads_each_history_by_itself(small, tmp_path, monkeypatch):
    """Two layers with random weights: a user's vector must not depend on whose histories share the batch."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    words = sorted({word for text in small.tables.texts["text"] for word in text.replace(",", " ").split()})
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<unk>", *words])}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>").save_pretrained(tmp_path)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape["initializer_range"] = 0.3
    LlamaModel(LlamaConfig(vocab_size=len(words) + 1, **shape)).to(torch.bfloat16).save_pretrained(tmp_path)
    monkeypatch.setattr(language_model, "BATCH", 8)
    users = np.arange(3, 40)
    together = language_model.language_model(small, [], users, tmp_path)
    alone = language_model.language_model(small, [], users[[4]], tmp_path)
    np.testing.assert_allclose(together[users[4]], alone[users[4]], atol=0.05)
    assert np.abs(together[users] - alone[users[4]]).mean(axis=1).argmin() == 4
    assert together[users].std(axis=0).mean() > 0.2 and not together[:3].any() and not together[40:].any()
