"""Tables of DuckDB, SQLite and PostgreSQL databases as tables of our own DuckDB connection. They are only read."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from instructue.errors import ConfigError, DataError
from instructue.sources.formats import name_sql, quoted
from instructue.sources.table_spec import TableSpec

BATCH = 65_536  # rows fetched at once
SQLITE_TYPES = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string(), "blob": pa.binary()}


def add_duckdb(connection: duckdb.DuckDBPyConnection, name: str, path: Path, table: str) -> None:
    """A view of a table of a DuckDB file; file_row is its rowid, or the row's number if it is a view there."""
    alias = "db_" + hashlib.md5(str(path).encode()).hexdigest()[:12]
    try:
        connection.execute(f"attach if not exists {quoted(str(path))} as {alias} (read_only)")
        whole = ".".join([alias, *map(name_sql, table.split("."))])
        try:
            connection.execute(f"create view {name} as select *, rowid as file_row from {whole}")
        except duckdb.BinderException:
            connection.execute(f"create view {name} as select *, row_number() over () - 1 as file_row from {whole}")
    except duckdb.CatalogException as error:
        raise ConfigError(f"{path} has no table {table!r}; it has {duckdb_tables(path)}") from error
    except duckdb.Error as error:
        raise DataError(f"{path} cannot be read as a DuckDB file: {_first(error)}") from error


def duckdb_tables(path: Path) -> list[str]:
    """Tables and views of a DuckDB file."""
    try:
        with duckdb.connect(str(path), read_only=True) as db:
            return [
                row[0] for row in db.execute("select table_name from information_schema.tables order by 1").fetchall()
            ]
    except duckdb.Error as error:
        raise DataError(f"{path} cannot be read as a DuckDB file: {_first(error)}") from error


def sqlite_tables(path: Path) -> list[str]:
    """Tables and views of a SQLite file."""
    with _sqlite(path) as db:
        found = "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%' order by 1"
        try:
            return [row[0] for row in db.execute(found)]
        except sqlite3.Error as error:
            raise DataError(f"{path} cannot be read as a SQLite file: {error}") from error


def _sqlite(path: Path) -> sqlite3.Connection:
    # DuckDB pulls the rows from a thread of its own, one at a time.
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)


def copy_sqlite(connection: duckdb.DuckDBPyConnection, name: str, path: Path, table: str) -> None:
    """A temporary copy of a table of a SQLite file, in the order of its rowid; file_row counts from 0.

    SQLite gives each value a type of its own: a column with texts among numbers is read as text, so that nothing
    is lost. DuckDB's SQLite extension is not used, for it has to be fetched from the internet.
    """
    if table not in (known := sqlite_tables(path)):
        raise ConfigError(f"{path} has no table {table!r}; it has {known}")
    with _sqlite(path) as db:
        columns = [row[1] for row in db.execute(f"pragma table_info({quoted(table)})")]
        types = [_sqlite_type(db, table, column) for column in columns]
        schema = pa.schema(zip(columns, types, strict=True))
        read = ", ".join(
            f"cast({name_sql(c)} as text)" if t == pa.string() else name_sql(c)
            for c, t in zip(columns, types, strict=True)
        )
        cursor = db.execute(f"select {read} from {name_sql(table)}")

        def batches() -> Iterator[pa.RecordBatch]:
            while rows := cursor.fetchmany(BATCH):
                arrays = [pa.array(values, t) for values, t in zip(zip(*rows, strict=True), types, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        _copy(connection, name, pa.RecordBatchReader.from_batches(schema, batches()))


def _sqlite_type(db: sqlite3.Connection, table: str, column: str) -> pa.DataType:
    found = {row[0] for row in db.execute(f"select distinct typeof({name_sql(column)}) from {name_sql(table)}")}
    found.discard("null")
    if found == {"integer", "real"}:
        return pa.float64()
    return SQLITE_TYPES[found.pop()] if len(found) == 1 else pa.string()


def postgres_url(spec: TableSpec) -> str:
    """The URL that the environment holds. Raises ConfigError naming the variable if it does not."""
    url = os.environ.get(str(spec.database))
    if not url:
        raise ConfigError(
            f"the environment variable {spec.database} is not set; `export {spec.database}=postgresql://USER:PASSWORD@HOST/NAME`"
        )
    return url


def copy_postgres(connection: duckdb.DuckDBPyConnection, name: str, spec: TableSpec) -> None:
    """A temporary copy of a PostgreSQL table, ordered by its primary key (without one, as it lies); from 0.

    Exact decimals become doubles; what is neither number, text, truth nor time becomes text.
    """
    schema, _, table = str(spec.table or name).rpartition(".")
    with _postgres(spec) as db, db.cursor() as cursor:
        columns = _postgres_columns(cursor, schema or "public", table)
        if not columns:
            raise ConfigError(
                f"${spec.database} has no table {schema or 'public'}.{table}; it has {postgres_tables(spec)}"
            )
        whole = f"{name_sql(schema or 'public')}.{name_sql(table)}"
        cursor.execute(
            "select a.attname from pg_index i "
            "join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey) "
            f"where i.indisprimary and i.indrelid = {quoted(whole)}::regclass order by a.attnum"
        )
        key = [row[0] for row in cursor.fetchall()]
        order = f" order by {', '.join(map(name_sql, key))}" if key else ""
        cursor.execute(f"select {', '.join(columns)} from {whole}{order}")
        _copy(connection, name, cursor.fetch_record_batch())


def _postgres_columns(cursor, schema: str, table: str) -> list[str]:
    """SQL of each column, in types that Arrow has."""
    cursor.execute(
        "select column_name, data_type from information_schema.columns "
        f"where table_schema = {quoted(schema)} and table_name = {quoted(table)} order by ordinal_position"
    )
    plain = (
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "text",
        "boolean",
        "date",
        "timestamp",
        "bytea",
    )
    out = []
    for column, kind in cursor.fetchall():
        target = None if kind.startswith(plain) else "double precision" if kind == "numeric" else "text"
        out.append(name_sql(column) if target is None else f"{name_sql(column)}::{target} as {name_sql(column)}")
    return out


def postgres_tables(spec: TableSpec) -> list[str]:
    """Tables and views of a PostgreSQL database, 'schema.name', its own left out."""
    with _postgres(spec) as db, db.cursor() as cursor:
        cursor.execute(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_schema not in ('pg_catalog', 'information_schema') order by 1"
        )
        return [row[0] for row in cursor.fetchall()]


def _postgres(spec: TableSpec):
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError as error:
        raise ConfigError("PostgreSQL needs a further package: pip install 'instructue[postgres]'") from error
    try:
        return dbapi.connect(postgres_url(spec))
    except dbapi.Error as error:
        # The driver's own message may hold the URL.
        said = str(error).replace(postgres_url(spec), f"${spec.database}")
        raise DataError(f"no connection to the database in ${spec.database}: {said}") from None


def _copy(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.RecordBatchReader) -> None:
    connection.register("incoming", rows)
    try:
        connection.execute(f"create temp table {name} as select *, row_number() over () - 1 as file_row from incoming")
    finally:
        connection.unregister("incoming")


def _first(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
