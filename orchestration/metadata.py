"""What a person sees of an asset in Dagster: rows, columns, samples, figures, plots, links."""

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg

from instructue.report import StageReport
from orchestration.pages import address

SAMPLE = 5
LONGEST = 200  # characters of one cell


def table(rows: Iterable[dict[str, Any]]) -> dg.TableMetadataValue:
    """Flat dicts as a table; a row that lacks a column shows it empty."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    records = [dg.TableRecord({name: _cell(row.get(name)) for name in columns}) for row in rows]
    kinds = {name: _kind(record.data[name] for record in records) for name in columns}
    schema = dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in kinds.items()])
    return dg.MetadataValue.table(records, schema)


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list | tuple):
        head = ", ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in value[:3])
        return f"[{head}{', ...' if len(value) > 3 else ''}] ({len(value)})"
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _kind(values: Iterable[Any]) -> str:
    types = {type(v) for v in values if v is not None}
    if types <= {int} and types:
        return "int"
    return "float" if types and types <= {int, float} else "bool" if types == {bool} else "string"


def parquet(path: Path) -> dict[str, Any]:
    """Row count and column schema from a Parquet file's footer, and its first rows."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = [dg.TableColumn(field.name, str(field.type)) for field in file.schema_arrow]
        first = next(file.iter_batches(batch_size=SAMPLE), None)
        found: dict[str, Any] = {
            "dagster/row_count": file.metadata.num_rows,
            "dagster/column_schema": dg.TableSchema(columns=columns),
        }
    if first is not None:
        found["sample"] = table(first.to_pylist())
    return found


def report(said: StageReport, root: Path) -> dict[str, Any]:
    """A stage report, or one part of it."""
    found: dict[str, Any] = {}
    if len(said.rows) == 1:
        found["dagster/row_count"] = next(iter(said.rows.values()))
    else:
        found |= {f"rows/{name}": count for name, count in said.rows.items()}
    found |= {name: float(value) if isinstance(value, float) else value for name, value in said.metrics.items()}
    found |= {name: table(rows) for name, rows in said.tables.items() if rows}
    found |= {f"plot/{name}": plot(path if path.is_absolute() else root / path) for name, path in said.plots.items()}
    found |= {name: link(place, root) for name, place in said.links.items()}
    if said.notes:
        found["notes"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in said.notes))
    return found


def plot(path: Path) -> dg.MetadataValue:
    """A PNG or SVG file, shown in place."""
    if not path.is_file():
        return dg.MetadataValue.path(str(path))
    kind = "svg+xml" if path.suffix == ".svg" else path.suffix.removeprefix(".")
    encoded = base64.b64encode(path.read_bytes()).decode()
    return dg.MetadataValue.md(f"![{path.stem}](data:image/{kind};base64,{encoded})")


def link(place: str, root: Path) -> dg.MetadataValue:
    """A link if it is one or a page of our reports, else a path to copy."""
    if place.startswith(("http://", "https://")):
        return dg.MetadataValue.url(place)
    page = address(place, root)
    return dg.MetadataValue.url(page) if page else dg.MetadataValue.path(place)
