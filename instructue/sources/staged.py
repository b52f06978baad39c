"""The staged tables of a data set, read when they are asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from instructue.errors import DataError

HELD = 20_000_000  # rows that stay in memory when another table is read, of all tables together


class Staged(Mapping[str, pl.DataFrame]):
    """Table by source. Those asked for longest ago are let go of, lest more than HELD rows stay beside the new one."""

    def __init__(self, files: dict[str, Path]) -> None:
        """Raises DataError if a file is not there or cannot be read; so may a look-up."""
        self.files = files
        self.rows = {name: _whole(path, pl.scan_parquet(path).select(pl.len())).item() for name, path in files.items()}
        self._held: dict[str, pl.DataFrame] = {}

    def __getitem__(self, name: str) -> pl.DataFrame:
        table = self._held.pop(name, None)
        if table is None:
            while self._held and sum(map(len, self._held.values())) + self.rows[name] > HELD:
                del self._held[next(iter(self._held))]
            table = read_staged(self.files[name])
        self._held[name] = table
        return table

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def read_staged(path: Path) -> pl.DataFrame:
    """A table that the `sources` stage has left. Raises DataError if it is not there or cannot be read."""
    return _whole(path, pl.scan_parquet(path))


def _whole(path: Path, scan: pl.LazyFrame) -> pl.DataFrame:
    if not path.is_file():
        raise DataError(f"{path} is not there; run the sources stage first: python -m instructue sources")
    try:
        return scan.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{path} cannot be read; run the sources stage again: python -m instructue sources ({error})"
        ) from error
