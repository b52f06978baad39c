"""What features come in: soft tokens and their roles, each history's distinct texts, and what was fitted.

Shapes: N soft tokens of a batch, V width of a text vector, F numeric features of a token, T texts of the dictionary,
C width of the map.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Roles:
    """What a soft token stands for: one window each, then the four single roles."""

    windows: int

    @property
    def frequent(self) -> int:
        return self.windows

    @property
    def retrieved(self) -> int:
        return self.windows + 1

    @property
    def attribute(self) -> int:
        return self.windows + 2

    @property
    def whole(self) -> int:
        return self.windows + 3

    @property
    def count(self) -> int:
        return self.windows + 4


@dataclass
class Tokens:
    """N soft tokens: vectors_NV float32, figures_NF float32, source_N and role_N int64."""

    vectors_NV: np.ndarray
    figures_NF: np.ndarray
    source_N: np.ndarray
    role_N: np.ndarray

    @staticmethod
    def join(parts: list["Tokens"]) -> "Tokens":
        return Tokens(*(np.concatenate([getattr(p, f) for p in parts]) for f in Tokens.__dataclass_fields__))


@dataclass
class Distinct:
    """Each history's distinct event texts: rows of history b are [bounds[b], bounds[b + 1])."""

    bounds: np.ndarray
    text: np.ndarray
    source: np.ndarray
    figures: np.ndarray
    weight: np.ndarray


@dataclass
class Fitted:
    """What was learnt from training histories before any step: idf_T, which texts occurred (known_T, 0 or 1), where
    either view of a history puts a text on the map (map_TC by what is telling, share_TC by how often), and the map's
    normaliser."""

    idf: np.ndarray
    known: np.ndarray
    map_TC: np.ndarray
    share_TC: np.ndarray
    center_C: np.ndarray
    spread_C: np.ndarray

    @staticmethod
    def blank(texts: int, width: int) -> "Fitted":
        zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
        one, nowhere = np.ones(texts, np.float32), np.zeros((texts, width), np.float32)
        return Fitted(one, one.copy(), nowhere, nowhere.copy(), zeros, ones)

    @cached_property
    def scaled_map(self) -> np.ndarray:
        """map_TC at unit mean-square row length, as text vectors have."""
        size = np.sqrt((self.map_TC**2).sum(1).mean()) if self.map_TC.size else 1.0
        return self.map_TC / np.float32(max(float(size), 1e-9))
