"""Who is judged, and from what: the evaluation snapshot's users, their pasts for features, their futures for labels.

Features read `past`, labels read `future`; both refuse tables in which the two overlap.
"""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl

from instructue.errors import ConfigError, DataError, LeakageError
from instructue.sources.histories import check_labels_unseen, check_no_leak
from instructue.sources.tables import Tables


@dataclass(frozen=True)
class Population:
    """The users of the evaluation snapshot, in ascending order; `user` columns become positions 0..n-1 in it.

    `histories` holds one row per user, in the order of `users`.
    """

    tables: Tables
    histories: pl.DataFrame
    users: pl.Series
    snapshot: datetime
    label_days: int
    _pasts: dict[str, pl.DataFrame] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, tables: Tables) -> "Population":
        """Raises DataError if there is no evaluation snapshot, LeakageError if a history reaches past its own."""
        histories = tables.histories.filter(pl.col("split") == "evaluation").sort("user")
        moments = histories["snapshot"].unique()
        if len(moments) != 1:
            raise DataError(f"histories.parquet has {len(moments)} evaluation snapshots; run `histories` again")
        check_no_leak(tables.dataset, tables.events, histories)
        check_labels_unseen(tables.histories)
        days = (histories["horizon_end"][0].date() - moments[0].date()).days
        return cls(tables, histories, histories["user"], moments[0], days)

    @property
    def size(self) -> int:
        return len(self.users)

    def positions(self, users: pl.Series) -> np.ndarray:
        """Place of each user in `users`, int64. Raises LeakageError for a user who is not judged."""
        place = self.users.search_sorted(users).to_numpy().astype(np.int64).clip(0, max(self.size - 1, 0))
        strangers = users.filter(self.users.gather(place) != users)
        if len(strangers):
            raise LeakageError(f"{len(strangers)} users are not of the evaluation snapshot; first: {strangers[0]}")
        return place

    def past(self, source: str) -> pl.DataFrame:
        """Events of one source before the snapshot, sorted by user and time, with `position` and `age` in days."""
        if source not in self._pasts:
            start, end = (self.histories[f"{source}_{edge}"].to_numpy().astype(np.int64) for edge in ("start", "end"))
            length = end - start
            position = np.repeat(np.arange(self.size), length)
            rows = np.arange(position.size) - np.repeat(np.cumsum(length) - length, length) + start[position]
            age = (pl.lit(self.snapshot) - pl.col("time")).dt.total_seconds() / 86400
            events = self.tables.events[source][rows]
            self._pasts[source] = events.with_columns(age=age.cast(pl.Float32), position=pl.Series(position))
        return self._pasts[source]

    def future(self, source: str, days: int) -> pl.DataFrame:
        """Events of one source in [snapshot, snapshot + days), with the attributes of their texts.

        Days are local calendar days. Raises ConfigError if they pass the end of the label window.
        """
        if days > self.label_days:
            raise ConfigError(f"a label needs {days} days, histories.label_days gives {self.label_days}")
        end = pl.lit(self.snapshot).dt.offset_by(f"{days}d")
        judged = pl.col("user").is_in(self.users.implode())
        events = self.tables.events[source].filter((pl.col("time") >= self.snapshot) & (pl.col("time") < end) & judged)
        return self.with_attributes(source, events)

    def profile(self, source: str) -> pl.DataFrame:
        """Attribute rows (user, attribute, value) of one attribute table, for the judged users."""
        rows = self.tables.events[source].filter(pl.col("user").is_in(self.users.implode()))
        return rows.select("user", "attribute", "text_id", value=self.tables.texts["value"].gather(rows["text_id"]))

    def with_attributes(self, source: str, events: pl.DataFrame) -> pl.DataFrame:
        """Add the text attributes of a source to its events."""
        texts, ids = self.tables.texts, events["text_id"]
        return events.with_columns(texts[a].gather(ids).alias(a) for a in self.tables.dataset.source(source).attributes)
