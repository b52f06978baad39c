from itertools import permutations

import numpy as np
import pytest

from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import Method
from instructue.evaluation.prediction import judge
from instructue.evaluation.protocol import Protocol, deal, interval
from instructue.evaluation.results import UpliftCurve
from instructue.evaluation.tasks import TaskSpec
from instructue.evaluation.uplift import curves, doubt, judge_uplift, too_few, uplift_curve, uplift_metrics

TASK = TaskSpec.model_validate({
    "name": "sold", "family": "marketing", "description": "buys", "instruction": "Will it buy?", "yes": "Y", "no": "N",
    "label": {"rule": "occurs", "source": "sale", "where": "amount > 0", "days": 28},
})  # fmt: skip


def plain(scores, y, treated, count):
    """Areas under the Qini and the uplift curve, row by row, of a sample without ties and rows drawn `count` times."""
    rows = [i for i in np.argsort(-scores) for _ in range(int(count[i]))]
    n, arms = len(rows), {1: sum(treated[i] for i in rows)}
    points, seen, had = [(0.0, 0.0)], {0: 0, 1: 0}, {0: 0, 1: 0}
    for i in rows:
        seen[treated[i]] += 1
        had[treated[i]] += y[i]
        rate = {arm: had[arm] / seen[arm] if seen[arm] else 0.0 for arm in (0, 1)}
        points.append(((had[1] - rate[0] * seen[1]) / arms[1], (seen[0] + seen[1]) / n * (rate[1] - rate[0])))
    return [sum((a[c] + b[c]) / 2 for a, b in zip(points, points[1:], strict=False)) / n for c in (0, 1)], points


