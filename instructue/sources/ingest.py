"""Two stages: `sources` (files to staged tidy tables) and `histories` (as-of ranges, text vectors)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from instructue.config import Config
from instructue.files import replacing
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.events import number_texts, stable_sample, tidy, with_text_ids
from instructue.sources.histories import build_histories, check_labels_unseen, check_no_leak
from instructue.sources.merge import Merged, distinct_users
from instructue.sources.pieces import Piece, Shelf, is_large, read_pieces
from instructue.sources.readers import Reader, data_folder
from instructue.sources.snapshots import plan_snapshots
from instructue.sources.spec import DatasetSpec, SourceSpec, load_dataset
from instructue.sources.tables import VECTORS, scan_events, write_vectors
from instructue.sources.values import dictionary_digest, values_of

ROW_GROUP = 131_072  # fixed, so that the same data gives the same bytes
SAMPLE = 5  # rows shown of each source


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Parquet with a fixed layout, moved into place when whole."""
    with replacing(path) as temporary:
        frame.write_parquet(temporary, compression="zstd", row_group_size=ROW_GROUP, statistics=True)


def write_tables(tables: Iterator[pl.DataFrame], path: Path) -> None:
    """At least one table, and those that follow it, as the one file that write_table makes of them all."""
    from polars.io.plugins import register_io_source

    first = next(tables)

    def given(*_: object) -> Iterator[pl.DataFrame]:
        yield from chain([first], tables)

    with replacing(path) as temporary:
        register_io_source(given, schema=first.schema).sink_parquet(
            temporary, compression="zstd", row_group_size=ROW_GROUP, statistics=True, maintain_order=True
        )


@dataclass
class _Read:
    """A source as read: its tidy table or, if it is large, its pieces; and its texts."""

    source: SourceSpec
    texts: pl.DataFrame
    table: pl.DataFrame | None = None
    pieces: list[Piece] = field(default_factory=list)

    def users(self) -> pl.Series:
        return distinct_users(self.pieces) if self.table is None else self.table["user"]

    def tables(self, numbered: pl.DataFrame, keep: pl.Series | None, rows: int) -> Iterator[pl.DataFrame]:
        """The source's table in its order, in parts; of the users in `keep` and of none, if given."""
        if self.table is None:
            yield from Merged.of(self.source, self.pieces, numbered).tables(rows, keep)
            return
        # Rows of no user stay in, for validation to name.
        of_them = None if keep is None else pl.col("user").is_in(keep.implode()) | pl.col("user").is_null()
        table, self.table = self.table if of_them is None else self.table.filter(of_them), None
        yield with_text_ids(self.source, table, numbered)


def stage_sources(config: Config, paths: Paths) -> StageReport:
    """Read every source, render its texts, write staged tables. One report part per source.

    A source with more than data.partition_rows rows is read into pieces below .cache, of which those of unchanged files
    are used again, and is sorted and written so many rows at a time; the files are the same to the byte.
    """
    from instructue.progress import track

    dataset = load_dataset(config.data.description())
    rows, shelf = config.data.partition_rows, Shelf(paths.ingested(dataset.name))
    with Reader(dataset, data_folder(dataset, config.data.folder)) as reader:
        read = [_read(reader, source, rows, shelf) for source in track(dataset.sources, "reading sources")]
    keep = None
    if config.data.max_users:
        first = next(r for r in read if r.source.kind == "events")
        keep = stable_sample(first.users(), config.data.max_users)
    numbered = number_texts([r.texts for r in read])
    report = StageReport("sources", rows={"texts": numbered.height})
    with replacing(paths.staged) as temporary:
        temporary.mkdir(parents=True)
        write_table(numbered, temporary / "texts.parquet")
        for one in read:
            name = one.source.name
            part = _Part(name, numbered)
            write_tables(part.seen(one.tables(numbered, keep, rows)), temporary / f"{name}.parquet")
            report.parts[name] = part.report()
            report.rows |= report.parts[name].rows
    shelf.tidy_up()
    return report


def _read(reader: Reader, source: SourceSpec, rows: int, shelf: Shelf) -> _Read:
    if rows and is_large(reader, source, rows):
        pieces = read_pieces(reader, source, rows, shelf)
        texts = pl.concat([piece.texts.drop("code") for piece in pieces]).unique()
        return _Read(source, texts, pieces=pieces)
    events, texts = tidy(reader.dataset, source, reader.rows(source))
    return _Read(source, texts, events)


@dataclass
class _Part:
    """What is said of one source's table, gathered while its parts, which share no user, pass by."""

    name: str
    texts: pl.DataFrame
    rows: int = 0
    users: int = 0

    def seen(self, tables: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        self.used = np.zeros(self.texts.height + 1, bool)  # the last for rows without a text
        self.first: list[pl.DataFrame] = []
        for table in tables:
            self.users += table["user"].n_unique()
            self.used[table["text_id"].fill_null(self.texts.height).unique().to_numpy()] = True
            if self.rows < SAMPLE:
                self.first.append(table.head(SAMPLE))
            self.rows += table.height
            yield table

    def report(self) -> StageReport:
        sample = pl.concat(self.first).head(SAMPLE)
        sample = sample.join(self.texts.select("text_id", "text"), on="text_id", how="left").drop("text_id")
        rows = [{k: str(v) if k == "time" else v for k, v in row.items()} for row in sample.to_dicts()]
        return StageReport(
            "sources",
            rows={self.name: self.rows},
            metrics={"users": self.users, "texts": int(self.used.sum())},
            tables={"sample": rows},
        )


def stage_histories(config: Config, paths: Paths) -> StageReport:
    """As-of ranges at every snapshot, checked for leaks, and one vector per event text and per value
    that these show."""
    from instructue.models.text_encoder import TextEncoder

    dataset = load_dataset(config.data.description())
    table = as_of_histories(config, paths)
    texts = pl.read_parquet(paths.texts())
    with replacing(paths.histories) as temporary:
        temporary.mkdir(parents=True)
        write_table(table, temporary / "histories.parquet")
        encoder = TextEncoder.of(paths)
        values = values_of(dataset, texts)
        vectors = (encoder.encode(said, progress=True) for said in (texts["text"].to_list(), values.said))
        write_vectors(temporary / VECTORS, dictionary_digest(texts, values), *vectors)
    return _describe_histories(dataset, table, texts.height)


def as_of_histories(config: Config, paths: Paths) -> pl.DataFrame:
    """histories.parquet of the published tables, which are read in parts. Raises LeakageError if one leaks."""
    dataset = load_dataset(config.data.description())
    tables = scan_events(dataset, paths)
    table = build_histories(
        dataset, tables, plan_snapshots(config.histories, dataset.timezone), config.histories.min_events
    )
    check_no_leak(dataset, tables, table)
    check_labels_unseen(table)
    return table


def _describe_histories(dataset: DatasetSpec, table: pl.DataFrame, texts: int) -> StageReport:
    lengths = sum((pl.col(f"{s.name}_end") - pl.col(f"{s.name}_start") for s in dataset.event_sources), pl.lit(0))
    by = (
        table.with_columns(events=lengths)
        .group_by("snapshot", "split")
        .agg(pl.len().alias("users"), pl.col("events").median().alias("median_events"), pl.col("horizon_end").first())
        .sort("snapshot")
    )
    rows = [{k: str(v) if k in {"snapshot", "horizon_end"} else v for k, v in row.items()} for row in by.to_dicts()]
    return StageReport("histories", rows={"histories": table.height, "text_vectors": texts}, tables={"snapshots": rows})
