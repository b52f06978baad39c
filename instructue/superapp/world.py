"""Who lives in the made-up world: users, what moves them, and the state of each of their intents week by week.

Legend: U users of a block, T topics, K chains (topics with a state: intents and modes), S states, W weeks, C channels.
An intent is idle, exploring, deciding or settled; it comes true in the week in which deciding turns into settled. A
mode is low (state 0) or high (1). One table of weekly chances moves the states and gives what is known of the future,
so that both agree by construction.
"""

from dataclasses import dataclass

import numpy as np

from instructue.superapp.catalogue import BILL, CHANNELS, SNAPSHOT, WEEKS, Catalogue, choose, steps

STATES = ("idle", "exploring", "deciding", "settled")
MODES = ("low", "high")
IDLE, EXPLORING, DECIDING, SETTLED = range(4)
BLOCK = 500  # users whose draws come from one generator
BURN_IN = 12  # weeks before the year, so that it begins in mid life
LOYALTY = 0.55  # share of a routine's events that go to the user's favourite item
TASTE = 0.9  # spread of tastes, as a logarithm
# Tastes change at most once, in a week of [EARLIEST, LATEST), known by the evaluation snapshot.
EARLIEST, LATEST, CHANGED = 4, 34, 0.35
# Streams of random numbers of a block: one more draw in one moves no other.
WHO, PATHS, ROUTINES, INTENTS, NOISE, INSTALLING, AMOUNTS, PROFILES, OUTCOMES = range(9)


def stream(seed: int, block: int, purpose: int) -> np.random.Generator:
    """The random numbers of one block for one purpose."""
    return np.random.default_rng([seed, block, purpose])


@dataclass(frozen=True)
class Users:
    """Latent traits of a block, [U] unless said otherwise.

    stage, home: places in the catalogue's lists. income, activity: factors around 1. thrift: 0 to 1, who waits for
    offers. late: hours by which the day is shifted. change: week from which the second tastes hold, WEEKS for never.
    tastes [2, U, T]: factors around 1. favourites [2, U, T]: items of bills and programs.
    """

    first: int
    stage: np.ndarray
    home: np.ndarray
    income: np.ndarray
    activity: np.ndarray
    thrift: np.ndarray
    late: np.ndarray
    change: np.ndarray
    tastes: np.ndarray
    favourites: np.ndarray

    def __len__(self) -> int:
        return len(self.stage)


def make_users(catalogue: Catalogue, seed: int, block: int) -> Users:
    """The block's BLOCK users, numbered from block * BLOCK + 1."""
    rng = stream(seed, block, WHO)
    stages = list(catalogue.raw["stages"].values())
    stage = rng.choice(len(stages), BLOCK, p=[s["share"] for s in stages])
    home = rng.integers(len(catalogue.raw["homes"]), size=BLOCK)
    income = np.exp(np.array([s["income"] for s in stages])[stage] + 0.45 * rng.standard_normal(BLOCK))
    activity = np.exp(0.45 * rng.standard_normal(BLOCK) - 0.1)
    thrift = rng.beta(2, 2, BLOCK)
    late = rng.integers(-1, 3, BLOCK)
    change = np.where(rng.random(BLOCK) < CHANGED, rng.integers(EARLIEST, LATEST, BLOCK), WEEKS)
    topics = len(catalogue.topics)
    before = TASTE * rng.standard_normal((BLOCK, topics))
    redrawn = TASTE * rng.standard_normal((BLOCK, topics))
    after = np.where(rng.random((BLOCK, topics)) < 0.5, redrawn, before)
    tastes = np.exp(np.stack([before, after]) - TASTE**2 / 2)
    return Users(block * BLOCK + 1, stage, home, income, activity, thrift, late, change, tastes,
                 _favourites(catalogue, rng))  # fmt: skip


def _favourites(catalogue: Catalogue, rng: np.random.Generator) -> np.ndarray:
    """Items [2, U, T] of bills and programs, none of them fresh; 0 where a topic has none."""
    rows = np.broadcast_to(2 * np.arange(len(catalogue.topics)), (BLOCK, len(catalogue.topics)))
    found = [
        channel.pick(rows.ravel(), rng.random(rows.size)).reshape(rows.shape) for channel in catalogue.channels[:2]
    ]
    sold = np.array([[bool(topic.get(f)) for topic in catalogue.topics.values()] for f in ("shops", "programs")])
    return np.where(sold[:, None], np.stack(found), 0)


def leaning(catalogue: Catalogue, users: Users) -> np.ndarray:
    """How much more than an average user each has to do with each topic, tastes aside, [U, T]."""
    names = list(catalogue.raw["stages"])
    stages = np.array([[topic.get("stages", {}).get(s, 1.0) for s in names] for topic in catalogue.topics.values()])
    city = np.array(list(catalogue.raw["homes"].values()))[users.home]
    wealth = users.income[:, None] ** catalogue.number("wealth", 0.0)
    return stages.T[users.stage] * wealth * np.where(city[:, None], catalogue.number("city", 1.0), 1.0)


def routine_rates(catalogue: Catalogue, users: Users) -> np.ndarray:
    """Expected weekly events of routines, before and after tastes change, [2, U, T, C]; zero for chains."""
    weekly = catalogue.weekly()
    weekly[[catalogue.place(name) for name in catalogue.chains]] = 0
    own = leaning(catalogue, users) * users.tastes * users.activity[:, None]
    return own[..., None] * weekly


