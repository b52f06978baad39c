"""What a block's users do in the year, drawn in columns: how often, in which week, when in the week, with which item.

All counts are Poisson, so what falls into one week or on one item is Poisson too: outcomes.py builds on that.
"""

from dataclasses import dataclass, field

import numpy as np

from instructue.superapp.catalogue import (
    APP,
    BILL,
    CHANNELS,
    CUT,
    PAGE,
    PROGRAM,
    SEARCH,
    WEEKS,
    Catalogue,
    choose,
    steps,
)
from instructue.superapp.world import (
    AMOUNTS,
    DECIDING,
    EXPLORING,
    INSTALLING,
    INTENTS,
    LOYALTY,
    NOISE,
    ROUTINES,
    Chains,
    Users,
    routine_rates,
    stream,
)

Many = np.ndarray | int
HOUR, DAY = 3600, 86400
YEAR = WEEKS * 7 * DAY
TRENDS = {SEARCH: 0.10, PAGE: 0.12}  # weekly looks at what everybody looks at
INSTALLS = 0.7  # of those who paid, or who began to decide where nothing is paid
AS_USUAL, BY_CHANCE, TRENDING = -1, -2, -3  # no favourite; irrelevant; what everybody looks at


@dataclass(frozen=True)
class Draft:
    """Events before they have an item, [n] each: user (place in the block), week, topic, channel and, for routines,
    phase of taste (0, 1), else AS_USUAL; second is -1 until it is drawn. A topic may be BY_CHANCE or TRENDING."""

    user: np.ndarray
    week: np.ndarray
    topic: np.ndarray
    channel: np.ndarray
    phase: np.ndarray
    second: np.ndarray

    @classmethod
    def of(
        cls,
        user: Many,
        week: Many,
        topic: Many,
        channel: Many,
        phase: Many = AS_USUAL,
        second: Many = -1,
    ) -> "Draft":
        """A draft of arrays or of one number for all."""
        arrays = np.broadcast_arrays(user, week, topic, channel, phase, second)
        return cls(*(np.asarray(a, dtype=np.int64) for a in arrays))

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def joined(cls, parts: "list[Draft]") -> "Draft":
        names = ("user", "week", "topic", "channel", "phase", "second")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Stream:
    """One source's events of a block, by user and time: user (place in the block), second of the year, item, number
    (amount of a bill, minutes in a program, seconds on a page; ones elsewhere)."""

    user: np.ndarray
    second: np.ndarray
    item: np.ndarray
    number: np.ndarray = field(repr=False)


def noise_rates(catalogue: Catalogue, users: Users, chains: Chains, share: float) -> np.ndarray:
    """Weekly irrelevant events, so that they are `share` of all that a user is expected to do, [U, C]."""
    part = (np.minimum(users.change, WEEKS) / WEEKS)[:, None]
    before, after = routine_rates(catalogue, users).sum(axis=2)
    usual = np.linalg.matrix_power(chains.moves.mean(axis=0), 64)[:, :, 0]  # long-run share of each state, [U, K, S]
    of_states = (usual[..., None] * chains.rates).sum(axis=(1, 2))
    return share / (1 - share) * (part * before + (1 - part) * after + of_states)


def make_events(
    catalogue: Catalogue, users: Users, chains: Chains, noise: np.ndarray, seed: int, block: int
) -> list[Stream]:
    """The events of every channel; noise [U, C] as noise_rates gives it."""
    shared = [stream(seed, block, purpose) for purpose in (ROUTINES, INTENTS)]
    usual = Draft.joined([_routines(catalogue, users, shared[0]), _trends(users, shared[0])])
    intended = Draft.joined([_of_states(catalogue, chains, shared[1]), _turns(catalogue, chains, shared[1])])
    rng = stream(seed, block, NOISE)
    parts = [(usual, shared[0]), (intended, shared[1]), (_irrelevant(noise, rng), rng)]
    placed = [_placed(catalogue, users, draft, own) for draft, own in parts]
    user, channel, second, item = (np.concatenate(column) for column in zip(*placed, strict=True))
    apps = _installed(catalogue, placed[1], stream(seed, block, INSTALLING))
    user, channel, second, item = (
        np.concatenate(pair) for pair in zip((user, channel, second, item), apps, strict=True)
    )
    order = np.argsort((channel * len(users) + user) * YEAR + second, kind="stable")
    bounds = np.searchsorted(channel[order], np.arange(len(CHANNELS) + 1))
    rng = stream(seed, block, AMOUNTS)
    return [
        _stream(catalogue, users, c, user[order[a:b]], second[order[a:b]], item[order[a:b]], rng)
        for c, (a, b) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
    ]


