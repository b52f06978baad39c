"""Histories with irrelevant events among their own, as tables that every method reads as it reads the real ones."""

from dataclasses import replace

import numpy as np
import polars as pl

from instructue.errors import DataError
from instructue.evaluation.population import Population
from instructue.sources.histories import as_of_ranges
from instructue.sources.tables import Tables

KINDS = {
    "others": "events from other users' pasts",
    "popular": "events of the most frequent texts",
}
POPULAR = 20  # most frequent texts of each source that the kind `popular` repeats


def noisy(everyone: Population, users: pl.Series, kind: str, share: float, seed: int) -> Tables:
    """Tables of `users` (ascending) alone, in whose pasts a `share` of the events of every source is irrelevant.

    Events are drawn, with repeats, from the pasts of `everyone` but the user: each keeps its time and figures, so
    that a source's share of a history stays, no event comes to lie at or after the snapshot, and none is invented.
    Attribute tables stay. There is no future in these tables: labels come from the real ones.
    """
    if not 0 <= share < 1:
        raise DataError(f"a share of noise lies in [0, 1), not {share}")
    rng = np.random.default_rng([seed, list(KINDS).index(kind), round(share * 1000)])
    tables, who = everyone.tables, everyone.positions(users)
    events = {}
    for source in tables.dataset.sources:
        if source.kind == "events":
            events[source.name] = _mixed(everyone.past(source.name), who, users, kind, share, rng)
        else:
            events[source.name] = tables.events[source.name].filter(pl.col("user").is_in(users.implode()))
    kept = everyone.histories.filter(pl.col("user").is_in(users.implode()))
    kept = kept.select("example", "user", "snapshot", "horizon_end", "split")
    ranges = [as_of_ranges(kept, events[s.name], s.name) for s in tables.dataset.event_sources]
    return replace(tables, events=events, histories=pl.concat([kept, *ranges], how="horizontal"))


def _mixed(
    past: pl.DataFrame, who: np.ndarray, users: pl.Series, kind: str, share: float, rng: np.random.Generator
) -> pl.DataFrame:
    """One source's events of the users and of the noise drawn for them, sorted by user and time."""
    pool = past
    if kind == "popular":
        often = past["text_id"].value_counts().sort(["count", "text_id"], descending=[True, False])
        pool = past.filter(pl.col("text_id").is_in(often["text_id"].head(POPULAR).implode()))
    length = np.diff(_bounds(past, who), axis=0)[0]
    first, last = _bounds(pool, who)
    room = pool.height - (last - first)
    wanted = np.where(room > 0, np.rint(length * share / (1 - share)), 0).astype(np.int64)
    owner = np.repeat(np.arange(len(who)), wanted)
    drawn = (rng.random(len(owner)) * room[owner]).astype(np.int64)
    drawn += np.where(drawn >= first[owner], (last - first)[owner], 0)  # step over the user's own events
    strange = pool[drawn].with_columns(user=users.gather(owner))
    own = past.filter(pl.col("user").is_in(users.implode()))
    return pl.concat([own, strange]).drop("position", "age").sort("user", "time", maintain_order=True)


def _bounds(past: pl.DataFrame, who: np.ndarray) -> np.ndarray:
    """Where each user's rows begin and end in a past, int64 [2, users]."""
    position = past["position"].to_numpy()
    return np.stack([np.searchsorted(position, who, side) for side in ("left", "right")])
