"""The made-up world's states, rates and catalogue: what one file tells another must agree with what is drawn."""

import re

import numpy as np
import pytest

from instructue.superapp.catalogue import (
    APP,
    BILL,
    CHANNELS,
    CUT,
    PAGE,
    PROGRAM,
    SEARCH,
    WEEKS,
    choose,
    load_catalogue,
    steps,
)
from instructue.superapp.events import DAY, make_events, noise_rates
from instructue.superapp.world import BLOCK, DECIDING, SETTLED, make_chains, make_users, stays_away


@pytest.fixture(scope="module")
def catalogue():
    return load_catalogue()


@pytest.fixture(scope="module")
def block(catalogue):
    users = make_users(catalogue, 3, 0)
    return users, make_chains(catalogue, users, 3, 0)


def test_the_catalogue_is_as_large_as_promised_and_reads_as_words(catalogue):
    brands = {name for c in (BILL, PROGRAM, APP) for name in catalogue.channels[c].names}
    queries = catalogue.channels[SEARCH].names
    assert len(brands) >= 400 and len(queries) >= 2000
    for name in [*brands, *queries, *catalogue.channels[PAGE].names]:
        assert re.fullmatch(r"[A-Za-z0-9'>, -]+", name) and "  " not in name, name
        assert not re.search(r"\ba (?!one)[aeio]\w", name), f"{name!r} needs 'an'"
    for channel in catalogue.channels:
        assert 0.1 < channel.fresh.mean() < 0.5


def test_every_topic_is_drawn_only_from_its_own_items_and_fresh_ones_only_from_the_cut_on(catalogue):
    topics = len(catalogue.topics)
    for channel in catalogue.channels:
        for row, late in ((r, bool(r % 2)) for r in range(2 * topics)):
            shown = np.flatnonzero(channel.chances[row])
            assert set(channel.topic[shown]) <= {row // 2} and (late or not channel.fresh[shown].any())
            assert np.isclose(channel.chances[row].sum(), 1) or not len(shown)
        weeks = channel.chances[2 * topics + 2 :]
        assert not weeks[:CUT, channel.fresh].any() and weeks.shape[0] == WEEKS
        drawable = channel.chances[: 2 * topics : 2].any(axis=1)
        for place, rates in enumerate(catalogue.weekly()[:, catalogue.channels.index(channel)]):
            assert not rates or drawable[place], "a rate on a topic that has nothing to show"


def test_choose_keeps_within_its_row_and_follows_the_chances():
    table, rng = np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]]), np.random.default_rng(1)
    rows = np.repeat([0, 1, 2], 40_000)
    found = choose(steps(table), rows, rng.random(len(rows)))
    shares = np.array([np.bincount(found[rows == r], minlength=3) / 40_000 for r in range(3)])
    assert np.abs(shares - table).max() < 0.01 and not shares[0, 1] and not shares[1, [0, 2]].any()
    assert choose(steps(table), np.array([0, 1, 2]), np.full(3, np.nextafter(1, 0))).tolist() == [2, 1, 2]


def test_paths_follow_the_table_of_moves(block):
    users, chains = block
    assert np.allclose(chains.moves.sum(axis=-1), 1) and chains.moves.min() >= 0
    before, after = chains.path[..., :-1], chains.path[..., 1:]
    expected = np.zeros((4, 4))
    for state in range(4):
        here = before == state  # [U, K, W]
        expected[state] = chains.moves.transpose(1, 2, 0, 3, 4)[here][:, state].sum(axis=0)
        found = np.bincount(after[here], minlength=4)
        assert np.all(np.abs(found - expected[state]) < 5 * np.sqrt(expected[state] + 1)), state


def test_the_chance_ahead_is_what_simulated_futures_show(block):
    _, chains = block
    rng, moves = np.random.default_rng(5), chains.moves[39:45, :, 0]
    start, spared = np.arange(BLOCK) % 3, np.ones((BLOCK, 4, 4))
    spared[:, DECIDING, SETTLED] = 0
    told = 1 - stays_away(moves, spared, start)
    happened = np.zeros(BLOCK)
    for _ in range(200):
        state, true = start, np.zeros(BLOCK, bool)
        for table in moves:
            after = choose(steps(table.reshape(-1, 4)), np.arange(BLOCK) * 4 + state, rng.random(BLOCK))
            true |= (state == DECIDING) & (after == SETTLED)
            state = after
        happened += true
    deviations = (happened.sum() - 200 * told.sum()) / np.sqrt(200 * (told * (1 - told)).sum())
    assert abs(deviations) < 4 and np.abs(happened / 200 - told).max() < 0.2
    spared[:, DECIDING, SETTLED] = 0.5  # a wrong rule is seen
    assert abs(happened.sum() - 200 * (1 - stays_away(moves, spared, start)).sum()) > 400


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_noise_is_the_share_that_was_set_and_leaves_the_rest_as_it_was(catalogue, block, share):
    users, chains = block

    def events(part: float):
        return make_events(catalogue, users, chains, noise_rates(catalogue, users, chains, part), 3, 0)

    quiet, loud = events(0.0), events(share)
    counts = [np.array([len(s.user) for s in streams]) for streams in (quiet, loud)]
    assert np.abs(1 - counts[0].sum() / counts[1].sum() - share) < 0.02
    for c in (PROGRAM, PAGE, SEARCH):
        kept = [set(zip(s.user.tolist(), s.second.tolist(), s.item.tolist(), strict=True)) for s in (quiet[c], loud[c])]
        assert kept[0] <= kept[1]
    # Nobody pays by chance for what is to be foretold.
    topics = [catalogue.place(name) for name in catalogue.chains]
    sold = catalogue.channels[BILL].topic
    assert np.isin(sold[quiet[BILL].item], topics).sum() == np.isin(sold[loud[BILL].item], topics).sum() > 0


def test_routines_have_their_hours_and_weekdays_and_everybody_looks_at_the_same(catalogue, block):
    users, chains = block
    streams = make_events(catalogue, users, chains, np.zeros((BLOCK, len(CHANNELS))), 3, 0)
    sold, bills = catalogue.channels[BILL].topic, streams[BILL]

    def clock(topic: str) -> tuple[np.ndarray, np.ndarray]:
        own = sold[bills.item] == catalogue.place(topic)
        return bills.second[own] % DAY // 3600, bills.second[own] // DAY % 7

    (coffee, _), (meals, _), (_, commute) = clock("coffee"), clock("restaurants"), clock("transit")
    assert np.median(coffee) < 13 < np.median(meals)
    assert np.isin(commute, [0, 6]).mean() < 0.2
    searches, trends = streams[SEARCH], catalogue.channels[SEARCH].topic == len(catalogue.topics)
    shared = trends[searches.item]
    for item in np.unique(searches.item[shared])[:10]:
        own = shared & (searches.item == item)
        assert len(np.unique(searches.user[own])) > 20 and np.ptp(searches.second[own]) <= 35 * DAY