@dataclass(frozen=True)
class Chains:
    """The chains of a block: moves [W, U, K, S, S], weekly chances from state to state; rates [U, K, S, C], weekly
    events in a state; path int8 [U, K, W + 1], the state after each week, that before the year first."""

    moves: np.ndarray
    rates: np.ndarray
    path: np.ndarray

    @property
    def came_true(self) -> np.ndarray:
        """Whether an intent came true in each week, [U, K, W]."""
        return (self.path[..., :-1] == DECIDING) & (self.path[..., 1:] == SETTLED)

    @property
    def now(self) -> np.ndarray:
        """The state at the evaluation snapshot, [U, K]."""
        return self.path[..., SNAPSHOT]


def make_chains(catalogue: Catalogue, users: Users, seed: int, block: int) -> Chains:
    """Chances, rates and one path of every chain."""
    moves, rng = _moves(catalogue, users), stream(seed, block, PATHS)
    state = np.zeros((len(users), len(catalogue.chains)), dtype=np.int64)
    states = [state]
    for week in [*range(WEEKS - BURN_IN, WEEKS), *range(WEEKS)]:
        table = steps(moves[week].reshape(-1, len(STATES)))
        rows = np.arange(state.size) * len(STATES) + state.ravel()
        state = choose(table, rows, rng.random(state.size)).reshape(state.shape)
        states.append(state)
    path = np.stack(states[BURN_IN:], axis=-1).astype(np.int8)
    return Chains(moves, _state_rates(catalogue, users), path)


def _moves(catalogue: Catalogue, users: Users) -> np.ndarray:
    """[W, U, K, S, S]; float64, each row sums to 1."""
    names = catalogue.chains
    places = [catalogue.place(name) for name in names]
    # Roots, so that few users begin everything; tastes before the change, as intents do not follow fashions.
    keen = leaning(catalogue, users)[:, places] * np.sqrt(users.tastes[0][:, places])
    moves = np.zeros((WEEKS, len(users), len(names), 4, 4))
    seasons = catalogue.seasons()[places]
    for k, name in enumerate(names):
        topic, table = catalogue.topics[name], moves[:, :, k]
        mode = topic.get("mode")
        begin = mode["starts"] if mode else topic["starts"]
        start = np.clip(begin * keen[:, k] * seasons[k][:, None], 0.0005, 0.5)
        table[..., IDLE, EXPLORING] = start
        table[..., IDLE, IDLE] = 1 - start
        if mode:
            table[..., EXPLORING, IDLE], table[..., EXPLORING, EXPLORING] = mode["ends"], 1 - mode["ends"]
            table[..., DECIDING, IDLE] = table[..., SETTLED, IDLE] = 1  # never reached
            continue
        buy = 0.5 - 0.25 * users.thrift
        _fill(table, EXPLORING, DECIDING, 0.45, IDLE, 0.15)
        _fill(table, DECIDING, SETTLED, buy, IDLE, 0.15)
        _fill(table, SETTLED, SETTLED, 0.45, IDLE, 0.55)
    return moves


def _fill(table: np.ndarray, state: int, on: int, chance: np.ndarray | float, off: int, drop: float) -> None:
    table[..., state, on] = chance
    table[..., state, off] = drop
    table[..., state, state] += 1 - table[..., state, :].sum(axis=-1)


def _state_rates(catalogue: Catalogue, users: Users) -> np.ndarray:
    names, weekly = catalogue.chains, catalogue.weekly()
    phases, lean = catalogue.raw["phases"], leaning(catalogue, users)
    rates = np.zeros((len(users), len(names), len(STATES), len(CHANNELS)))
    for k, name in enumerate(names):
        place, mode = catalogue.place(name), catalogue.topics[name].get("mode")
        if mode:
            own = lean[:, place] * users.tastes[0][:, place] * users.activity
            for state, level in ((IDLE, mode["low"]), (EXPLORING, mode["high"])):
                rates[:, k, state] = own[:, None] * level * weekly[place]
            continue
        for state, phase in enumerate(STATES):
            told = [phases.get(phase, {}).get(channel, 0.0) for channel in CHANNELS]
            rates[:, k, state] = np.sqrt(users.activity)[:, None] * told
    return rates


def stays_away(moves: np.ndarray, spared: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Chance that nothing happens in len(moves) weeks, from `state` [U] on, [U] or [U, J].

    moves [weeks, U, S, S]; spared: chance that nothing happens in a week that moves from s to s', [U, S, S], or that
    ends in s', [U, 1, S] or [U, 1, S, J] for J things at once.
    """
    many = spared.ndim == 4
    spared = spared if many else spared[..., None]
    left = np.ones((len(state), spared.shape[2], spared.shape[3]))
    for table in moves[::-1]:
        left = (table[..., None] * spared * left[:, None]).sum(axis=2)
    found = left[np.arange(len(state)), state]
    return found if many else found[:, 0]


def ahead(chains: Chains, chain: int, weeks: int, mode: bool) -> np.ndarray:
    """Chance that a chain's outcome happens within `weeks` of the evaluation snapshot, given the state then, [U].

    An intent's outcome is that it comes true, a mode's that there is a bill.
    """
    moves = chains.moves[SNAPSHOT : SNAPSHOT + weeks, :, chain]
    spared = np.ones((moves.shape[1], 4, 4))
    if mode:
        spared[:] = np.exp(-chains.rates[:, chain, None, :, BILL])
    else:
        spared[:, DECIDING, SETTLED] = 0
    return 1 - stays_away(moves, spared, chains.now[:, chain].astype(np.int64))
