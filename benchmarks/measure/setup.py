"""What both halves of the benchmark work on: one project's data, our network, the plain way with the same weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instructue.config import Config, load_config
from instructue.models.text_encoder import Library, TextEncoder
from instructue.paths import Paths
from instructue.sources.tables import Tables, load_tables
from instructue.training.build import Parts, build, load_triplets
from measure.clock import seconds
from plain.model import PlainModel
from plain.sequences import EventTexts
from plain.ways import Plain

QUESTIONS = [
    "Will this household buy coffee in the next four weeks?",
    "Will it redeem a coupon?",
    "Is it a family with children?",
    "Will it spend more than before?",
    "Which department matters most to it?",
    "Does it shop at the weekend?",
    "Will it try a category it never bought?",
    "Does it look for promotions?",
    "How often does it come?",
    "Which brand does it keep to?",
    "Is it one of those with a high income?",
    "Will it stop coming within a quarter of a year?",
    "How large is its next basket?",
    "Which product will it buy again?",
    "Does it answer to mailed campaigns?",
    "Will it buy frozen pizza in the next four weeks?",
]


@dataclass
class Setup:
    """known_KV: vectors of QUESTIONS. events: each history's number of events. texts_a_second: of the text encoder."""

    config: Config
    paths: Paths
    tables: Tables
    parts: Parts
    plain: Plain
    known_KV: np.ndarray
    events: np.ndarray
    texts_a_second: float

    def histories(self, split: str, count: int, seed: int = 7) -> np.ndarray:
        """Random histories of a split, fewest events first."""
        found = np.flatnonzero((self.tables.histories["split"] == split).to_numpy())
        drawn = np.random.default_rng(seed).choice(found, min(count, len(found)), replace=False)
        return drawn[np.argsort(self.events[drawn], kind="stable")]

    def spread(self, examples: np.ndarray, count: int) -> np.ndarray:
        """Places of `count` of these histories that stand for all: the middles of equal blocks by number of events."""
        order = np.argsort(self.events[examples], kind="stable")
        return order[((np.arange(count) + 0.5) * len(order) / count).astype(int)]


def set_up(root: Path) -> Setup:
    """Load the project and both networks. Raises DataError if the `histories` or the `userqa` stage has not run."""
    paths = Paths(root)
    config = load_config(paths.params)
    tables = load_tables(config, paths)
    parts = build(config.model, tables, paths, load_triplets(paths, tables)["instruction"])
    encoder = TextEncoder(paths.text_encoder, config.model.training.dtype)
    texts = EventTexts(parts, tables, Library(paths.text_encoder, config.model.training.dtype))
    plain = Plain(parts, config, texts, PlainModel(parts.model, paths.language_model, parts.dtype))
    histories = tables.histories
    names = [s.name for s in tables.dataset.event_sources]
    events = sum((histories[f"{n}_end"] - histories[f"{n}_start"]).to_numpy().astype(np.int64) for n in names)
    known = np.asarray(encoder.encode(QUESTIONS))
    sample = np.random.default_rng(7).choice(texts.texts, min(512, len(texts.texts)), replace=False).tolist()
    texts.vectors(sample[:128])
    rate = len(sample) / seconds(lambda: texts.vectors(sample))
    return Setup(config, paths, tables, parts, plain, known, events, rate)
