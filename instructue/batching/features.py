"""From row ranges to soft-token features, for a batch of histories at a time, in columns.

Shapes: B histories, S event sources, W windows, T distinct texts, N soft tokens of the batch,
V width of a text vector, F numeric features of a token. Every token, whatever its role, is an
aggregate of events of one source: a text vector and the same F figures.
"""

from dataclasses import replace

import numpy as np
import polars as pl
import scipy.sparse as sp

from instructue.batching.tokens import Distinct, Fitted, Roles, Tokens
from instructue.sources.tables import Tables

DAY_US = 86_400_000_000
RECENT_DAYS = 28.0
# log count, log recent count, log days since the last, log days since the first, similarity to the instruction
BASE_FEATURES = 5
FADING_DAYS = (28.0, 91.0)  # how quickly an old event stops to count as evidence
# count, recent count, presence faded by each of FADING_DAYS, presence
AMOUNTS = 3 + len(FADING_DAYS)


class HistoryFeatures:
    """Arrays of all published tables, ready to give the features of any batch of histories."""

    def __init__(self, tables: Tables, windows_days: list[int], map_width: int) -> None:
        self.vectors, self.value_vectors = tables.vectors, tables.value_vectors
        self.values_TA = tables.values.held_TA
        self.windows = np.asarray(windows_days, dtype=np.float64)
        self.roles = Roles(len(windows_days))
        self.events = tables.dataset.event_sources
        self.attributes = tables.dataset.attribute_sources
        self.names = [s.name for s in (*self.events, *self.attributes)]
        self.columns = max((len(s.columns) for s in self.events), default=0)
        self.width = BASE_FEATURES + self.columns
        self._text, self._time, self._numbers = [], [], []
        for source in self.events:
            frame = tables.events[source.name]
            self._text.append(frame["text_id"].to_numpy().astype(np.int64))
            self._time.append(frame["time"].dt.epoch("us").to_numpy())
            numbers = np.zeros((frame.height, self.columns), np.float32)
            for place, column in enumerate(source.columns):
                numbers[:, place] = np.log1p(np.maximum(frame[column].to_numpy(), 0))
            self._numbers.append(numbers)
        histories = tables.histories
        self.snapshot = histories["snapshot"].dt.epoch("us").to_numpy()
        self.user = histories["user"].to_numpy()
        self._start = [histories[f"{s.name}_start"].to_numpy().astype(np.int64) for s in self.events]
        self._end = [histories[f"{s.name}_end"].to_numpy().astype(np.int64) for s in self.events]
        self._attribute_rows = [_by_user(tables.events[s.name]) for s in self.attributes]
        self.slots = [len(s.attributes) for s in self.attributes]
        self.fitted = Fitted.blank(len(self.vectors), map_width)

    @property
    def idf(self) -> np.ndarray:
        return self.fitted.idf

    def fit(self, examples: np.ndarray) -> None:
        """Fit inverse document frequencies and the map of histories on `examples` (training ones only).

        The map is latent semantic analysis (Deerwester et al. 1990) of two views at once (`_views`): texts that
        the same histories hold lie close, and a history's coordinates keep its fine grain in few numbers.
        """
        from sklearn.decomposition import TruncatedSVD

        T, width = self.fitted.map_TC.shape
        seen = np.zeros(T, np.int64)
        for start in range(0, len(examples), 256):
            seen += np.bincount(self.distinct(examples[start : start + 256]).text, minlength=T)
        idf, known = np.log((1 + len(examples)) / (1 + seen)).astype(np.float32), (seen > 0).astype(np.float32)
        self.fitted = replace(Fitted.blank(T, width), idf=idf, known=known)
        if width == 0:
            return
        views = sp.hstack(self._views(self.distinct(examples)), format="csr")
        solved = TruncatedSVD(min(width, min(views.shape) - 1), random_state=0).fit(views).components_
        places_VC = np.zeros((2 * T, width), np.float32)
        places_VC[:, : len(solved)] = solved.T
        raw = views @ places_VC
        center, spread = raw.mean(0), np.maximum(raw.std(0), 1e-6)
        self.fitted = Fitted(idf, known, places_VC[:T], places_VC[T:], center, spread)

    def _views(self, distinct: Distinct) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """Twice [B, T]: log count x idf, which says who somebody is, and the root of the count, which says what is
        bought again; each with unit rows."""
        B, length = len(distinct.bounds) - 1, np.diff(distinct.bounds)
        owner = np.repeat(np.arange(B), length)

        def unit(weight: np.ndarray) -> sp.csr_matrix:
            size = np.sqrt(np.bincount(owner, weight**2, B)).clip(1e-9)
            data = (weight / size[owner]).astype(np.float32)
            return sp.csr_matrix((data, distinct.text, distinct.bounds), shape=(B, len(self.vectors)))

        return unit(distinct.weight), unit(np.sqrt(np.expm1(distinct.figures[:, 0])))

    def coordinates(self, distinct: Distinct) -> np.ndarray:
        """[B, C] each history's place on the map, centred and scaled as the training histories are."""
        told, bought = self._views(distinct)
        raw = told @ self.fitted.map_TC + bought @ self.fitted.share_TC
        return ((raw - self.fitted.center_C) / self.fitted.spread_C).astype(np.float32)

    def _vectors_of(self, text: np.ndarray) -> np.ndarray:
        """Token vectors: what the text says, then where histories put it (at the text vectors' own scale)."""
        return np.concatenate([self.vectors[text], self.fitted.scaled_map[text]], axis=1)

    def rows(self, examples: np.ndarray, source: int, hidden: np.ndarray | None = None):
        """Positions of the histories' events of one source, and which history (0..B-1) each belongs to."""
        start, end = self._start[source][examples], self._end[source][examples]
        if hidden is not None:
            end = np.where(hidden[:, source], start, end)
        length = end - start
        owner = np.repeat(np.arange(len(examples)), length)
        within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
        return np.repeat(start, length) + within, owner

    def _events(self, examples: np.ndarray, hidden: np.ndarray | None) -> tuple[np.ndarray, ...]:
        """Every event of the histories, by source, history and time: history (0..B-1), source, text, age in days,
        numbers [events, columns]."""
        parts = [self.rows(examples, s, hidden) for s in range(len(self.events))]
        owner = np.concatenate([o for _, o in parts])
        source = np.repeat(np.arange(len(parts)), [len(p) for p, _ in parts])
        text, time, numbers = (
            np.concatenate([held[s][p] for s, (p, _) in enumerate(parts)])
            for held in (self._text, self._time, self._numbers)
        )
        return owner, source, text, (self.snapshot[examples][owner] - time) / DAY_US, numbers

    def _figures(self, start: np.ndarray, age: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """[groups, F] figures of groups of events that lie one behind the other, each from its start."""
        out = np.zeros((len(start), self.width), np.float32)
        if len(start):
            count = np.diff(start, append=len(age))
            recent = np.add.reduceat(age <= RECENT_DAYS, start, dtype=np.int64)
            amounts = count, recent, np.minimum.reduceat(age, start), np.maximum.reduceat(age, start)
            out[:, : len(amounts)] = np.log1p(np.stack(amounts, axis=1))
            out[:, BASE_FEATURES:] = np.add.reduceat(numbers, start, dtype=np.float64) / count[:, None]
        return out

    def _means(self, text: np.ndarray, start: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Mean vectors, rare texts counting more: of events from each start to the next, then of all that belong to
        the starts from each `first` on to the next."""
        shape = len(start), len(self.vectors)
        texts = sp.csr_matrix((self.idf[text] + 1e-3, text, np.append(start, len(text))), shape=shape)
        parts = texts @ self.vectors, texts @ self.fitted.scaled_map, np.asarray(texts.sum(1))
        sums = np.concatenate(parts, axis=1)
        if len(first):
            sums = np.concatenate([sums, np.add.reduceat(sums, first)])
        return np.asarray(sums[:, :-1] / sums[:, -1:], np.float32)

    def pooled(self, examples: np.ndarray, hidden: np.ndarray | None = None) -> tuple[Tokens, np.ndarray, np.ndarray]:
        """Window tokens and one whole-history token per source.

        Returns (tokens, window_BSW, whole_BS): the latter two number each slot's token, -1 where empty.
        """
        B, S, W = len(examples), len(self.events), len(self.windows)
        owner, source, text, age, numbers = self._events(examples, hidden)
        window = np.minimum(np.searchsorted(self.windows, age, side="left"), W - 1)
        slot = (source * B + owner) * W + window
        order = np.argsort(slot, kind="stable")
        slot, text, age, numbers = (x[order] for x in (slot, text, age, numbers))
        start = np.flatnonzero(np.diff(slot, prepend=-1))
        slot = slot[start]
        first = np.flatnonzero(np.diff(slot // W, prepend=-1))  # windows that begin a source of a history
        vectors = self._means(text, start, first)
        figures = np.concatenate([self._figures(at, age, numbers) for at in (start, start[first])])
        window_BSW, whole_BS = np.full((B, S, W), -1, np.int64), np.full((B, len(self.names)), -1, np.int64)
        window_w, of_window, of_whole = slot % W, slot // W, slot[first] // W
        window_BSW[of_window % B, of_window // B, window_w] = np.arange(len(start))
        whole_BS[of_whole % B, of_whole // B] = len(start) + np.arange(len(first))
        sources = np.concatenate([of_window, of_whole]) // B
        roles = np.concatenate([window_w, np.full(len(first), self.roles.whole)])
        return Tokens(vectors, figures, sources, roles), window_BSW, whole_BS

    def distinct(self, examples: np.ndarray, hidden: np.ndarray | None = None) -> Distinct:
        """Distinct event texts of each history, over all event sources, with their figures."""
        owner, source, text, age, numbers = self._events(examples, hidden)
        key = owner * len(self.vectors) + text
        order = np.argsort(key, kind="stable")
        key = key[order]
        start = np.flatnonzero(np.diff(key, prepend=-1))
        key = key[start]
        figures = self._figures(start, age[order], numbers[order])
        bounds = np.searchsorted(key, np.arange(len(examples) + 1) * len(self.vectors))
        text = key % len(self.vectors)
        return Distinct(bounds, text, source[order[start]], figures, figures[:, 0] * self.idf[text])

    def seen(self, distinct: Distinct) -> tuple[np.ndarray, ...]:
        """The batch's distinct texts [T, V], their distinct values [G, V] and which of these each text holds [T, A], -1
        for none; and side by side each history's texts: which [B, M], of which source [B, M], amounts [B, M, AMOUNTS].

        M is the most that a history of the batch holds; amounts are zero beyond a history's own.
        """
        B, length = len(distinct.bounds) - 1, np.diff(distinct.bounds)
        M = int(length.max(initial=0))
        there = np.arange(M) < length[:, None]
        texts, which = np.unique(distinct.text, return_inverse=True)
        text, source = np.zeros((B, M), np.int64), np.zeros((B, M), np.int64)
        text[there], source[there] = which, distinct.source
        count, recent, last = (np.expm1(distinct.figures[:, place]) for place in range(3))
        amounts = np.zeros((B, M, AMOUNTS), np.float32)
        amounts[there] = np.stack(
            [count, recent, *(np.exp(-last / days) for days in FADING_DAYS), np.ones_like(count)], axis=1
        )
        held = self.values_TA[texts]
        values, number = np.unique(held, return_inverse=True)
        none = int(values[:1].min(initial=0) < 0)  # -1, where there is one, comes first
        held = number.reshape(held.shape) - none
        vectors = self.vectors[texts], self.value_vectors[values[none:]]
        return *(v.astype(np.float32) for v in vectors), held, text, source, amounts

    def best(self, query_UV: np.ndarray) -> np.ndarray:
        """[U] similarity of the text, or value, nearest to each query among those that the fitted histories held.

        Rounded, so that it does not depend on what else is looked up at the same time.
        """
        known = self.fitted.known[: len(self.vectors)] > 0
        if not known.any():
            return np.ones(len(query_UV), np.float32)
        values = np.unique(self.values_TA[known])
        nearest = [query_UV @ each.T for each in (self.vectors[known], self.value_vectors[values[values >= 0]])]
        return np.concatenate(nearest, axis=1).max(axis=1).round(3)

    def frequent(self, distinct: Distinct, keep: int) -> np.ndarray:
        """Rows of `distinct` with each history's most telling texts (log count x idf); [B, keep], -1 where fewer."""
        B = len(distinct.bounds) - 1
        owner = np.repeat(np.arange(B), np.diff(distinct.bounds))
        order = np.lexsort((distinct.text, -distinct.weight, owner))
        rank = np.arange(len(order)) - distinct.bounds[owner[order]]
        kept = rank < keep
        chosen = np.full((B, keep), -1, np.int64)
        chosen[owner[order][kept], rank[kept]] = order[kept]
        return chosen

    def tokens_of(
        self, distinct: Distinct, rows: np.ndarray, role: int, similarity: np.ndarray | float = 0.0
    ) -> Tokens:
        """Single-text tokens of rows of `distinct`; similarity (if any) enters the figures."""
        figures = distinct.figures[rows].copy()
        figures[:, BASE_FEATURES - 1] = similarity
        return Tokens(self._vectors_of(distinct.text[rows]), figures, distinct.source[rows], np.full(len(rows), role))

    def attribute_tokens(self, examples: np.ndarray, hidden: np.ndarray | None = None) -> tuple[Tokens, np.ndarray]:
        """One token per filled attribute; returns (tokens, slots [B, sum of attributes], -1 where missing)."""
        B = len(examples)
        slots, texts, sources = np.full((B, sum(self.slots)), -1, np.int64), [], []
        base = 0
        for index, by_user in enumerate(self._attribute_rows):
            s = len(self.events) + index
            for b, user in enumerate(self.user[examples]):
                if hidden is not None and hidden[b, s]:
                    continue
                own = by_user.get(int(user), ())
                slots[b, base : base + len(own)] = len(texts) + np.arange(len(own))
                texts.extend(own)
                sources.extend([s] * len(own))
            base += self.slots[index]
        text = np.asarray(texts, np.int64)
        figures = np.zeros((len(text), self.width), np.float32)
        role = np.full(len(text), self.roles.attribute)
        return Tokens(self._vectors_of(text), figures, np.asarray(sources, np.int64), role), slots


def _by_user(frame: pl.DataFrame) -> dict[int, list[int]]:
    grouped = frame.sort("user", "attribute").group_by("user", maintain_order=True).agg("text_id")
    return dict(zip(grouped["user"].to_list(), grouped["text_id"].to_list(), strict=True))
