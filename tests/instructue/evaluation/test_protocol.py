"""The protocol's promises, each with a planted cheat that must be caught."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from instructue.errors import LeakageError
from instructue.evaluation.baselines import features
from instructue.evaluation.judged import Judged, macro_of, pairs_of, rows_of, widened
from instructue.evaluation.methods import METHODS, Method
from instructue.evaluation.metrics import binary_metrics
from instructue.evaluation.population import Population
from instructue.evaluation.prediction import enough, judge, out_of_fold
from instructue.evaluation.protocol import Protocol, deal, interval, strata
from instructue.evaluation.tasks import load_tasks

LINEAR = Method("any", ())


def labelled(task, population):
    rows = task.label.labels(population)
    return rows["label"].to_numpy().astype(int), population.positions(rows["user"])


def test_folds_never_split_a_user_and_cover_everybody_once(full, tasks, protocol):
    users = labelled(tasks["redeem_campaign"], full)[1]
    assert len(np.unique(users)) < len(users)  # several campaigns of one household
    scored = np.zeros((len(protocol.folds), len(users)), int)
    for split in protocol.splits(users):
        assert not set(users[split.train]) & set(users[split.test])
        scored[split.repeat, split.test] += 1
    assert (scored == 1).all()


def test_folds_and_inner_folds_are_balanced_and_differ_between_repeats(full, tasks, protocol):
    groups = strata(full, list(tasks.values()))
    assert len(np.unique(groups)) >= 8
    for folds in (*protocol.folds, *protocol.inner):
        sizes = np.array([[np.sum((folds == f) & (groups == g)) for f in np.unique(folds)] for g in np.unique(groups)])
        assert np.ptp(sizes, axis=1).max() <= 1
    assert not (protocol.folds[0] == protocol.folds[1]).all()


def test_the_protocol_is_the_same_when_drawn_again(config, full, tasks, protocol):
    again = Protocol.draw(config.evaluation, full, list(tasks.values()))
    assert (again.folds == protocol.folds).all() and (again.weights == protocol.weights).all()
    assert (protocol.weights[0] == 1).all()
    assert (protocol.weights.sum(axis=1) == full.size).all()


def test_labels_of_the_scored_fold_reach_neither_probe_nor_its_strength(full, tasks, protocol):
    """Turning every label of one fold around must leave that fold's own scores as they were."""
    y, users = labelled(tasks["age55"], full)
    one = dataclasses.replace(protocol, folds=protocol.folds[:1], inner=protocol.inner[:1])
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(len(y), 30)) + y[:, None]).astype(np.float32)
    held = one.folds[0][users] == 0
    for method in (LINEAR, next(m for m in METHODS if m.name == "aggregates_lightgbm")):
        told = out_of_fold(method, x, y, users, one, None).scores[0]
        lied = out_of_fold(method, x, np.where(held, 1 - y, y), users, one, None).scores[0]
        np.testing.assert_array_equal(told[held], lied[held])
        assert (told[~held] != lied[~held]).any()


def test_a_strength_tuned_on_the_scored_fold_would_show(full, tasks, protocol):
    """The planted cheat: on pure noise, choosing among many probes by the scored fold beats chance; ours does not."""
    y, users = labelled(tasks["age55"], full)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(len(y), 60)).astype(np.float32)

    def cheat(x_train, y_train, x_new, inner):
        truth = answers[x_new.tobytes()]
        ways = [x_new[:, i] * sign for i in range(x_new.shape[1]) for sign in (-1, 1)]
        return max(ways, key=lambda s: binary_metrics(s, truth, np.ones((1, len(s))), ("auc",))["auc"][0])

    answers = {x[s.test].tobytes(): y[s.test] for s in protocol.splits(users)}
    task = tasks["age55"]
    honest = judge(LINEAR, task, x, y, users, protocol).draws["auc"]
    tuned = judge(Method("cheat", (), learner=cheat), task, x, y, users, protocol).draws["auc"]
    low, high = interval(honest[1:])
    assert low < 0.5 < high
    assert interval(tuned[1:])[0] > 0.55