@pytest.fixture(scope="module")
def trial():
    """4,000 users, half treated at random; treatment moves those with a high first feature, and only them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 5)).astype(np.float32)
    treated = rng.integers(0, 2, 4000)
    effect = 0.3 / (1 + np.exp(-4 * x[:, 0]))
    y = (rng.random(4000) < 0.15 + 0.1 * (x[:, 1] > 0) + treated * effect).astype(int)
    return x, y, treated, effect


@pytest.fixture(scope="module")
def users():
    """A protocol of 4,000 users, two repeats of four folds."""
    rng, n = np.random.default_rng(1), 4000
    folds, inner = (np.stack([deal(np.zeros(n, int), 4, rng) for _ in range(2)]) for _ in range(2))
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=200)
    return Protocol(folds, inner, np.concatenate([np.ones((1, n)), drawn]).astype(np.float32), 0)


def test_areas_are_those_of_a_plain_loop():
    rng = np.random.default_rng(2)
    scores, y, treated = rng.random(300), rng.integers(0, 2, 300), (rng.random(300) < 0.7).astype(int)
    weights = np.stack([np.ones(300), (rng.random(300) < 0.5)])
    found = uplift_metrics(scores[None], y, treated, weights)
    share, qini, uplift = curves(scores, y, treated, weights[:1])
    for draw, count in enumerate(weights):
        (area, auuc), points = plain(scores, y, treated, count)
        assert found["auuc"][draw] == pytest.approx(auuc, abs=1e-6)
        kept = count > 0
        best = sum_of_best(y[kept], treated[kept])
        end = points[-1][0] / 2
        assert found["qini"][draw] == pytest.approx((area - end) / (best - end), abs=1e-5)
        if draw == 0:
            np.testing.assert_allclose(np.stack([qini[0], uplift[0]], axis=1), points, atol=1e-6)
            np.testing.assert_allclose(share[0], np.linspace(0, 1, 301), atol=1e-6)


def sum_of_best(y, treated):
    """Area of the best curve: up to all treated positives, level, then down straight to the average effect."""
    n, n_treated = len(y), treated.sum()
    won, lost = (y * treated).sum(), (y * (1 - treated)).sum()
    top, end = won / n_treated, won / n_treated - lost / (n - n_treated)
    return top * won / n / 2 + top * (n - won - lost) / n + (top + end) / 2 * lost / n


def test_no_order_passes_the_best_one():
    y, treated = np.array([1, 0, 1, 0, 1, 0]), np.array([1, 1, 0, 0, 1, 0])
    found = [
        uplift_metrics(np.array([p], float), y, treated, np.ones((1, 6)))["qini"][0] for p in permutations(range(6))
    ]
    assert 0.5 < max(found) <= 1 + 1e-6


def test_a_draw_counts_its_rows_as_often_as_drawn():
    rng = np.random.default_rng(3)
    scores, y, treated = rng.integers(0, 9, (1, 80)), rng.integers(0, 2, 80), rng.integers(0, 2, 80)
    count = rng.integers(0, 3, 80)
    repeated = np.repeat(np.arange(80), count)
    drawn = uplift_metrics(scores, y, treated, count[None])
    whole = uplift_metrics(scores[:, repeated], y[repeated], treated[repeated], np.ones((1, len(repeated))))
    for name in ("qini", "auuc"):
        assert drawn[name] == pytest.approx(whole[name], abs=1e-6)


def test_equal_scores_are_treating_at_random(trial):
    _, y, treated, _ = trial
    found = uplift_metrics(np.zeros((1, 4000)), y, treated, np.ones((1, 4000)))
    effect = y[treated == 1].mean() - y[treated == 0].mean()
    assert found["qini"][0] == pytest.approx(0, abs=1e-6) and found["auuc"][0] == pytest.approx(effect / 2, abs=1e-6)


def test_the_true_ranking_is_far_above_random_and_a_shuffled_one_is_not(trial, users):
    _, y, treated, effect = trial
    shuffled = np.random.default_rng(4).permutation(effect)
    true, none, turned = (
        uplift_metrics(s[None], y, treated, users.weights)["qini"] for s in (effect, shuffled, -effect)
    )
    assert interval(true[1:])[0] > 0.03
    assert interval(none[1:])[0] < 0 < interval(none[1:])[1]
    assert interval(turned[1:])[1] < -0.03


def test_two_models_find_a_planted_effect(trial, users):
    x, y, treated, effect = trial
    everybody = np.arange(4000)
    found = judge_uplift(Method("own", ("own",)), TASK, x, y, treated, everybody, users)
    assert (found.method, found.labels, found.n, found.positives) == ("own", "all", 4000, y.sum())
    assert found.primary == "qini" and found.draws["qini"].shape == (201,)
    assert np.corrcoef(found.scores[0], effect)[0, 1] > 0.8
    low, high = interval(found.draws["qini"][1:])
    assert low > 0.03 and low <= found.draws["qini"][0] <= high
    true = uplift_metrics(effect[None], y, treated, users.weights)["qini"][0]
    assert found.draws["qini"][0] == pytest.approx(true, abs=0.03)
    # Shuffled labels leave nothing to find.
    noise = np.random.default_rng(5).permutation(4000)
    none = judge_uplift(Method("own", ("own",)), TASK, x, y[noise], treated[noise], everybody, users)
    low, high = interval(none.draws["qini"][1:])
    assert low < 0 < high


def test_the_models_never_learn_from_the_user_they_score(trial, users):
    """A feature that is the outcome of the row itself must not help beyond what it tells about others."""
    _, y, treated, _ = trial
    own = np.zeros((4000, 4000), np.float32)
    own[np.arange(4000), np.arange(4000)] = 1

    def memory(x, y, x_new, inner):
        """Knows the outcome of each row that it learnt from, and nothing of others."""
        return x_new @ (x.T @ (2.0 * y - 1)) * 5

    found = judge_uplift(Method("memory", ("own",), memory), TASK, own, y, treated, np.arange(4000), users)
    assert found.draws["qini"][0] == pytest.approx(0, abs=1e-6)


def test_an_arm_with_one_class_is_scored_by_its_rate():
    rng, n = np.random.default_rng(6), 400
    x, treated = rng.normal(size=(n, 2)).astype(np.float32), np.arange(n) % 2
    y = np.where(treated == 1, x[:, 0] > 0, 0).astype(int)
    folds = np.stack([np.arange(n) // 2 % 4])
    protocol = Protocol(folds, folds, np.ones((3, n), np.float32), 0)
    found = judge_uplift(Method("own", ("own",)), TASK, x, y, treated, np.arange(n), protocol)
    assert np.corrcoef(found.scores[0], x[:, 0])[0, 1] > 0.8
    assert too_few(y, treated) == "0 positives of 200 control rows are too few to judge uplift by"
    assert too_few((x[:, 0] > 0).astype(int), treated) is None


def test_a_draw_without_an_arm_has_no_value():
    y, treated = np.array([1, 0, 1, 0]), np.array([1, 1, 0, 0])
    found = uplift_metrics(np.arange(4.0)[None], y, treated, np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]]))
    for values in found.values():
        assert np.isfinite(values).tolist() == [True, False, False]


def test_the_curve_ends_at_the_average_effect(trial):
    _, y, treated, effect = trial
    curve = uplift_curve(np.stack([effect, effect]), y, treated)
    assert curve["share"][0] == 0 and curve["share"][-1] == 1 and curve["gain"][0] == 0
    assert curve["gain"][-1] == pytest.approx(y[treated == 1].mean() - y[treated == 0].mean(), abs=1e-6)
    # Half of the users carry nearly all of the effect.
    assert curve["gain"][50] > 0.8 * curve["gain"][-1]
    UpliftCurve(task="t", method="m", **curve)


def test_treatment_that_follows_the_past_is_doubted(trial, users):
    x, _, treated, _ = trial
    method, everybody = Method("own", ("own",)), np.arange(4000)
    assert doubt(judge(method, TASK, x, treated, everybody, users)) is None
    chosen = (x[:, 0] + np.random.default_rng(7).normal(size=4000) > 0).astype(int)
    assert "own foresees who was treated" in str(doubt(judge(method, TASK, x, chosen, everybody, users)))
    assert doubt(Judged("t", "marketing", "m", "all", 1, 1, {"auc": np.full(3, np.nan)})) is None
