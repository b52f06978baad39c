"""A large source in pieces: tidy rows of one file, or of the whole source where files cannot be read one by one.

A piece is a folder: rows-N.parquet with some rows each, sorted by user, as a tidy table with `code` in place of the
text; texts.parquet with the piece's distinct texts by code. A piece of one file is kept under the digest of all that it
was made of, so a file is only read again when it, a joined table or the description changes.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import polars as pl

from instructue.files import remove, replacing, sha256
from instructue.sources.events import text_columns, tidy
from instructue.sources.readers import Reader
from instructue.sources.rowwise import ROW, is_rowwise
from instructue.sources.spec import DatasetSpec, SourceSpec

LAYOUT = 1  # of a piece; another number makes all pieces anew
GROUP = 16_384  # rows of a row group, the least that is read of a piece
LINE = 32  # bytes; a text file has at most about so many rows as it has such lines


@dataclass(frozen=True)
class Piece:
    """rows: files of its rows. texts: source, text, attributes and code. first: its first row's number, added to
    the column row."""

    rows: list[Path]
    texts: pl.DataFrame
    first: int = 0


@dataclass
class Shelf:
    """Where pieces are kept; those that were not asked for are removed when it is tidied up."""

    folder: Path
    used: set[str] = field(default_factory=set)
    digests: dict[Path, str] = field(default_factory=dict)

    def digest(self, path: Path) -> str:
        """Of a file's content."""
        if path not in self.digests:
            self.digests[path] = sha256(path)
        return self.digests[path]

    def tidy_up(self) -> None:
        """Remove pieces of files that are no longer there, and those that cannot be used again."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name not in self.used:
                remove(path)


def is_large(reader: Reader, source: SourceSpec, rows: int) -> bool:
    """Whether the table that a source's rows come from has more than `rows` rows, or as a text file may have."""
    table = source.file
    reader.need([table])
    files = reader.files.get(table)
    if files is None or files.kind == "parquet":
        return int(reader.one(f"select count(*) from {table}")[0]) > rows
    packed = 8 if any(path.suffix in {".gz", ".zst"} for path in files.read) else 1
    return sum(path.stat().st_size for path in files.read) * packed // LINE > rows


def read_pieces(reader: Reader, source: SourceSpec, rows: int, shelf: Shelf) -> list[Piece]:
    """All rows of a source, read `rows` at a time; files that the shelf has pieces of are not read.

    Raises as Reader.rows.
    """
    files = reader.files.get(source.file)
    others = [t for t in reader.named_in(source.query) if t != source.file]
    by_file = files is not None and all(t in reader.files for t in others)
    if files is None or not by_file or not is_rowwise(reader.connection, reader.dataset, source):
        folder = shelf.folder / f"once-{source.name}"
        remove(folder)
        _write(reader.dataset, source, reader.batches(source, rows), folder)
        return [_open(folder)]
    made_of = _made_of(reader, source, [source.file, *others], others, shelf)
    pieces, first = [], 0
    for path, origin in zip(files.read, files.origins, strict=True):
        columns = [part for part in origin.parts[:-1] if "=" in part]  # Hive's, which the file does not hold
        key = hashlib.sha256(f"{made_of} {columns} {shelf.digest(origin)}".encode()).hexdigest()[:32]
        shelf.used.add(key)
        folder = shelf.folder / key
        if not folder.is_dir():
            with reader.only(source.file, path):
                _write(reader.dataset, source, reader.batches(source, rows), folder, reader.count(source.file, path))
        pieces.append(_open(folder, first))
        first += int((folder / "count").read_text())
    return pieces


def _made_of(reader: Reader, source: SourceSpec, tables: list[str], others: list[str], shelf: Shelf) -> str:
    """Digest of all that a piece depends on beside its file: description, types of the tables, joined tables."""
    dataset = reader.dataset
    told_of = [reader.connection.execute(f"describe {table}").fetchall() for table in tables]
    types = [[column[:2] for column in told if not column[0].startswith(ROW)] for told in told_of]
    joined = [shelf.digest(path) for table in others for path in reader.files[table].origins]
    told = [LAYOUT, pl.__version__, duckdb.__version__, dataset.timezone, dataset.user, source.model_dump(mode="json")]
    # Of several files columns are joined by name, which the types tell; a second file changes nothing about the first.
    options = [{k: v for k, v in reader.files[t].options.items() if k != "union_by_name"} for t in tables]
    read = [[dataset.table(t).model_dump(mode="json") for t in tables], options]
    return hashlib.sha256(json.dumps([told, types, read, joined], default=str).encode()).hexdigest()


def _write(
    dataset: DatasetSpec, source: SourceSpec, batches: Iterator[pl.DataFrame], folder: Path, count: int = 0
) -> None:
    """A piece of all batches, put in place when whole."""
    on = text_columns(source)
    with replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        (temporary / "count").write_text(str(count))
        known = None
        for number, batch in enumerate(batches):
            events, own = tidy(dataset, source, batch)
            new = own if known is None else own.join(known, on=on, how="anti")
            start = 0 if known is None else known.height
            new = new.with_columns(code=pl.int_range(start, start + pl.len(), dtype=pl.UInt32))
            known = new if known is None else pl.concat([known, new])
            coded = events.join(known.select("code", *on), on=on, how="left", maintain_order="left")
            coded = coded.drop(on if source.kind == "events" else "value").sort("user", maintain_order=True)
            path = temporary / f"rows-{number:05}.parquet"
            coded.write_parquet(path, compression="lz4", row_group_size=GROUP, statistics=True)
        assert known is not None  # there is always a first batch
        known.write_parquet(temporary / "texts.parquet")


def _open(folder: Path, first: int = 0) -> Piece:
    return Piece(sorted(folder.glob("rows-*.parquet")), pl.read_parquet(folder / "texts.parquet"), first)
