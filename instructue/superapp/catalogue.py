"""What can be seen in the made-up super-app: merchants, programs, pages, apps, queries, expanded from catalogue.yaml.

An item belongs to one topic. A fresh item shows only from week CUT on, after the last training snapshot: whoever
learnt items by heart has never met it, whoever reads its name knows what it is about.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from instructue.errors import ConfigError

# The sources with events, in the order of every array's channel axis, and the folders they are written to.
FOLDERS = {"bill": "bills", "mini_program": "mini_programs", "page_path": "page_paths", "app": "apps",
           "search": "searches"}  # fmt: skip
CHANNELS = tuple(FOLDERS)
BILL, PROGRAM, PAGE, APP, SEARCH = range(len(CHANNELS))
WEEKS = 52  # the year 2017 from Sunday, 1 January
CUT, SNAPSHOT = 35, 39  # weeks that begin on 2017-09-03 (last training snapshot) and 2017-10-01 (evaluation)
NOUNS = {BILL: "shops", PROGRAM: "programs", PAGE: "pages", APP: "apps", SEARCH: "searches"}
FRESH_SHARE = 0.5  # of what happens from CUT on, in a topic that has fresh items
COPIES = {BILL: 3, PROGRAM: 2, APP: 2}
STRIDE = 17  # first words are dealt in steps, so that neighbours in a list share none
POPULARITY = 0.7  # power of Zipf's law within a topic


@dataclass(frozen=True, eq=False)
class Channel:
    """All items of one source: names, topic (place in the list of topics) and whether fresh, [n] each.

    chances [rows, n] are the ways to draw an item: topic t before CUT is row 2t, from CUT on 2t + 1; any topic before
    CUT is row 2T, from CUT on 2T + 1 (of bills only routines); what everybody looks at in week w is row 2T + 2 + w
    (zero where nothing is).
    """

    names: list[str]
    topic: np.ndarray
    fresh: np.ndarray
    chances: np.ndarray

    def pick(self, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Items (places in names) for rows [m] of `chances` and uniform draws [m] in [0, 1)."""
        return choose(self._steps, rows, draws)

    @property
    def _steps(self) -> np.ndarray:
        return _steps_of(self)


@cache
def _steps_of(channel: Channel) -> np.ndarray:
    return steps(channel.chances)


def steps(chances: np.ndarray) -> np.ndarray:
    """Cumulative chances [rows, n] for `choose`; a row of zeros chooses nothing and must not be asked."""
    with np.errstate(invalid="ignore"):
        cumulated = np.cumsum(chances, axis=1)
        return np.nan_to_num(cumulated / cumulated[:, -1:])