@pytest.mark.parametrize("name", ["age55", "redeem_campaign", "coupon_use_8w"])
def test_shuffled_labels_score_a_half(full, tasks, protocol, name):
    y, users = labelled(tasks[name], full)
    x = features.mean_text(full, tasks[name].hides)[users]
    rng, values, covered = np.random.default_rng(3), [], 0
    for _ in range(6):
        draws = judge(LINEAR, tasks[name], x, rng.permutation(y), users, protocol).draws["auc"]
        low, high = interval(draws[1:])
        values.append(draws[0])
        covered += low < 0.5 < high
    assert covered >= 3 and abs(np.mean(values) - 0.5) < 0.03
    truth = judge(LINEAR, tasks[name], np.c_[x, y + rng.normal(size=len(y))].astype(np.float32), y, users, protocol)
    assert interval(truth.draws["auc"][1:])[0] > 0.6  # the same path does find what is there


def test_few_labels_are_the_same_rows_for_every_method_and_from_training_users_only(full, tasks, protocol):
    y, users = labelled(tasks["age55"], full)
    for split in protocol.splits(users):
        few, again = protocol.few(split, y, 64), protocol.few(split, y, 64)
        assert (few.train == again.train).all() and len(set(few.train)) == 64
        assert set(few.train) <= set(split.train) and (few.test == split.test).all()
        assert abs(y[few.train].mean() - y[split.train].mean()) < 1 / 64
        assert np.bincount(few.inner).min() == 16
    assert not enough(y, users, protocol, 801)


def test_few_label_curves_draw_as_many_training_sets_as_asked_and_score_each_row_once_a_pass(full, tasks, protocol):
    y, users = labelled(tasks["age55"], full)
    drawn = dataclasses.replace(protocol, few_draws=20)
    splits = list(drawn.few_splits(users, y, 32))
    assert len(splits) == 20 and len({split.train.tobytes() for split in splits}) == 20
    scored = np.zeros((4, len(y)), int)
    for split in splits:
        assert not set(users[split.train]) & set(users[split.test])
        scored[split.repeat, split.test] += 1
    assert (scored == 1).all()


def test_more_labels_are_better(full, tasks, protocol):
    y, users = labelled(tasks["coupon_use_8w"], full)
    x = features.mean_text(full, [])[users]
    scores = [judge(LINEAR, tasks["coupon_use_8w"], x, y, users, protocol, n).draws["auc"][0] for n in (64, None)]
    assert scores[0] < scores[1]


def test_bootstrap_intervals_cover_the_truth():
    """AUC of two unit normals one apart is Phi(1/sqrt 2) = 0.760; 95% intervals hold it about 95 times in 100."""
    rng, n, caught, runs = np.random.default_rng(4), 300, 0, 300
    for _ in range(runs):
        y = (rng.random(n) < 0.3).astype(int)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=200)
        low, high = interval(binary_metrics(rng.normal(size=n) + y, y, weights, ("auc",))["auc"])
        caught += low <= 0.7602 <= high
    assert 0.90 <= caught / runs <= 0.98


def test_dealing_is_even():
    folds = deal(np.repeat([0, 1, 2], [7, 11, 5]), 4, np.random.default_rng(0))
    assert np.ptp(np.bincount(folds)) <= 1


# What looks past the snapshot.


def test_a_history_that_reaches_into_the_horizon_is_refused(small_tables):
    histories = small_tables.histories.with_columns(purchase_end=small_tables.histories["purchase_horizon"])
    with pytest.raises(LeakageError, match="reach past their snapshot"):
        Population.of(dataclasses.replace(small_tables, histories=histories))


def test_a_training_horizon_within_the_label_window_is_refused(small_tables):
    late = small_tables.histories.with_columns(horizon_end=pl.col("horizon_end").dt.offset_by("10d"))
    with pytest.raises(LeakageError, match="training horizons end after"):
        Population.of(dataclasses.replace(small_tables, histories=late))


@pytest.mark.parametrize("make", [
    features.mean_text, features.aggregates, lambda p, h: features.tfidf(p, h, np.arange(p.size)),
])  # fmt: skip
def test_features_do_not_change_when_the_future_does(small_tables, small, make):
    events = {}
    for name, frame in small_tables.events.items():
        if "time" not in frame.columns:
            events[name] = frame
            continue
        # The future is made up: other texts, other numbers; its rows stay, for ranges count them.
        later = pl.col("time") >= small.snapshot
        numbers = small_tables.dataset.source(name).columns
        events[name] = frame.with_columns(
            pl.when(later).then(pl.lit(0, pl.UInt32)).otherwise("text_id").alias("text_id"),
            *[pl.when(later).then(999.0).otherwise(c).alias(c) for c in numbers],
        )
    other = Population.of(dataclasses.replace(small_tables, events=events))
    np.testing.assert_array_equal(make(other, []), make(small, []))


