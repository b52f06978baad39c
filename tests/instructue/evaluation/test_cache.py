"""What was judged before is found again, whole or not at all, and under no other circumstances."""

import numpy as np
import pytest

from instructue.evaluation.cache import Cache, key_of
from instructue.evaluation.judged import Judged

DRAWS = {"auc": np.array([0.7, 0.65, 0.72]), "lift@10%": np.array([2.0, 1.9, np.nan])}


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.mark.parametrize("labels", ["all", 0, 64])
def test_a_result_is_made_once_and_read_back_exactly(cache, labels):
    made = []

    def make():
        made.append(1)
        return Judged("a", "prediction", "m", labels, 10, 3, DRAWS, np.ones((2, 10), np.float32), None)

    first, again = cache.judged("k", make), cache.judged("k", make)
    assert len(made) == 1
    assert (again.task, again.labels, again.n, list(again.draws)) == ("a", labels, 10, ["auc", "lift@10%"])
    for name in DRAWS:
        np.testing.assert_array_equal(again.draws[name], first.draws[name])
    assert again.scores is not None and again.scores.shape == (2, 10) and again.chances is None


def test_a_damaged_file_is_made_anew(cache):
    def make():
        return Judged("a", "prediction", "m", "all", 10, 3, DRAWS)

    cache.judged("k", make)
    file = next(cache.folder.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:50])
    assert cache.find("k") is None
    assert cache.judged("k", make).n == 10 and cache.find("k") is not None


def test_arrays_are_kept(cache):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(cache.array("k", lambda: x), x)
    np.testing.assert_array_equal(cache.array("k", lambda: x * 2), x)


def test_keys_differ_with_anything_that_differs():
    x = np.arange(6, dtype=np.float32)
    keys = [key_of("a", x), key_of("a", x + 1), key_of("a", x.reshape(2, 3)), key_of("a", x.astype(np.float64)),
            key_of("b", x), key_of("a", x, 1), key_of("a", x, "1"), key_of(["a"], x)]  # fmt: skip
    assert len(set(keys)) == len(keys) and key_of("a", x) == keys[0]
