"""From tables with roles to sources: query, key, numbers, attributes and a text template, each with its reason."""

import re
from dataclasses import dataclass, field
from itertools import chain

import polars as pl

from instructue.sources.formats import name_sql
from instructue.sources.init.columns import AMOUNT_NAME, ID_NAME, Column, snake
from instructue.sources.init.tables import Table
from instructue.sources.readers import Reader

# Columns of ours, in queries and in the dictionary of texts.
TAKEN = ["row", "user", "time", "amount", "text_id", "text", "source", "attribute", "value"]
MOST_WORDS, MOST_NUMBERS = 5, 6
CODES = 20  # whole numbers of so few values may be codes


@dataclass
class Source:
    """One proposed source; `notes` are the reasons, each beside what it explains."""

    name: str
    table: Table
    select: list[tuple[str, str, str]] = field(default_factory=list)  # (SQL, name, reason)
    joins: list[tuple[str, str]] = field(default_factory=list)  # (SQL, reason)
    key: list[str] = field(default_factory=list)
    key_note: str = ""
    amount: tuple[dict[str, float], str] | None = None
    numbers: dict[str, tuple[dict[str, float], str]] = field(default_factory=dict)
    attributes: dict[str, tuple[Column, str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    stamped: str = "local"

    @property
    def events(self) -> bool:
        return self.table.role == "events"

    @property
    def query(self) -> str:
        return (
            "select "
            + ", ".join(f"{sql} as {name}" for sql, name, _ in self.select)
            + f" from {self.table.name} e"
            + "".join(f" {sql}" for sql, _ in self.joins)
        )

    @property
    def text(self) -> str:
        """The template: the most telling attribute bare, each other one after its name."""
        if not self.events:
            return "{attribute}: {value}"
        names = list(self.attributes)
        first = 0 if self.attributes and self.attributes[names[0]][0].kind == "text" else None
        said = ["{" + n + "}" if i == first else f"{n.replace('_', ' ')} {{{n}}}" for i, n in enumerate(names)]
        return ", ".join(said)


def singular(name: str) -> str:
    """'orders' -> 'order', 'categories' -> 'category'."""
    if name.endswith("ies"):
        return name[:-3] + "y"
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name


def user_sql(tables: dict[str, Table]) -> tuple[str, str]:
    """(SQL with {} for the column, reason): whole numbers stay, all else is made a number by user_number."""
    columns = [t.user for t in tables.values() if t.user is not None]
    if all(c.whole for c in columns):
        floats = any(not c.values.dtype.is_integer() for c in columns)
        return ("{}::bigint", "whole numbers kept as decimals") if floats else ("{}", "whole numbers")
    return "user_number({}::varchar)", "texts, made into numbers: our users are numbers"


def propose(reader: Reader, tables: dict[str, Table]) -> list[Source]:
    """A source per event table, the one of most users first, then one per attribute table."""
    wanted = [t for t in tables.values() if t.role in {"events", "attributes"}]
    order = sorted(wanted, key=lambda t: (t.role != "events", -t.rows))
    sources = [_source(reader, tables, table) for table in order]
    return [s for s in sources if s.attributes]


def _source(reader: Reader, tables: dict[str, Table], table: Table) -> Source:
    source = Source(singular(snake(table.name)), table)
    taken = {*TAKEN}
    assert table.user is not None
    sql, why = user_sql(tables)
    source.select.append(("e.file_row", "row", ""))
    named = _alias(table.user.called, taken)
    source.select.append((sql.format(f"e.{name_sql(table.user.name)}"), "{user}", f"{table.user.name}: {why}"))
    if source.events and table.moment is not None and table.time is not None:
        moment = table.moment.sql.replace(name_sql(table.time.name), f"e.{name_sql(table.time.name)}")
        source.select.append((moment, "time", f"{table.time.name}: {table.moment.reason}"))
        source.stamped = table.moment.clock
    used = {table.user.name} | ({table.time.name} if table.time is not None else set())
    found = _look_ups(tables, table)
    joined = list(chain.from_iterable(_joined(source, other, n) for n, other in enumerate(found)))
    # A code whose words are looked up says nothing beside them.
    coded = {here.name: other.name for other, key, here in found if other.worded(key)}
    source.left_out += [f"{code} (its words come from {other})" for code, other in coded.items()]
    own = [(c, f"e.{name_sql(c.name)}") for c in table.columns.values() if c.name not in used | coded.keys()]
    if source.events:
        _key(reader, source, taken, named)
        _numbers(source, own, taken)
    else:
        source.key, source.key_note = ["{user}"], "one row per user"
    _attributes(source, [*own, *joined], taken)
    return source


def _alias(wanted: str, taken: set[str]) -> str:
    name = wanted
    while name in taken:
        name = f"{name}_of_it" if name == wanted else f"{name}_"
    taken.add(name)
    return name


def _look_ups(tables: dict[str, Table], table: Table) -> list[tuple[Table, Column, Column]]:
    """(look-up, its key, the column here that names it), where the values agree."""
    found = []
    for other in tables.values():
        if other.role != "look-up":
            continue
        for key in (other.columns[n] for n in sorted(other.unique)):
            wanted = {key.called} | ({f"{singular(snake(other.name))}_id"} if key.called == "id" else set())
            here = next((c for c in table.columns.values() if c.called in wanted and c.kind == key.kind), None)
            if here is not None and _agree(here, key):
                found.append((other, key, here))
                break
    return found


def _agree(here: Column, key: Column) -> bool:
    few = here.values.drop_nulls().head(2000).cast(pl.String)
    # A look-up longer than what was looked at can agree in part only.
    wanted = 0.5 if key.values.len() < 50_000 else 0.05
    return len(few) > 0 and few.is_in(key.values.cast(pl.String).implode()).mean() >= wanted  # type: ignore[operator]


def _joined(source: Source, found: tuple[Table, Column, Column], place: int) -> list[tuple[Column, str]]:
    other, key, here = found
    alias = f"j{place}"
    on = f"e.{name_sql(here.name)} = {alias}.{name_sql(key.name)}"
    source.joins.append((f"left join {other.name} {alias} on {on}", f"{other.name} says more of each {here.name}"))
    return [(c, f"{alias}.{name_sql(c.name)}") for c in other.columns.values() if c is not key]


def _key(reader: Reader, source: Source, taken: set[str], user: str) -> None:
    """The fewest columns that name a row, tried from one on; the last try stands, with its number of doubles."""
    table = source.table
    assert table.user is not None and table.time is not None
    ids = [c for c in table.columns.values() if c is not table.user and c is not table.time and c.identifies][:4]
    ids.sort(key=lambda c: c.name not in table.unique)
    person, time = table.user.name, table.time.name
    tries = [[c.name] for c in ids if c.name in table.unique] + [[person, c.name] for c in ids] + [[person, time]]
    tries += [[person, time, c.name] for c in ids] + ([[person, time, *[c.name for c in ids]]] if len(ids) > 1 else [])
    doubles, best = 0, tries[-1]
    for columns in tries:
        named = ", ".join(map(name_sql, columns))
        together = named if len(columns) == 1 else f"({named})"
        doubles, best = reader.one(f"select count(*) - count(distinct {together}) from {table.name}")[0], columns
        if not doubles:
            break
    source.key_note = f"{doubles} rows are doubles by it, see validation" if doubles else "no two rows agree in it"
    fixed = {person: "{user}", time: "time"}
    for name in best:
        if name not in fixed:
            fixed[name] = _alias(table.columns[name].called, taken)
            source.select.append((f"e.{name_sql(name)}", fixed[name], "part of the key"))
    source.key = [fixed[name] for name in best]


def _bounds(column: Column) -> dict[str, float]:
    low = column.values.min()
    return {"min": 0} if isinstance(low, int | float) and low >= 0 else {}


def _numbers(source: Source, own: list[tuple[Column, str]], taken: set[str]) -> None:
    numeric = [(c, sql) for c, sql in own if c.kind == "number" and not c.identifies and c.left_out() is None]
    # A sum of money is one by its name and has decimals more often than not.
    money = [pair for pair in numeric if AMOUNT_NAME.search(pair[0].called)]
    for column, sql in sorted(money, key=lambda p: p[0].whole)[:1]:
        source.amount = _bounds(column), f"{column.name}: by its name"
        source.select.append((sql, "amount", ""))
        numeric = [pair for pair in numeric if pair[0] is not column]
    for column, sql in numeric[:MOST_NUMBERS]:
        name = _alias(column.called, taken)
        source.numbers[name] = _bounds(column), f"from {column.values.min()} to {column.values.max()} in the first rows"
        source.select.append((sql, name, ""))


def _attributes(source: Source, columns: list[tuple[Column, str]], taken: set[str]) -> None:
    fit = []
    for column, sql in columns:
        why = column.left_out()
        if why is not None:
            source.left_out.append(f"{column.name} ({why})")
        elif column.kind == "moment" or (column.kind == "number" and ID_NAME.search(column.called)):
            source.left_out.append(
                f"{column.name} ({'a further time' if column.kind == 'moment' else 'an identifier'})"
            )
        elif column.kind == "text" and column.identifies and not (column.distinct <= CODES):
            source.left_out.append(f"{column.name} (codes, which say nothing in a text)")
        elif column.kind in {"text", "truth"} or (not source.events and column.kind == "number"):
            fit.append((column, sql))
        elif column.kind == "number" and sql.startswith("j") and column.whole:
            fit.append((column, f"{sql}::bigint"))
    fit.sort(key=lambda p: (p[0].kind != "text", -p[0].distinct))
    most = len(fit) if not source.events else MOST_WORDS
    source.left_out += [f"{c.name} (enough texts without it)" for c, _ in fit[most:]]
    for column, sql in fit[:most]:
        why = f"{column.distinct:,} different values"
        if column.kind == "text" and column.values.drop_nulls().head(500).str.contains(r"\w\|\w").mean() > 0.2:  # type: ignore[operator]
            sql, why = f"replace({sql}, '|', ', ')", why + ", lists parted by |"
        if column.kind == "text" and re.search(r"\s", "".join(column.values.drop_nulls().head(20))):
            why += ", in words"
        name = _alias(column.called, taken)
        source.attributes[name] = column, why
        source.select.append((sql, name, ""))