def _spread(rates: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Poisson counts of every cell, as one index array per axis with a row per event."""
    counts = rng.poisson(rates)
    cells = np.flatnonzero(counts)
    return np.unravel_index(np.repeat(cells, counts.ravel()[cells]), rates.shape)


def _routines(catalogue: Catalogue, users: Users, rng: np.random.Generator) -> Draft:
    """A year's routine events before and after tastes change, dealt to weeks by the topic's season."""
    seasons = np.concatenate([np.zeros((len(catalogue.topics), 1)), catalogue.seasons().cumsum(axis=1)], axis=1)
    edges = np.stack([np.zeros_like(users.change), users.change, np.full_like(users.change, WEEKS)])
    reached = seasons[:, edges]  # [T, 3, U]
    weeks = np.diff(reached, axis=1).transpose(1, 2, 0)  # [2, U, T], in average weeks
    phase, user, topic, channel = _spread(routine_rates(catalogue, users) * weeks[..., None], rng)
    low, high = reached[topic, phase, user], reached[topic, phase + 1, user]
    at = low + (high - low) * rng.random(len(user))
    line = seasons[:, 1:] / WEEKS + np.arange(len(seasons))[:, None]
    week = np.searchsorted(line.ravel(), topic + at / WEEKS * (1 - 1e-9), side="right") - topic * WEEKS
    return Draft.of(user, week, topic, channel, phase)


def _trends(users: Users, rng: np.random.Generator) -> Draft:
    parts = []
    for channel, rate in TRENDS.items():
        user, week = _spread(np.repeat(rate * users.activity[:, None], WEEKS, axis=1), rng)
        parts.append(Draft.of(user, week, TRENDING, channel))
    return Draft.joined(parts)


def _of_states(catalogue: Catalogue, chains: Chains, rng: np.random.Generator) -> Draft:
    """What users do because of the states of their chains; a week's events follow the state after its move."""
    path = chains.path[..., 1:]
    topics = np.array([catalogue.place(name) for name in catalogue.chains])
    active = chains.rates.sum(axis=-1) > 0
    user, chain, week = np.nonzero(np.take_along_axis(active, path.astype(np.int64), axis=2))
    rates = chains.rates[user, chain, path[user, chain, week]]
    cell, channel = _spread(rates, rng)
    return Draft.of(user[cell], week[cell], topics[chain[cell]], channel)


def _turns(catalogue: Catalogue, chains: Chains, rng: np.random.Generator) -> Draft:
    """The payment of an intent that comes true, in the first days of its week; an app where nothing is paid."""
    paid = np.array(["paid" in catalogue.topics[name] for name in catalogue.chains])
    topics = np.array([catalogue.place(name) for name in catalogue.chains])
    began = (chains.path[..., :-1] == EXPLORING) & (chains.path[..., 1:] == DECIDING)
    happens = np.where(paid[:, None], chains.came_true, began & (rng.random(began.shape) < INSTALLS))
    user, chain, week = np.nonzero(happens)
    second = week * 7 * DAY + rng.integers(8 * HOUR, 4 * DAY, len(user))
    return Draft.of(user, week, topics[chain], np.where(paid[chain], BILL, APP), AS_USUAL, second)


def _irrelevant(noise: np.ndarray, rng: np.random.Generator) -> Draft:
    user, channel = _spread(noise * WEEKS, rng)
    return Draft.of(user, rng.integers(WEEKS, size=len(user)), BY_CHANCE, channel)


def _placed(catalogue: Catalogue, users: Users, draft: Draft, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(user, channel, second, item) of a draft."""
    second = np.where(draft.second >= 0, draft.second, _seconds(catalogue, users, draft, rng))
    item = np.zeros(len(draft), dtype=np.int64)
    late, topics = draft.week >= CUT, len(catalogue.topics)
    row = np.where(draft.topic >= 0, 2 * draft.topic, 2 * topics) + late
    row = np.where(draft.topic == TRENDING, 2 * topics + 2 + draft.week, row)
    draws, loyal = rng.random(len(draft)), rng.random(len(draft)) < LOYALTY
    for c, channel in enumerate(catalogue.channels):
        own = np.flatnonzero(draft.channel == c)
        item[own] = channel.pick(row[own], draws[own])
        if c in (BILL, PROGRAM):
            kept = own[loyal[own] & (draft.phase[own] >= 0)]
            item[kept] = users.favourites[c, draft.user[kept], draft.topic[kept]]
    return draft.user, draft.channel, second, item


def _seconds(catalogue: Catalogue, users: Users, draft: Draft, rng: np.random.Generator) -> np.ndarray:
    """A second of the week by the topic's clock and the user's hours, within the draft's week."""
    clocks = list(catalogue.raw["clocks"].values())
    table = steps(np.stack([np.outer(clock["days"], clock["hours"]).ravel() for clock in clocks]))
    names = list(catalogue.raw["clocks"])
    of_topic = np.array([names.index(topic["clock"]) for topic in catalogue.topics.values()] + [names.index("any")])
    kind = of_topic[np.where(draft.topic >= 0, draft.topic, len(of_topic) - 1)]
    hour = choose(table, kind, rng.random(len(draft))) + users.late[draft.user]
    inside = (hour * HOUR + rng.integers(HOUR, size=len(draft))) % (7 * DAY)
    return draft.week * 7 * DAY + inside


def _installed(
    catalogue: Catalogue, intended: tuple[np.ndarray, ...], rng: np.random.Generator
) -> tuple[np.ndarray, ...]:
    """Apps of those whom users have paid because of an intent, installed within four days, (user, channel, second,
    item); a mode's payments install none."""
    user, channel, second, item = intended
    sold, apps = catalogue.channels[BILL], catalogue.channels[APP]
    topics = np.array([catalogue.place(n) for n in catalogue.chains if "starts" in catalogue.topics[n]])
    paid = np.flatnonzero((channel == BILL) & np.isin(sold.topic[np.where(channel == BILL, item, 0)], topics))
    paid = paid[rng.random(len(paid)) < INSTALLS]
    topic = sold.topic[item[paid]]
    # A topic's items stand together, and a brand has the same place among its shops and apps.
    same = item[paid] - np.searchsorted(sold.topic, topic) + np.searchsorted(apps.topic, topic)
    at = second[paid] + rng.integers(HOUR, 4 * DAY, len(paid))
    kept = at < YEAR
    return user[paid][kept], np.full(int(kept.sum()), APP), at[kept], same[kept]


def _stream(catalogue: Catalogue, users: Users, channel: int, user, second, item, rng: np.random.Generator) -> Stream:
    """One channel's sorted events with their number; an app is installed once."""
    if channel == APP:
        _, first = np.unique(user * len(catalogue.channels[APP].names) + item, return_index=True)
        first.sort()
        user, second, item = user[first], second[first], item[first]
    number = np.ones(len(user))
    if channel == BILL:
        price = catalogue.number("price", 1.0)[catalogue.channels[BILL].topic[item]]
        number = price * np.exp(0.4 * rng.standard_normal(len(user))) * users.income[user] ** 0.3
    elif channel in (PROGRAM, PAGE):
        number = rng.exponential(4.0 if channel == PROGRAM else 25.0, len(user)) + 0.1
    return Stream(user, second, item, number.round(2))
