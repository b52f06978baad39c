"""A source's pieces as one table in the order of all its rows, made and written a range of users at a time.

The table is sorted by user, so the partitions are ranges of users, cut from what the pieces say of their row groups:
each is sorted by itself and the next is appended. A piece's row groups that hold no user of a range are not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from instructue.sources.events import sorted_by, text_columns
from instructue.sources.pieces import Piece
from instructue.sources.spec import SourceSpec

User = pl.col("user")


@dataclass(frozen=True)
class Merged:
    """Pieces with the number of each one's texts in the dictionary, in the order of their codes."""

    source: SourceSpec
    pieces: list[Piece]
    ids: list[np.ndarray]

    @classmethod
    def of(cls, source: SourceSpec, pieces: list[Piece], texts: pl.DataFrame) -> "Merged":
        """texts: the dictionary as number_texts gives it."""
        on = text_columns(source)
        own = texts.filter(pl.col("source") == source.name).select("text_id", *on)
        ids = [p.texts.join(own, on=on, how="left", maintain_order="left")["text_id"].to_numpy() for p in pieces]
        return cls(source, pieces, ids)

    def tables(self, rows: int, keep: pl.Series | None = None) -> Iterator[pl.DataFrame]:
        """Tables of about `rows` rows each that make up the whole; of the users in `keep` and of none, if given."""
        known = pl.Series(np.concatenate(self.ids), dtype=pl.UInt32)
        scans, start = [], 0
        for piece, ids in zip(self.pieces, self.ids, strict=True):
            row, code = pl.col("row") + pl.lit(piece.first, pl.UInt32), pl.col("code") + pl.lit(start, pl.UInt32)
            scans.append(pl.scan_parquet(piece.rows).with_columns(row, code))
            start += len(ids)
        for part in _ranges(self.pieces, rows):
            found = pl.concat([scan.filter(part) for scan in scans]).collect()
            if keep is not None:
                found = found.filter(User.is_in(keep.implode()) | User.is_null())
            numbered = found.with_columns(known.gather(found["code"]).alias("text_id")).drop("code")
            yield numbered.sort(sorted_by(self.source), maintain_order=True)


def distinct_users(pieces: list[Piece]) -> pl.Series:
    """Users that have rows in the pieces."""
    paths = [path for piece in pieces for path in piece.rows]
    return pl.scan_parquet(paths).select(User.drop_nulls().unique()).collect(engine="streaming")["user"]


def _ranges(pieces: list[Piece], rows: int) -> Iterator[pl.Expr]:
    """Conditions that part all users, in their order: rows of none first, then about `rows` rows each."""
    lasts, counts, without = [], [], 0
    for path in (path for piece in pieces for path in piece.rows):
        said = pq.ParquetFile(path).metadata
        column = said.schema.to_arrow_schema().names.index("user")
        for group in map(said.row_group, range(said.num_row_groups)):
            seen = group.column(column).statistics
            without += seen.null_count
            if seen.has_min_max:
                lasts.append(seen.max)
                counts.append(group.num_rows)
    if without or not lasts:
        yield User.is_null()  # also of no rows at all, for there is always a table
    if not lasts:
        return
    order = np.argsort(np.array(lasts, np.int64), kind="stable")
    ends = np.array(lasts, np.int64)[order]
    parts = np.cumsum(np.array(counts)[order]) // max(rows, 1)
    cuts = np.unique(ends[:-1][np.diff(parts) > 0])
    low = None
    for high in cuts.tolist():
        yield User <= high if low is None else User.is_between(low, high, closed="right")
        low = high
    yield User.is_not_null() if low is None else User > low
