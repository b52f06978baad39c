"""Items asked about one by one: what a vector says of its item ranks it, and no scored user's label is looked at."""

import dataclasses

import numpy as np
import pytest

from instructue.evaluation.metrics import ndcg
from instructue.evaluation.protocol import Protocol, Split
from instructue.evaluation.recommendation import Basket
from instructue.evaluation.studies.items import Asked, Candidates, reranked

USERS, ITEMS, COUNT = 120, 30, 15


@pytest.fixture(scope="module")
def shop() -> tuple[Basket, Split, np.ndarray, Asked]:
    """Taste decides what is right and nothing general tells it; the vector of a user and an item does, with noise."""
    rng = np.random.default_rng(5)
    likes = rng.random((USERS, ITEMS)) < 0.3
    relevant = rng.random((USERS, ITEMS)) < np.where(likes, 0.8, 0.05)
    past = (rng.random((USERS, ITEMS)) < 0.2).astype(np.float32)
    names = [str(item) for item in range(ITEMS)]
    basket = Basket(np.arange(USERS), past, relevant.astype(np.float32), relevant, past > 0, names, past)
    folds, inner = rng.permutation(np.arange(USERS) % 4), rng.permutation(np.arange(USERS) % 3)
    split = next(Protocol(folds[None], inner[None], np.ones((3, USERS), np.float32), 0).splits(basket.users))
    pairs = np.arange(USERS * ITEMS)
    vectors = rng.normal(size=(len(pairs), 6)).astype(np.float32)
    vectors[:, 2] += 3 * likes.ravel()
    return basket, split, rng.normal(size=(USERS, 4)).astype(np.float32), Asked(pairs, vectors, ITEMS)


def test_a_vector_under_the_question_about_an_item_ranks_it(shop):
    basket, split, x, asked = shop
    drawn = Candidates.of(x, basket, split, COUNT)
    right = basket.relevant[split.test] & ~basket.seen[split.test]
    known, unknown = (ndcg(reranked(basket, split, drawn, a), right).mean() for a in (asked, None))
    assert known > unknown + 0.1


def test_candidates_are_the_first_by_their_scores_and_may_all_be_shown(shop):
    basket, split, x, _ = shop
    drawn = Candidates.of(x, basket, split, COUNT)
    assert drawn.items.shape == drawn.odds.shape == (USERS, COUNT)
    assert all(len(set(row)) == COUNT for row in drawn.items.tolist())
    assert (np.diff(drawn.odds, axis=1) <= 0).all()
    shown = np.isfinite(drawn.odds)
    assert not np.take_along_axis(basket.seen, drawn.items, axis=1)[shown].any()
    scores = reranked(basket, split, drawn, None)
    assert (scores[basket.seen[split.test]] == -np.inf).all()
    assert (np.isfinite(scores).sum(axis=1) == shown[split.test].sum(axis=1)).all()


def test_few_items_that_may_be_shown_leave_the_rest_out(shop):
    basket, split, x, asked = shop
    seen = basket.seen.copy()
    seen[:, COUNT - 4 :] = True
    drawn = Candidates.of(x, dataclasses.replace(basket, seen=seen), split, COUNT)
    assert np.isfinite(drawn.odds).sum(axis=1).max() <= COUNT - 4
    scores = reranked(dataclasses.replace(basket, seen=seen), split, drawn, asked)
    assert np.isfinite(scores[~seen[split.test]]).all() and (scores[seen[split.test]] == -np.inf).all()


def test_the_scored_users_labels_are_not_looked_at_and_those_of_others_are(shop):
    basket, split, x, asked = shop

    def told(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Candidates and scores of the scored users when the labels of `rows` are turned round."""
        relevant = basket.relevant.copy()
        relevant[rows] = ~relevant[rows]
        lied = dataclasses.replace(basket, relevant=relevant, happened=relevant.astype(np.float32))
        drawn = Candidates.of(x, lied, split, COUNT)
        return drawn.items[split.test], reranked(lied, split, drawn, asked)

    candidates, scores = told(np.zeros(0, int))
    for found, same in zip(told(split.test), (candidates, scores), strict=True):
        np.testing.assert_array_equal(found, same)
    others = told(split.train[:20])
    assert (others[0] != candidates).any() and (others[1] != scores).any()


def test_a_training_users_own_labels_do_not_enter_its_candidates_and_rates(shop):
    basket, split, x, _ = shop
    user = split.train[0]
    relevant = basket.relevant.copy()
    relevant[user] = ~relevant[user]
    lied = dataclasses.replace(basket, relevant=relevant, happened=relevant.astype(np.float32))
    for found, same in zip(
        dataclasses.astuple(Candidates.of(x, lied, split, COUNT)),
        dataclasses.astuple(Candidates.of(x, basket, split, COUNT)),
        strict=True,
    ):
        np.testing.assert_array_equal(found[user], same[user])


def test_pairs_are_found_by_user_and_item(shop):
    *_, asked = shop
    some = Asked(asked.pairs[::7], asked.vectors[::7], ITEMS)
    users = some.pairs // ITEMS
    items = np.stack([(some.pairs % ITEMS)[users == user][:2] for user in range(USERS)])
    for user, row in enumerate(items):
        for place, item in enumerate(row):
            np.testing.assert_array_equal(some.of(items)[user, place], asked.vectors[user * ITEMS + item])
