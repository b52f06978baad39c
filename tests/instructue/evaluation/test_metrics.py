import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score, roc_curve

from instructue.evaluation.metrics import binary_metrics, ndcg, ranking_metrics, top_items


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def brute_lift(scores, y):
    n = len(y)
    order = np.argsort(-scores, kind="stable")
    return y[order][: n // 10].mean() / y.mean()


@pytest.mark.parametrize("ties", [False, True])
def test_binary_metrics_are_those_of_scikit_learn(rng, ties):
    y = (rng.random(400) < 0.2).astype(int)
    scores = rng.normal(size=400) + y
    if ties:
        scores = scores.round()
    found = binary_metrics(scores, y, np.ones((1, 400)))
    below, above, _ = roc_curve(y, scores, drop_intermediate=False)
    assert found["auc"][0] == pytest.approx(roc_auc_score(y, scores), abs=1e-6)
    assert found["average_precision"][0] == pytest.approx(average_precision_score(y, scores), abs=1e-6)
    assert found["ks"][0] == pytest.approx((above - below).max(), abs=1e-6)
    if not ties:
        assert found["lift@10%"][0] == pytest.approx(brute_lift(scores, y), abs=1e-5)


def test_weights_count_rows_as_often_as_they_were_drawn(rng):
    y = (rng.random(120) < 0.3).astype(int)
    scores = (rng.normal(size=120) + y).round(1)
    weights = rng.multinomial(120, np.full(120, 1 / 120), size=5)
    found = binary_metrics(scores, y, weights)
    for draw, weight in enumerate(weights):
        rows = np.repeat(np.arange(120), weight)
        alone = binary_metrics(scores[rows], y[rows], np.ones((1, len(rows))))
        assert found["auc"][draw] == pytest.approx(roc_auc_score(y[rows], scores[rows]), abs=1e-6)
        assert all(found[name][draw] == pytest.approx(alone[name][0], abs=1e-6) for name in found)


def test_a_draw_of_one_class_has_no_figure():
    found = binary_metrics(np.array([0.1, 0.2]), np.array([0, 1]), np.array([[1, 1], [2, 0]]))
    assert found["auc"][0] == 1
    assert all(np.isnan(values[1]) for values in found.values())


def test_a_thousand_draws_take_well_under_a_second(rng):
    import time

    y, scores = (rng.random(2373) < 0.2).astype(int), rng.normal(size=2373)
    weights = rng.multinomial(2373, np.full(2373, 1 / 2373), size=1000).astype(np.float32)
    started = time.process_time()
    binary_metrics(scores, y, weights, ("auc",))
    assert time.process_time() - started < 1


def test_ranking_metrics_are_those_of_scikit_learn_and_by_hand(rng):
    scores = rng.normal(size=(60, 40))
    relevant = rng.random((60, 40)) < 0.2
    relevant[0] = False
    found = ranking_metrics(scores, relevant)
    kept = relevant.any(axis=1)
    assert np.isnan(found["ndcg@10"][0]) and np.isnan(found["recall@10"][0])
    assert found["ndcg@10"][kept].mean() == pytest.approx(ndcg_score(relevant[kept], scores[kept], k=10), abs=1e-9)
    for user in np.flatnonzero(kept):
        best = set(np.argsort(-scores[user])[:10])
        right = set(np.flatnonzero(relevant[user]))
        assert found["hr@10"][user] == bool(best & right)
        assert found["recall@10"][user] == pytest.approx(len(best & right) / len(right))


def test_excluded_items_are_never_found():
    scores = np.full((1, 12), -np.inf)
    scores[0, 3] = 1
    relevant = np.ones((1, 12), bool)
    assert ranking_metrics(scores, relevant)["recall@10"][0] == pytest.approx(1 / 12)
    assert top_items(scores)[0, 0] == 3


def test_few_items_are_ranked_whole():
    scores = np.array([[0.1, 0.3, 0.2]])
    assert top_items(scores).tolist() == [[1, 2, 0]]
    assert ndcg(scores, np.array([[False, True, False]]))[0] == 1
