"""The studies' parts, each with a planted truth: noise that is noise, vectors that follow or not, claims that fail."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from instructue.errors import DataError, LeakageError
from instructue.evaluation.population import Population
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.results import GENERAL, MACRO, OURS, StudyRow
from instructue.evaluation.studies import losses, neighbours, paraphrases, robustness
from instructue.evaluation.studies.bench import Bench, among
from instructue.evaluation.studies.figures import mean, rows, verdict, weights
from instructue.evaluation.studies.judging import auc, judge_all, judgeable, labels_of, named
from instructue.evaluation.studies.noise import KINDS, POPULAR, noisy
from instructue.evaluation.studies.stored import read_studies, write_studies
from instructue.evaluation.studies.taught import across, in_other_words
from instructue.evaluation.studies.unseen_attributes import unseen_attributes
from instructue.evaluation.studies.wordings import plain, wordings
from instructue.network.mixing import even_rotation
from instructue.network.user_model import Shape
from instructue.paths import Paths


@pytest.fixture(scope="module")
def users(small: Population) -> pl.Series:
    return small.users[::3]


def draws(value: float, spread: float = 0.001) -> np.ndarray:
    """A value and draws around it, as a metric has them."""
    return np.r_[value, value + spread * np.random.default_rng(0).normal(size=200)]


# Noise


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_the_share_asked_for_and_all_of_it_is_strange(small, users, kind):
    tables = noisy(small, users, kind, 0.75, 1)
    for source in tables.dataset.event_sources:
        past, mixed = small.past(source.name), tables.events[source.name]
        own = past.filter(pl.col("user").is_in(users.implode()))
        assert mixed.height == 4 * own.height > 0
        # All own events are kept, and a line of the file that noise repeats is nobody's own.
        drawn = mixed.join(own, on=["user", "row"], how="anti")
        assert drawn.height == 3 * own.height
        assert mixed.height - drawn.height == own.height
        owner = past.select("row", origin="user").unique("row")
        assert (drawn.join(owner, on="row").select(pl.col("origin") != pl.col("user")).to_series()).all()
        if kind == "popular":
            assert drawn["text_id"].n_unique() <= POPULAR


def test_noisy_histories_end_before_the_snapshot_and_hold_no_future(small, users):
    tables = noisy(small, users, "others", 0.5, 1)
    made = Population.of(tables)  # refuses unsorted tables, strangers and events past the snapshot
    assert made.users.to_list() == users.to_list()
    for source in tables.dataset.event_sources:
        assert (tables.events[source.name]["time"] < small.snapshot).all()
        assert made.future(source.name, 28).is_empty()
        assert made.past(source.name).height == tables.events[source.name].height


def test_an_event_of_the_label_window_among_the_noise_is_refused(small, users):
    """The check that guards the noisy tables sees a planted leak."""
    tables = noisy(small, users, "others", 0.5, 1)
    name = tables.dataset.event_sources[0].name
    late = tables.events[name].with_columns(
        time=pl.when(pl.int_range(pl.len()) == pl.len() - 1).then(pl.lit(small.snapshot)).otherwise("time")
    )
    with pytest.raises(LeakageError):
        Population.of(replace(tables, events=tables.events | {name: late}))


def test_no_noise_leaves_the_pasts_as_they_are_and_seeds_decide(small, users):
    clean, half = noisy(small, users, "others", 0.0, 1), among(small, users)
    for source in clean.dataset.event_sources:
        assert Population.of(clean).past(source.name).equals(half.past(source.name))
    first = small.tables.dataset.event_sources[0].name
    one, same, other = (noisy(small, users, "others", 0.5, seed).events[first] for seed in (1, 1, 2))
    assert one.equals(same) and not one.equals(other)
    with pytest.raises(DataError, match="share of noise"):
        noisy(small, users, "others", 1.0, 1)


# Judging


def test_vectors_that_know_the_label_score_and_random_ones_do_not(small, small_config, tasks):
    chosen = list(tasks.values())
    protocol = Protocol.draw(small_config.evaluation, small, chosen)
    kept, notes = judgeable([tasks["coupon_use_8w"], tasks["R_all"]], small, protocol)
    assert [task.name for task in kept] == ["coupon_use_8w"] and not notes
    _, y, _ = labels_of(kept[0], small)
    rng = np.random.default_rng(0)
    vectors = {OURS: rng.normal(size=(small.size, 8)) + 4 * y[:, None], GENERAL: rng.normal(size=(small.size, 8))}
    frame = pl.concat(
        [
            pl.DataFrame({"user": small.users, "task": task, "context": "", "method": method}).with_columns(
                vector=pl.Series(x.astype(np.float32), dtype=pl.Array(pl.Float32, 8))
            )
            for (method, x), task in zip(vectors.items(), ("coupon_use_8w", ""), strict=True)
        ]
    )
    judged = judge_all(named((OURS, GENERAL, "mean_text")), kept, small, protocol, frame, small, Paths(Path()))
    assert auc(judged, OURS)["coupon_use_8w"][0] > 0.95
    assert abs(auc(judged, GENERAL)["coupon_use_8w"][0] - 0.5) < 0.2
    assert set(judged) == {("coupon_use_8w", m) for m in (OURS, GENERAL, "mean_text")}


def test_a_task_with_too_few_positives_is_left_out_with_a_note(small, small_config, tasks):
    protocol = Protocol.draw(small_config.evaluation, small, list(tasks.values()))
    rare = tasks["buy4w_coffee"].label.model_copy(update={"where": "quantity > 1e9"})
    kept, notes = judgeable([tasks["buy4w_coffee"].model_copy(update={"label": rare})], small, protocol)
    assert not kept and "0 positives" in notes[0]


# Neighbours and paraphrases


def test_neighbours_of_a_clustered_label_are_lifted_and_of_a_random_one_are_not():
    rng = np.random.default_rng(0)
    label = (rng.random(300) < 0.2).astype(float)
    drawn = weights(300, 200, 0)

    def lift(centres: np.ndarray) -> np.ndarray:
        x = rng.normal(size=(300, 16)) + centres
        near = neighbours.nearest(x / np.linalg.norm(x, axis=1, keepdims=True))
        assert not (near == np.arange(300)[:, None]).any()
        return neighbours.lifts(near, label, drawn)

    clustered, random = lift(5 * label[:, None]), lift(np.zeros((300, 1)))
    assert clustered[0] > 4
    assert abs(random[0] - 1) < 0.3
    assert verdict(clustered - random, ("no", "open", "yes")) == "yes"


@pytest.fixture(scope="module")
def question() -> np.ndarray:
    return np.repeat([0, 1, 2], 4)


def _moved(vectors: np.ndarray, question: np.ndarray) -> dict:
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return paraphrases.moved(unit, question, ["a", "b", "c"], weights(len(unit), 200, 0), np.asarray)


def test_movement_is_seen_where_it_is_and_not_where_it_is_not(question):
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(40, 12, 16))
    shift = rng.normal(size=(3, 16))[question]  # the same for everybody
    own = rng.normal(size=(40, 3, 16))[:, question]  # each user's own answer to each question
    for vectors, shifted, personal in ((noise, 0, 0), (noise + 5 * shift, 1, 0), (noise + 5 * own, 1, 1)):
        found = _moved(vectors, question)
        for metric, expected in (("cosine", shifted), ("cosine_own", personal)):
            settings = found[metric]
            gap = settings[paraphrases.SAME]["a"][0] - settings[paraphrases.ANOTHER]["a"][0]
            assert (gap > 0.3) == bool(expected), (metric, gap)
        hit = found["nearest_is_paraphrase"][paraphrases.SAME]["a"][0]
        assert hit > 0.95 if shifted else hit < 0.5


def test_told_is_what_the_language_model_wrote_before_the_turn(small_config, tmp_path):
    shape = Shape(sources=1, event_sources=1, windows=1, attributes=0, frequent=1, features=5, text_width=8,
                  map_width=24, evidence_width=16, dim=64, layers=1, lora_rank=1)  # fmt: skip
    turn = even_rotation(64)
    bench = Bench(small_config, Paths(tmp_path))
    bench.__dict__["parts"] = SimpleNamespace(model=SimpleNamespace(shape=shape, turn_EE=turn))
    joined = np.random.default_rng(0).normal(size=(3, 2, 64)).astype(np.float32)
    np.testing.assert_allclose(bench.told(joined @ turn.numpy()), joined[..., :24], atol=1e-5)


def test_cosines_are_those_of_a_plain_loop(question):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(5, 12, 6))
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    found = _moved(x, question)["cosine"]
    pairs = {paraphrases.SAME: [], paraphrases.ANOTHER: []}
    for user in x:
        for i in range(4):
            for j in range(12):
                if i != j:
                    pairs[paraphrases.SAME if j < 4 else paraphrases.ANOTHER].append(user[i] @ user[j])
    strangers = [x[u, i] @ x[v, i] for i in range(4) for u in range(5) for v in range(5) if u != v]
    for name, values in (*pairs.items(), (paraphrases.NOBODY, strangers)):
        assert found[name]["a"][0] == pytest.approx(np.mean(values), abs=1e-6)


def test_wordings_ask_the_same_in_other_words(tasks):
    given = wordings(tasks["buy4w_coffee"], "household", 3)
    assert given[1:] == [text.replace("{who}", "household") for text in tasks["buy4w_coffee"].paraphrases]
    alone = {name: tasks[name].model_copy(update={"paraphrases": []}) for name in ("buy4w_coffee", "R_all")}
    will = wordings(alone["buy4w_coffee"], "household", 3)
    assert will[:2] == [
        "Will the household buy coffee within 4 weeks?",
        "Tell me whether the household will buy coffee within 4 weeks.",
    ]
    which = wordings(alone["R_all"], "household", 3)
    assert which[1] == "Tell me which products the household will buy within 4 weeks."
    odd = alone["buy4w_coffee"].model_copy(update={"instruction": "Coffee soon, {who}?"})
    for said in (given, will, which, wordings(odd, "household", 3)):
        assert len(set(said)) == 4 and not any("{" in text for text in said)
    assert {name for name, task in tasks.items() if not plain(task)} == {"income75k", "age55", "redeem_campaign"}


# Figures and answers


def test_rows_carry_values_intervals_and_their_mean():
    found = rows({"a": draws(0.8), "b": draws(0.6)}, OURS, 0.4, "auc", {"a": 5, "b": 6})
    assert [(r.task, r.value, r.n) for r in found] == [(MACRO, 0.7, None), ("a", 0.8, 5), ("b", 0.6, 6)]
    assert all(None is not r.low < r.value < r.high for r in found)
    assert np.isnan(mean(np.ones(2), np.zeros((1, 2)))).all()


def test_robustness_says_so_when_the_instruction_does_not_protect():
    def curves(with_noise: float, without: float) -> dict:
        others = {"mean_text": {"a": draws(0.7)}}
        return {
            0.0: {OURS: {"a": draws(0.8)}, GENERAL: {"a": draws(0.78)}} | others,
            0.5: {OURS: {"a": draws(with_noise)}, GENERAL: {"a": draws(without)}} | others,
        }

    assert "so the instruction protects" in robustness.answer(curves(0.79, 0.70), "others")
    assert "does not protect" in robustness.answer(curves(0.70, 0.75), "others")
    level = curves(0.75, 0.73)
    level[0.5][OURS]["a"] = draws(0.75, 0.05)[::-1].copy()
    level[0.5][OURS]["a"][0] = 0.75
    assert "not shown" in robustness.answer(level, "others")
    # What is decided at a lesser share is not passed over.
    level[0.25] = {OURS: {"a": draws(0.75)}, GENERAL: {"a": draws(0.78)}, "mean_text": {"a": draws(0.7)}}
    assert "though at 25% it changes by \N{MINUS SIGN}0.050" in robustness.answer(level, "others")
    change = [r for r in robustness.study_rows(curves(0.79, 0.70), 9) if r.metric == "auc_change" and r.method == OURS]
    assert change == [StudyRow(task="a", method=OURS, setting=0.5, metric="auc_change", value=-0.01, low=change[0].low,
                               high=change[0].high, n=9, baseline="no noise")]  # fmt: skip


def test_losses_say_so_when_joint_training_is_behind():
    settings = {
        "joint": {"a": draws(0.8)},
        "contrastive alone": {"a": draws(0.82)},
        "autoregressive alone": {"a": draws(0.7)},
    }
    assert "does not hold: joint training is behind contrastive alone" in losses.answer(settings)
    settings["contrastive alone"] = {"a": draws(0.79)}
    assert "both losses are worth having" in losses.answer(settings)


def test_unseen_attributes_counts_wins_and_losses(tasks):
    def pair(task: str, baseline: str, low: float, high: float) -> dict:
        return {"task": task, "family": "prediction", "method": OURS, "baseline": baseline, "labels": "all",
                "metric": "auc", "difference": (low + high) / 2, "low": low, "high": high}  # fmt: skip

    pairs = [pair("age55", "tfidf_lr", -0.04, -0.01), pair("age55", "mean_text", 0.01, 0.03),
             pair("age55", "untrained", -0.01, 0.01), pair("buy4w_coffee", "tfidf_lr", 0.1, 0.2)]  # fmt: skip
    row = {"task": "age55", "family": "prediction", "method": OURS, "labels": "all", "metric": "auc", "value": 0.83,
           "low": 0.8, "high": 0.86, "n": 801, "positives": 131}  # fmt: skip
    study = unseen_attributes([row], pairs, list(tasks.values()))
    assert study is not None and {r.task for r in study.rows} == {"age55"} and len(study.rows) == 4
    assert "ahead in 1 of 3 comparisons, behind in 1, undecided in 1" in study.answer
    assert unseen_attributes([row], pairs, [tasks["buy4w_coffee"]]) is None


def test_studies_come_back_as_written_and_damage_is_named(tmp_path, tasks):
    study = robustness._study("others", {0.0: {OURS: {"a": draws(0.8)}, GENERAL: {"a": draws(0.7)}}}, 5, ["a note"])
    path = tmp_path / "studies.json"
    assert read_studies(path) == []
    write_studies(path, [study])
    assert read_studies(path) == [study]
    raw = json.loads(path.read_text())
    raw[0].pop("answer")
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=r"studies\.json is no list of studies"):
        read_studies(path)


def test_a_probe_is_carried_to_other_wordings_and_fails_where_they_turn_the_vector(small, config, tasks):
    """Planted: two wordings that say the same, and two of which the second says the opposite."""
    protocol = Protocol.draw(
        config.evaluation.model_copy(update={"repeats": 1, "bootstrap": 20}), small, [*tasks.values()]
    )
    asked = {"buy4w_coffee": in_other_words(tasks["buy4w_coffee"])[:2]}
    _, y, users = labels_of(tasks["buy4w_coffee"], small)
    signal = np.random.default_rng(0).normal(size=(small.size, 1)).astype(np.float32)
    signal[users, 0] += 4 * y
    same, turned = (np.stack([signal, sign * signal], axis=1) for sign in (1, -1))
    assert across(same, asked, small, protocol)["buy4w_coffee"][0] > 0.95
    assert across(turned, asked, small, protocol)["buy4w_coffee"][0] < 0.05