@pytest.mark.parametrize("make", [features.mean_text, features.aggregates])
def test_hidden_sources_leave_no_trace(small_tables, small, make):
    profile = small_tables.events["profile"].with_columns(text_id=pl.lit(0, pl.UInt32))
    other = Population.of(dataclasses.replace(small_tables, events=small_tables.events | {"profile": profile}))
    np.testing.assert_array_equal(make(other, ["profile"]), make(small, ["profile"]))
    assert not np.array_equal(make(small, []), make(small, ["profile"]))


# Rows, pairs, macro averages.


def made(task, method, value, family="prediction", labels="all"):
    return Judged(task, family, method, labels, 10, 3, {"auc": np.array([value, value - 0.1, value + 0.1])})


def test_pairs_are_differences_draw_by_draw():
    ours, other = made("a", "instructue", 0.8), made("a", "mean_text", 0.7)
    general = made("a", "instructue_general", 0.75)
    pairs = pairs_of([ours, general, other], {"instructue": None, "instructue_general": None})
    assert [(p["method"], p["baseline"]) for p in pairs] == [
        ("instructue", "instructue_general"), ("instructue", "mean_text"), ("instructue_general", "mean_text"),
    ]  # fmt: skip
    assert pairs[1]["difference"] == pytest.approx(0.1)
    assert pairs[1]["low"] == pairs[1]["high"] == pytest.approx(0.1)  # both move alike, draw by draw
    assert rows_of([ours])[0]["low"] < 0.8 < rows_of([ours])[0]["high"]


def test_a_method_may_be_held_against_one_rival_only():
    mine, trees = made("a", "aggregates_with_instructue", 0.8), made("a", "aggregates_lightgbm", 0.79)
    pairs = pairs_of([mine, trees, made("a", "mean_text", 0.7)], {mine.method: (trees.method,)})
    assert [(p["method"], p["baseline"]) for p in pairs] == [(mine.method, trees.method)]
    assert "joint_low" not in pairs[0]  # not a headline comparison


def test_joint_intervals_hold_all_true_differences_at_once_and_single_ones_do_not():
    """Forty comparisons on one sample, all true differences zero: the planted multiplicity."""
    rng, runs, single, joint = np.random.default_rng(9), 120, 0, 0
    for _ in range(runs):
        sample = rng.normal(size=(40, 200)) + rng.normal(size=200)
        weights = np.vstack([np.ones(200), rng.multinomial(200, np.full(200, 1 / 200), size=400)]) / 200
        differences = list((sample - sample[:1])[1:] @ weights.T)
        factor = widened(differences)
        inside = [abs(d[0]) <= factor * d[1:].std() for d in differences]
        joint += all(inside)
        single += all(abs(d[0]) <= 1.96 * d[1:].std() for d in differences)
    assert joint / runs >= 0.88 and single / runs < 0.6


def test_macro_averages_only_what_ran_on_every_task():
    judged = [made("a", "instructue", 0.8), made("b", "instructue", 0.6), made("a", "tfidf_lr", 0.9)]
    macro = macro_of(judged)
    assert [(m.task, m.method, m.n) for m in macro] == [("macro", "instructue", 20)]
    assert macro[0].draws["auc"][0] == pytest.approx(0.7)


def test_a_figure_that_is_not_a_number_is_left_empty():
    row = rows_of([Judged("a", "prediction", "m", "all", 3, 0, {"auc": np.full(5, np.nan)})])[0]
    assert row["value"] is row["low"] is row["high"] is None


def test_tasks_of_one_data_set_are_balanced_alike_whichever_are_run(small_config, small):
    every = load_tasks(small_config.data.description())
    one = SimpleNamespace(**small_config.evaluation.model_dump())
    assert (Protocol.draw(one, small, every).folds == Protocol.draw(small_config.evaluation, small, every).folds).all()
