import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from instructue.evaluation.metrics import binary_metrics
from instructue.evaluation.probe import (
    STRENGTHS,
    Basis,
    _bilinear_path,
    _ridge_path,
    probe_bilinear,
    probe_logistic,
    probe_ridge,
    solve_logistic,
)


def planted(rng, n, p, signal=0.3):
    mix = rng.normal(size=(p, p)) * np.exp(-np.arange(p) / 10)
    x = (rng.normal(size=(n, p)) @ mix.T + 5).astype(np.float32)
    logits = (x - x.mean(0)) / x.std(0) @ rng.normal(size=p) * signal - 1
    return x, (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(int)


@pytest.mark.parametrize(("n", "p"), [(400, 30), (60, 100)])
@pytest.mark.parametrize("strength", [1e-4, 1e-2, 0.1])
def test_solution_is_that_of_scikit_learn(n, p, strength):
    x, y = planted(np.random.default_rng(1), n, p)
    basis = Basis.fit(x)
    every = np.ones((n, 1))
    weights, intercept = solve_logistic(basis.turned(x), basis.gram, y, every, np.array([strength]), tolerance=1e-5)
    scaled = StandardScaler().fit_transform(x.astype(float))
    reference = LogisticRegression(C=strength, max_iter=10_000, tol=1e-9).fit(scaled, y).decision_function(scaled)
    np.testing.assert_allclose((basis.turned(x) @ weights + intercept)[:, 0], reference, atol=2e-3)


def test_masked_columns_are_fits_on_the_rows_they_keep():
    rng = np.random.default_rng(2)
    x, y = planted(rng, 300, 10)
    basis = Basis.fit(x)
    z = basis.turned(x)
    masks = rng.random((300, 3)) < 0.6
    strengths = np.array([1e-2, 1e-1, 1.0])
    weights, intercepts = solve_logistic(z, basis.gram, y, masks, strengths, tolerance=1e-5, steps=2000)
    for column, strength in enumerate(strengths):
        kept = masks[:, column]
        # The turned axes are a rotation of the standardised ones, which the penalty does not notice.
        reference = LogisticRegression(C=strength, max_iter=10_000, tol=1e-9).fit(z[kept].astype(float), y[kept])
        np.testing.assert_allclose(weights[:, column], reference.coef_[0], atol=5e-3)
        assert intercepts[column] == pytest.approx(reference.intercept_[0], abs=5e-3)


def test_constant_features_do_no_harm():
    x, y = planted(np.random.default_rng(3), 200, 5)
    inner = np.arange(200) % 4
    plain = probe_logistic(x, y, x, inner)[0]
    padded = np.concatenate([x, np.full((200, 3), 7, np.float32)], axis=1)
    np.testing.assert_allclose(probe_logistic(padded, y, padded, inner)[0], plain, atol=1e-3)


def test_strength_is_the_best_of_the_inner_folds():
    rng = np.random.default_rng(4)
    x, y = planted(rng, 240, 20)
    inner = rng.integers(0, 4, 240)
    losses = []
    for strength in STRENGTHS:
        loss = 0.0
        scaler = StandardScaler().fit(x)
        for fold in range(4):
            held = inner == fold
            model = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(scaler.transform(x[~held]), y[~held])
            logits = model.decision_function(scaler.transform(x[held]))
            loss += (np.logaddexp(0, logits) - y[held] * logits).sum()
        losses.append(loss)
    assert probe_logistic(x, y, x[:1], inner)[1] == STRENGTHS[int(np.argmin(losses))]


def test_noise_is_shrunk_and_signal_is_not():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 40)).astype(np.float32)
    inner = rng.integers(0, 4, 300)
    noise = probe_logistic(x, rng.integers(0, 2, 300), x, inner)[1]
    signal = probe_logistic(x, (x[:, :5].sum(axis=1) > 0).astype(int), x, inner)[1]
    assert noise < signal


def test_one_class_gives_equal_scores():
    x = np.random.default_rng(6).normal(size=(20, 3)).astype(np.float32)
    assert not probe_logistic(x, np.ones(20, int), x, np.arange(20) % 4)[0].any()


def test_ridge_is_that_of_scikit_learn():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(200, 12)).astype(np.float32) * 3 + 1
    relevant = (x[:, :1] + rng.normal(size=(200, 30))) > 1
    y, none = relevant.astype(np.float32), np.zeros_like(relevant)
    inner = rng.integers(0, 4, 200)
    found, penalty = probe_ridge(x[:150], y[:150], x[150:], inner[:150], none[:150], none[150:], relevant[:150])
    scaler = StandardScaler().fit(x[:150])
    reference = Ridge(alpha=penalty).fit(scaler.transform(x[:150]), y[:150]).predict(scaler.transform(x[150:]))
    np.testing.assert_allclose(found, reference, atol=1e-4)


def test_ridge_never_shows_what_was_seen():
    rng = np.random.default_rng(8)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    relevant = rng.random((60, 15)) < 0.3
    seen = rng.random((60, 15)) < 0.2
    found, _ = probe_ridge(
        x, relevant.astype(np.float32), x, np.arange(60) % 4, seen, seen, relevant & ~seen, penalties=np.array([10.0])
    )
    assert (np.isneginf(found) == seen).all()


def test_the_bilinear_scorer_learns_of_items_from_those_that_read_alike():
    """Who wants an item depends on its text; half of the items are rare in training, and others tell who wants them."""
    rng = np.random.default_rng(9)
    x, twins = rng.normal(size=(400, 8)).astype(np.float32), rng.normal(size=(60, 4))
    wants = x @ rng.normal(size=(8, 4)) @ twins.T > 4
    shown = wants.copy()
    shown[:, ::2] &= rng.random((400, 30)) < 0.05
    none, inner = np.zeros_like(wants), rng.integers(0, 4, 300)
    arguments = (x[:300], shown[:300].astype(np.float32), x[300:])
    rest = (inner, none[:300], none[300:], shown[:300])
    bilinear = probe_bilinear(*arguments, twins.astype(np.float32), *rest)
    ridge, _ = probe_ridge(*arguments, *rest)

    def found(scores):
        rare = (scores - scores.mean(axis=0))[:, ::2].ravel()
        return binary_metrics(rare, wants[300:, ::2].ravel().astype(int), np.ones((1, rare.size)), ("auc",))["auc"][0]

    assert found(bilinear) > found(ridge) + 0.05 > 0.6


def test_the_bilinear_scorer_without_penalty_on_distinct_items_is_ridge():
    rng = np.random.default_rng(10)
    x, items = rng.normal(size=(80, 5)).astype(np.float32), np.eye(12, dtype=np.float32)
    y = (rng.random((80, 12)) < 0.3).astype(np.float32)
    v = Basis.fit(items, standardise=False)
    plain = next(_ridge_path(x, y, x, np.array([100.0])))
    both = next(_bilinear_path(x, y, x, v.turned(items), v.gram, [(100.0, 0.0)]))
    centred = plain - plain.mean(axis=1, keepdims=True)  # constant over items is all that the text space lacks
    np.testing.assert_allclose(both - both.mean(axis=1, keepdims=True), centred, atol=1e-4)
