"""What comes of a block's users after the evaluation snapshot, and the chances that it was drawn from.

A chance is exact given the latent state at the snapshot: tastes, income, loyalty, the state of every chain. No method
sees that state, only events, so the scores of these chances bound what any method can reach.
"""

from dataclasses import dataclass

import numpy as np

from instructue.superapp.catalogue import BILL, PROGRAM, SNAPSHOT, WEEKS, Catalogue
from instructue.superapp.events import DAY, Stream
from instructue.superapp.world import (
    DECIDING,
    EXPLORING,
    LOYALTY,
    OUTCOMES,
    Chains,
    Users,
    ahead,
    routine_rates,
    stays_away,
    stream,
)

NEXT_WEEKS = 4  # horizon of the next mini programs and of answers to offers
KEEN, OPEN = 0.8, 1.2  # what taste (as a logarithm) and an open intent add to the logit of answering an offer


@dataclass(frozen=True)
class Outcomes:
    """happened and chance: outcome -> [U]. Offers, [U, offers]: mailed (at random), answered, and the chances of an
    answer if mailed and if not. programs: chance of opening each within NEXT_WEEKS, float32 [U, programs]."""

    happened: dict[str, np.ndarray]
    chance: dict[str, np.ndarray]
    mailed: np.ndarray
    answered: np.ndarray
    if_mailed: np.ndarray
    if_not: np.ndarray
    programs: np.ndarray

    @property
    def offered(self) -> np.ndarray:
        """The chance of what was drawn: by whether the offer was mailed."""
        return np.where(self.mailed, self.if_mailed, self.if_not)


def make_outcomes(
    catalogue: Catalogue, users: Users, chains: Chains, bills: Stream, noise: np.ndarray, seed: int, block: int
) -> Outcomes:
    """All outcomes of a block. bills as make_events gives them, noise [U, C] as it was given there."""
    happened, chance = {}, {}
    for name, told in catalogue.raw["outcomes"].items():
        chain, weeks = catalogue.chains.index(told["topic"]), told["weeks"]
        mode = "mode" in catalogue.topics[told["topic"]]
        chance[name] = _inside(ahead(chains, chain, weeks, mode))
        if mode:
            happened[name] = paid_within(catalogue, bills, told["topic"], weeks, len(users))
        else:
            happened[name] = chains.came_true[:, chain, SNAPSHOT : SNAPSHOT + weeks].any(axis=1)
    if_mailed, if_not = _answers(catalogue, users, chains)
    rng = stream(seed, block, OUTCOMES)
    mailed = rng.random(if_not.shape) < 0.5
    answered = rng.random(if_not.shape) < np.where(mailed, if_mailed, if_not)
    programs = programs_ahead(catalogue, users, chains, noise, NEXT_WEEKS).astype(np.float32)
    return Outcomes(happened, chance, mailed, answered, if_mailed, if_not, programs)


def paid_within(catalogue: Catalogue, bills: Stream, topic: str, weeks: int, users: int) -> np.ndarray:
    """Whether each user has a bill of the topic within `weeks` of the evaluation snapshot, [users]."""
    start = SNAPSHOT * 7 * DAY
    of_topic = catalogue.channels[BILL].topic[bills.item] == catalogue.place(topic)
    inside = (bills.second >= start) & (bills.second < start + weeks * 7 * DAY)
    return np.bincount(bills.user[of_topic & inside], minlength=users) > 0


def _answers(catalogue: Catalogue, users: Users, chains: Chains) -> tuple[np.ndarray, np.ndarray]:
    """Chances of taking up each offer if mailed and if not, [U, offers]: who waits for offers is moved by them."""
    offers = list(catalogue.raw["offers"].values())
    places = [catalogue.place(offer["topic"]) for offer in offers]
    place = np.arange(len(users))
    tastes = users.tastes[_phase(users), place][:, places]
    opened = np.zeros(tastes.shape)
    for column, offer in enumerate(offers):
        if offer["topic"] in catalogue.chains:
            state = chains.now[:, catalogue.chains.index(offer["topic"])]
            opened[:, column] = (state == EXPLORING) | (state == DECIDING)
    logit = np.array([offer["base"] for offer in offers]) + KEEN * np.log(tastes) + OPEN * opened
    moved = np.array([offer["adds"] for offer in offers]) * (2.6 * users.thrift - 0.3)[:, None]
    return _sigmoid(logit + moved), _sigmoid(logit)


def _inside(chance: np.ndarray) -> np.ndarray:
    """Never quite 0 or 1, not even when rounded to float32."""
    return np.clip(chance, 1e-6, 1 - 1e-6)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logit, -9, 9)))


def _phase(users: Users) -> np.ndarray:
    """Which tastes hold at the snapshot, and ever after."""
    return (users.change < WEEKS).astype(np.int64)


def programs_ahead(catalogue: Catalogue, users: Users, chains: Chains, noise: np.ndarray, weeks: int) -> np.ndarray:
    """Chance that each user opens each mini program within `weeks` of the evaluation snapshot, [U, programs]."""
    channel, place = catalogue.channels[PROGRAM], np.arange(len(users))
    season = catalogue.seasons()[:, SNAPSHOT : SNAPSHOT + weeks].sum(axis=1)
    rate = routine_rates(catalogue, users)[_phase(users), place, :, PROGRAM] * season
    share = channel.chances[2 * channel.topic + 1, np.arange(len(channel.names))]
    loved = users.favourites[PROGRAM][:, channel.topic] == np.arange(len(channel.names))
    expected = rate[:, channel.topic] * ((1 - LOYALTY) * share + LOYALTY * loved)
    anything = channel.chances[2 * len(catalogue.topics) + 1]
    expected += weeks * noise[:, PROGRAM, None] * anything / anything.sum()
    absent = np.exp(-expected)
    for k, name in enumerate(catalogue.chains):
        own = np.flatnonzero(channel.topic == catalogue.place(name))
        spared = np.exp(-chains.rates[:, k, None, :, PROGRAM, None] * share[own])
        moves = chains.moves[SNAPSHOT : SNAPSHOT + weeks, :, k]
        absent[:, own] *= stays_away(moves, spared, chains.now[:, k].astype(np.int64))
    return _inside(1 - absent)
