"""Whether a source's query makes each of its rows of one row of its own table, so that files may be read one by one."""

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from instructue.sources.spec import DatasetSpec, SourceSpec

ROW = "file_row"  # the row's number, which only the column `row` may give: it is counted anew in every file
OUR_MACROS = {"local", "user_number"}
CLOCKS = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}  # called without brackets


def is_rowwise(connection: duckdb.DuckDBPyConnection, dataset: DatasetSpec, source: SourceSpec) -> bool:
    """True if reading the files of `source.file` one by one surely gives the rows that reading all at once gives.

    So it is for one SELECT of plain expressions and conditions over the table alone, or joined (inner, left) with
    tables that do not depend on it. Whatever else the query holds (groups, windows, limits, sub-queries about the own
    table, functions that give another value each time, tables that are not described) makes it False.
    """
    said = connection.execute("select json_serialize_sql(?::varchar)", [source.query]).fetchall()[0][0]
    statements = json.loads(said).get("statements", [])
    node = statements[0]["node"] if len(statements) == 1 else {}
    if node.get("type") != "SELECT_NODE":
        return False
    whole = list(_nodes(node))
    tables = [n["table_name"] for n in whole if n.get("type") == "BASE_TABLE"]
    own = _first(node["from_table"])
    return (
        own is not None
        and own["table_name"] == source.file
        and tables.count(source.file) == 1
        and set(tables) <= set(dataset.tables)
        and not any(n.get("type") == "TABLE_FUNCTION" or n.get("sample") for n in whole)
        and not any(node[part] for part in ("modifiers", "group_expressions", "having", "qualify"))
        and not _gathers(connection, node)
        and _numbered(node, whole, {own["table_name"], own["alias"]})
        and ROW not in source.key
    )


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping inside a value of JSON."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _first(table: dict[str, Any]) -> dict[str, Any] | None:
    """The table that the joins begin with; None if one of them makes rows of more than one row of it."""
    while table["type"] == "JOIN":
        if table["join_type"] not in {"INNER", "LEFT"} or table["ref_type"] != "REGULAR":
            return None
        table = table["left"]
    return table if table["type"] == "BASE_TABLE" else None


def _gathers(connection: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> bool:
    """Whether what is selected or asked for takes in other rows, or is not the same each time; a joined table may."""
    outer, inner = list(_nodes([node["select_list"], node["where_clause"]])), list(_nodes(node["from_table"]))
    used = {n["function_name"] for n in outer if n.get("class") == "FUNCTION"}
    everywhere = used | {n["function_name"] for n in inner if n.get("class") == "FUNCTION"}
    named = {n["column_names"][-1].lower() for n in outer + inner if n.get("class") == "COLUMN_REF"}
    known = connection.execute(
        "select distinct function_name, function_type, stability from duckdb_functions() "
        "where list_contains(?, function_name)",
        [sorted(everywhere - OUR_MACROS)],
    ).fetchall()
    gathering = {name for name, kind, _ in known if kind in {"aggregate", "window", "macro"}}
    # What reads the clock or throws dice; what a macro does is not known.
    changing = {name for name, _, stability in known if stability != "CONSISTENT"}
    windows = any(n.get("class") == "WINDOW" for n in outer)
    return bool(used & gathering or everywhere & changing or named & CLOCKS or windows)


def _numbered(node: dict[str, Any], whole: list[dict[str, Any]], own: set[str]) -> bool:
    """Whether the row's number is only named once, as `file_row as row` of the own table, and no column by a star."""
    if any(n.get("class") == "STAR" for n in _nodes(node["select_list"])):
        return False
    references = [n["column_names"] for n in whole if n.get("class") == "COLUMN_REF"]
    found = [names for names in references if names[-1].lower() == ROW]
    named = [n["column_names"] for n in node["select_list"] if n["alias"] == "row" and n.get("class") == "COLUMN_REF"]
    return len(found) == 1 and named == found and (len(found[0]) == 1 or found[0][0] in own)
