"""Where one table of a data set lies and how it is read, where a path alone does not say it all."""

import re
from pathlib import PurePath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Format = Literal["parquet", "csv", "json", "duckdb", "sqlite", "postgres"]

ENDINGS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".duckdb": "duckdb",
    ".ddb": "duckdb",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".db": "sqlite",
}
PACKED = {".gz", ".zst"}


def format_of(name: str) -> Format | None:
    """The format that a file name or pattern ends in, `.gz` and `.zst` left aside; None if it ends in none of them."""
    path = PurePath(name)
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return ENDINGS.get(path.suffix.lower())


class TableSpec(BaseModel):
    """One table: a file, a glob, a folder (also partitioned by key=value folders), or a table of a database.

    What is not given is guessed from the data; give it where the guess is wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str | None = Field(
        default=None,
        min_length=1,
        description="File, glob ('logs/*.csv') or folder, from the data set's folder on; or a DuckDB or SQLite file. "
        "All files below a folder are one table; folders named key=value become columns",
    )
    database: str | None = Field(
        default=None, description="Name of the environment variable that holds a PostgreSQL URL, in place of `file`"
    )
    table: str | None = Field(
        default=None, description="Table of the database, 'schema.name'; default: this table's own name"
    )
    format: Format | None = Field(default=None, description="Default: by the ending of the file's name")
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=4, description="CSV: what separates columns; guessed"
    )
    quote: str = Field(default='"', max_length=1, description="CSV: what encloses a text that holds a delimiter")
    encoding: str | None = Field(default=None, description="CSV: name of the encoding, 'cp1252'; guessed")
    decimal: Literal[".", ","] | None = Field(default=None, description="CSV: decimal sign; guessed")
    columns: list[str] | None = Field(
        default=None, description="CSV: names of the columns of files without a line of names"
    )
    time_format: str | None = Field(default=None, description="CSV: how stamps are written, '%d/%m/%Y %H:%M'; guessed")
    date_format: str | None = Field(default=None, description="CSV: how dates are written, '%d/%m/%Y'; guessed")
    nulls: list[str] = Field(
        default=[], description="CSV: texts that mean that there is no value, 'NA'; always: nothing"
    )
    types: dict[str, str] = Field(
        default={}, description="CSV, JSON: column -> SQL type, where the guessed one is wrong"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "TableSpec":
        if (self.file is None) == (self.database is None):
            raise ValueError("give `file` or `database`, one of them")
        if self.database is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.database):
            raise ValueError(
                "`database` is the name of an environment variable, for a URL with its password must not stand in a "
                "file: `export SHOP_URL=postgresql://...` and write `database: SHOP_URL`"
            )
        if self.file is not None and self.format is None:
            check_place(self.file)
        if self.kind is None:
            return self
        if self.table is not None and self.kind not in {"duckdb", "sqlite", "postgres"}:
            raise ValueError("`table` is for databases")
        if self.kind != "csv" and (given := sorted(self.model_fields_set & CSV_ONLY)):
            raise ValueError(f"{given} are for CSV files, this is {self.kind}")
        if self.types and self.kind not in {"csv", "json"}:
            raise ValueError(f"`types` is for CSV and JSON files, this is {self.kind}")
        return self

    @property
    def kind(self) -> Format | None:
        """The format, given or told from the name; None for a folder, whose files say."""
        return "postgres" if self.database is not None else self.format or format_of(str(self.file))

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        inner = f":{self.table}" if self.table else ""
        return f"{self.file}{inner}" if self.file is not None else f"${self.database}{inner}"


def check_place(place: str) -> str:
    """The path itself. Raises ValueError if neither its ending nor its being a folder says how to read it."""
    if not place:
        raise ValueError("a path is needed")
    last = PurePath(place).name
    if format_of(place) is None and "." in last and not place.endswith(("/", "..")):
        raise ValueError(
            f"the format of {place!r} cannot be told from its name, write {{file: {place}, format: csv}} "
            f"(known endings: {', '.join(ENDINGS)})"
        )
    return place


CSV_ONLY = {"delimiter", "quote", "encoding", "decimal", "columns", "time_format", "date_format", "nulls"}