def choose(cumulated: np.ndarray, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """For each row, the first column whose cumulated chance exceeds its draw; one search for all rows together."""
    line = (cumulated + np.arange(len(cumulated))[:, None]).ravel()
    # Kept a hair below 1, so that rounding never leads into the next row.
    found = np.searchsorted(line, rows + draws * (1 - 1e-9), side="right")
    return found - rows.astype(np.int64) * cumulated.shape[1]


@dataclass(frozen=True)
class Catalogue:
    """Topics (name -> its row of catalogue.yaml), the items of each channel, and the rest of the file as `raw`."""

    topics: dict[str, dict[str, Any]]
    channels: tuple[Channel, ...]
    raw: dict[str, Any]

    @property
    def names(self) -> list[str]:
        return list(self.topics)

    def place(self, topic: str) -> int:
        return self.names.index(topic)

    @property
    def chains(self) -> list[str]:
        """Topics whose events depend on a state that changes from week to week: intents and modes."""
        return [name for name, topic in self.topics.items() if "starts" in topic or "mode" in topic]

    def number(self, field: str, default: float) -> np.ndarray:
        """One number of every topic, [topics]."""
        return np.array([topic.get(field, default) for topic in self.topics.values()], dtype=np.float64)

    def weekly(self) -> np.ndarray:
        """Weekly events of an average user by topic and channel, [topics, channels]; zero for intents."""
        rows = [topic.get("weekly", {}) for topic in self.topics.values()]
        return self.raw["pace"] * np.array([[row.get(channel, 0.0) for channel in CHANNELS] for row in rows])

    def seasons(self) -> np.ndarray:
        """How much more or less of a topic there is in each week, mean 1, [topics, WEEKS]."""
        weeks = np.arange(WEEKS)
        bumps = [
            1 + sum(height * np.exp(-(((weeks - week) / 3) ** 2)) for week, height in topic.get("peaks", {}).items())
            for topic in self.topics.values()
        ]
        table = np.array([np.broadcast_to(bump, WEEKS) for bump in bumps])
        return table / table.mean(axis=1, keepdims=True)


@cache
def load_catalogue() -> Catalogue:
    """The catalogue, expanded. Raises ConfigError if an item is named twice in a channel."""
    raw = yaml.safe_load((Path(__file__).parent / "catalogue.yaml").read_text(encoding="utf-8"))
    topics = raw["topics"]
    found = tuple(_channel(channel, raw) for channel in range(len(CHANNELS)))
    for name, channel in zip(CHANNELS, found, strict=True):
        if repeated := {item for item in channel.names if channel.names.count(item) > 1}:
            raise ConfigError(f"superapp/catalogue.yaml: {name} has {sorted(repeated)[:3]} twice; change one topic's")
    return Catalogue(topics, found, raw)


def _channel(channel: int, raw: dict[str, Any]) -> Channel:
    """Every topic's items of one channel, old ones before fresh ones, then what everybody looks at."""
    rows: list[tuple[str, int, bool]] = []
    for place, topic in enumerate(raw["topics"].values()):
        for late in (False, True):
            rows += [(name, place, late) for name in _items(channel, place, topic, late, raw)]
    trends = raw["trends"] if channel in (PAGE, SEARCH) else []
    peaks = np.linspace(0, WEEKS - 1, len(trends)).round()
    # Two weeks either side: what peaks later than CUT + 1 has not shown before CUT.
    form = "home > trending > {}" if channel == PAGE else "{}"
    rows += [(form.format(t), len(raw["topics"]), bool(w - 2 >= CUT)) for t, w in zip(trends, peaks, strict=True)]
    names, topics, fresh = (list(column) for column in zip(*rows, strict=True))
    found = np.array(topics), np.array(fresh)
    table = _chances(*found, len(raw["topics"]), peaks)
    if channel == BILL:
        # Nobody pays by chance for what is to be foretold.
        states = [i for i, topic in enumerate(raw["topics"].values()) if "starts" in topic or "mode" in topic]
        table[2 * len(raw["topics"]) : 2 * len(raw["topics"]) + 2, np.isin(found[0], states)] = 0
    return Channel(names, *found, table)


def _items(channel: int, place: int, topic: dict[str, Any], late: bool, raw: dict[str, Any]) -> list[str]:
    """One topic's old items of a channel, or its fresh ones."""
    if channel == APP and "apps" not in topic:
        return _items(BILL, place, topic, late, raw)  # a brand that sells has an app of its own name
    nouns = topic.get(NOUNS[channel], [])
    own = topic.get(f"new_{NOUNS[channel]}", []) if late else nouns
    if channel == SEARCH:
        filled = [(x, city) for x in topic.get("things", [""]) for city in raw["cities"]]
        return list(dict.fromkeys(template.format(x=x, city=city) for template in own for x, city in filled))
    if channel not in COPIES:
        return list(own)
    copies, words = COPIES[channel], raw["first_words"]
    first = place * 29 + channel * 7 + (len(nouns) * copies * STRIDE if late else 0)
    branded = [noun for noun in own for _ in range(copies)]
    return [f"{words[(first + i * STRIDE) % len(words)]} {noun}" for i, noun in enumerate(branded)]


def _chances(topic: np.ndarray, fresh: np.ndarray, topics: int, peaks: np.ndarray) -> np.ndarray:
    """See Channel: Zipf's law within a topic's old and fresh items, FRESH_SHARE for the fresh ones from CUT on."""
    table = np.zeros((2 * topics + 2 + WEEKS, len(topic)))
    for place in range(topics):
        groups = [np.flatnonzero((topic == place) & (fresh == late)) for late in (False, True)]
        old, new = (np.arange(1, len(group) + 1) ** -POPULARITY for group in groups)
        share = FRESH_SHARE if len(new) else 0.0
        for late, parts in enumerate(((1.0, 0.0), (1 - share, share))):
            for group, weights, part in zip(groups, (old, new), parts, strict=True):
                if len(group):
                    table[2 * place + late, group] = part * weights / weights.sum()
    for late in (0, 1):
        shown = table[late : 2 * topics : 2]
        table[2 * topics + late] = shown.sum(axis=0) / max(1.0, shown.sum())
    far = np.abs(np.arange(WEEKS)[:, None] - peaks)
    table[2 * topics + 2 :, topic == topics] = np.where(far <= 2, np.exp(-far), 0)
    return table
