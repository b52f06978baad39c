import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from instructue.evaluation.results import Slice
from instructue.evaluation.slices import MOST, slices


@pytest.fixture(scope="module")
def planted():
    """Three campaigns: scores tell in 2, not in 10, and 9 has three positives. Users have several rows."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 300, 1203)
    contexts = np.array(["2"] * 600 + ["10"] * 600 + ["9"] * 3)
    y = (rng.random(1203) < 0.3).astype(int)
    y[-3:] = 1
    scores = rng.random((2, 1203)) + np.where(contexts == "2", 0.7 * y, 0)
    drawn = rng.multinomial(300, np.full(300, 1 / 300), size=200)
    weights = np.concatenate([np.ones((1, 300)), drawn]).astype(np.float32)[:, users]
    return scores, y, contexts, weights


def test_each_context_has_its_own_auc(planted):
    scores, y, contexts, weights = planted
    found = {s["context"]: s for s in slices(scores, y, list(contexts), weights)}
    assert list(found) == ["2", "9", "10"]
    for name in ("2", "10"):
        inside = contexts == name
        expected = np.mean([roc_auc_score(y[inside], s[inside]) for s in scores])
        assert found[name]["value"] == pytest.approx(expected, abs=1e-6)
        assert found[name]["low"] < expected < found[name]["high"]
        assert (found[name]["n"], found[name]["positives"]) == (600, y[inside].sum())
    assert found["2"]["low"] > 0.8 and found["10"]["low"] < 0.5 < found["10"]["high"]
    for one in found.values():
        Slice(task="t", method="m", **one)


def test_a_context_with_few_of_a_class_has_no_value(planted):
    nine = {s["context"]: s for s in slices(*planted[:2], list(planted[2]), planted[3])}["9"]
    assert (nine["value"], nine["low"], nine["high"]) == (None, None, None)
    assert (nine["n"], nine["positives"]) == (3, 3)


def test_one_context_is_no_slice_and_many_are_cut_to_the_largest(planted):
    scores, y, _, weights = planted
    assert slices(scores, y, [""] * len(y), weights) == []
    many = [f"c{i % (MOST + 1):02}" for i in range(len(y) - 3)] + ["c00"] * 3
    found = slices(scores, y, many, weights)
    assert len(found) == MOST and found[0]["context"] == "c00"
