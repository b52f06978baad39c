"""Which tables a folder or a database holds, and what each is: events, attributes of users, or a look-up."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from instructue.errors import ConfigError, DataError
from instructue.sources import databases
from instructue.sources.formats import name_sql
from instructue.sources.init.columns import SAMPLE, USER_NAME, Column, Moment, as_moment, look, snake
from instructue.sources.readers import Reader
from instructue.sources.spec import DatasetSpec
from instructue.sources.table_spec import TableSpec, format_of


@dataclass
class Table:
    """One table as found. `role` is events, attributes, look-up or unused; `why` says what it was told by."""

    name: str
    place: str | TableSpec
    rows: int
    columns: dict[str, Column]
    role: str = "unused"
    why: str = ""
    user: Column | None = None
    time: Column | None = None
    moment: Moment | None = None
    unique: set[str] = field(default_factory=set)

    def worded(self, key: Column) -> bool:
        """Whether it says something in words of what `key` names."""
        return any(c.kind == "text" and c.left_out() is None for c in self.columns.values() if c is not key)


def find_tables(place: str) -> tuple[str, dict[str, str | TableSpec]]:
    """(folder, table name -> where it lies) of a folder, a DuckDB or SQLite file, or env:VARIABLE that holds a URL.

    Files whose names differ in digits only are one table, and so is a folder in the folder.
    """
    if place.startswith("env:"):
        spec = TableSpec(database=place.removeprefix("env:"))
        found = databases.postgres_tables(spec)
        return ".", {snake(t.rpartition(".")[2]): TableSpec(database=spec.database, table=t) for t in found}
    path = Path(place)
    kind = format_of(path.name)
    if path.is_file() and kind in {"duckdb", "sqlite"}:
        inside = databases.duckdb_tables(path) if kind == "duckdb" else databases.sqlite_tables(path)
        return str(path.parent), {snake(t): TableSpec(file=path.name, table=t) for t in inside}
    if not path.is_dir():
        raise ConfigError(
            f"{place} is neither a folder nor a .duckdb or .sqlite file; or give env:VARIABLE, which holds a URL"
        )
    return str(path), _in_folder(path)


def _in_folder(folder: Path) -> dict[str, str | TableSpec]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            if any(format_of(p.name) in {"parquet", "csv", "json"} for p in path.rglob("*")):
                groups[path.name, ""].append(path.name)
        elif format_of(path.name) in {"parquet", "csv", "json"}:
            groups[re.sub(r"\d+", "*", path.name.split(".")[0]), path.name.split(".", 1)[1]].append(path.name)
    found: dict[str, str | TableSpec] = {}
    for (stem, ending), names in groups.items():
        pattern = f"{re.sub(r'[*]([-_.]?[*])*', '*', stem)}.{ending}" if len(names) > 1 else names[0]
        name = snake(stem.replace("*", "")) if len(names) > 1 else snake(names[0].split(".")[0])
        found[name if name not in found else f"{name}_{len(found)}"] = pattern
    if not found:
        raise DataError(f"{folder} holds no file that ends in .csv, .parquet, .jsonl or the like")
    return found


def bare(folder: str, tables: dict[str, str | TableSpec]) -> DatasetSpec:
    """A description with tables only, for a Reader to look at them."""
    return DatasetSpec.model_construct(name="found", folder=folder, timezone="UTC", tables=tables, sources=[])


def look_at(reader: Reader) -> dict[str, Table]:
    """Every table's columns and rows, and the roles that they suggest."""
    tables = {}
    for name in reader.dataset.tables:
        reader.need([name])
        head = reader.connection.sql(f"select * exclude file_row from {name} limit {SAMPLE}").pl()
        counted = reader.one(f"select count(*) from {name}")
        columns = {c: look(c, head[c]) for c in head.columns}
        tables[name] = Table(name, reader.dataset.tables[name], int(counted[0]), columns)
    for table in tables.values():
        _unique_columns(reader, table)
    _find_users(tables)
    _find_times(tables)
    _give_roles(tables)
    return tables


def _unique_columns(reader: Reader, table: Table) -> None:
    likely = [c for c in table.columns.values() if c.distinct == c.values.len() and c.kind in {"number", "text"}]
    for column in likely if table.rows else []:
        whole = f"select count(distinct {name_sql(column.name)}) from {table.name}"
        if reader.one(whole)[0] == table.rows:
            table.unique.add(column.name)


def _find_users(tables: dict[str, Table]) -> None:
    """The user's column in each table: the name that the most tables with such a name share."""
    votes: dict[str, float] = defaultdict(float)
    for table in tables.values():
        for column in table.columns.values():
            if USER_NAME.search(column.called) and (column.identifies or column.whole or column.kind == "text"):
                repeats = column.distinct < 0.9 * max(1, column.values.len())
                votes[column.called] += 1 + repeats + column.identifies + column.filled
    if not votes:
        raise ConfigError(
            "no column looks like a user's: none is called user, customer, client, member, account, household or the "
            "like. Rename it, or write the description by hand (docs/sources.md)"
        )
    best = max(votes, key=lambda name: (votes[name], -len(name)))
    for table in tables.values():
        own = [c for c in table.columns.values() if c.called == best]
        # A table called users may call its key just id.
        own += [c for c in table.columns.values()
                if c.called in {"id", best.removesuffix("_id")} and USER_NAME.search(snake(table.name))]  # fmt: skip
        table.user = own[0] if own else None


def _find_times(tables: dict[str, Table]) -> None:
    for table in tables.values():
        found = [
            (moment, c) for c in table.columns.values()
            if c is not table.user and (moment := as_moment(c, name_sql(c.name))) is not None
        ]  # fmt: skip
        if found:
            table.moment, table.time = max(found, key=lambda pair: pair[0].score)


def _give_roles(tables: dict[str, Table]) -> None:
    for table in tables.values():
        if table.user is None:
            keyed = bool(table.unique)
            table.role = "look-up" if keyed else "unused"
            table.why = f"no user, {sorted(table.unique)} name its rows" if keyed else "neither user nor key"
        elif table.user.name in table.unique and (table.time is None or len(tables) > 1):
            table.role, table.why = "attributes", f"one row per {table.user.name}"
        elif table.time is not None:
            table.role = "events"
            table.why = f"{table.user.name} repeats and {table.time.name} is a time"
        else:
            table.why = f"{table.user.name} repeats, but no column is a time"
    if not any(t.role == "events" for t in tables.values()):
        said = "; ".join(f"{t.name}: {t.why}" for t in tables.values())
        raise ConfigError(f"no table looks like events, which need a user and a time: {said}")
