"""Files of any described format as relations of DuckDB: which files, in what encoding, parted by what.

Each relation's rows come in the order of the files (by path) and within them, which is how rows are numbered.
"""

import codecs
import csv
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from instructue.errors import DataError
from instructue.sources.table_spec import Format, TableSpec, format_of

CHUNK = 1 << 20  # bytes read at once
SAMPLE = 1 << 18  # characters that delimiter and decimal sign are guessed from
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Files:
    """The files of one table; `read` are those that DuckDB opens, a file in another encoding being read as a copy."""

    kind: Format
    origins: list[Path]
    read: list[Path]
    options: dict[str, object] = field(default_factory=dict)


def quoted(value: object) -> str:
    """A value as SQL: text, truth, list or mapping of texts."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(quoted, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)}: {quoted(v)}" for k, v in value.items()) + "}"
    return "'" + str(value).replace("'", "''") + "'"


def name_sql(name: str) -> str:
    """A column's or table's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def files_of(spec: TableSpec, folder: Path) -> list[Path]:
    """The files of a table, by path; none if there are none. Hidden ones and those that begin with _ are left out."""
    place = folder / str(spec.file)
    if any(sign in str(spec.file) for sign in "*?["):
        found = folder.glob(str(spec.file)) if not Path(str(spec.file)).is_absolute() else _glob(place)
    elif place.is_dir():
        found = (p for p in place.rglob("*") if spec.format or format_of(p.name) in {"parquet", "csv", "json"})
    else:
        found = iter([place])
    return sorted(p for p in found if p.is_file() and not p.name.startswith((".", "_")))


def _glob(pattern: Path) -> list[Path]:
    import glob

    return [Path(p) for p in glob.glob(str(pattern), recursive=True)]


def open_files(spec: TableSpec, folder: Path, scratch: Path) -> Files:
    """Find a table's files and what they need to be read; copies in UTF-8 are made in `scratch`.

    Raises DataError naming what is missing, of mixed formats, or not in the encoding given.
    """
    origins = files_of(spec, folder)
    if not origins:
        raise DataError(f"{folder / str(spec.file)} is missing")
    kinds: set[Format | None] = {spec.kind or format_of(p.name) for p in origins}
    if len(kinds) > 1:
        raise DataError(f"{folder / str(spec.file)} holds files of several formats, {sorted(map(str, kinds))}")
    kind = kinds.pop() or "parquet"
    if kind != "csv":
        # A file called .json may as well hold one list of records.
        lines = {"format": "auto" if ".json" in origins[0].suffixes else "newline_delimited"} if kind == "json" else {}
        return Files(kind, origins, origins, lines | _shared(origins, folder))
    read = []
    for path in origins:
        encoding = spec.encoding or guess_encoding(path)
        read.append(path if _is_utf8(encoding) else _copy(path, encoding, scratch))
    return Files(kind, origins, read, _csv_options(spec, read[0]) | _shared(origins, folder))


def _shared(files: list[Path], folder: Path) -> dict[str, object]:
    below = files[0].relative_to(folder) if files[0].is_relative_to(folder) else files[0]
    partitioned = any("=" in part for part in below.parts[:-1])
    options: dict[str, object] = {"hive_partitioning": partitioned}
    return options | ({"union_by_name": True} if len(files) > 1 else {})


def relation(files: Files, read: list[Path] | None = None) -> str:
    """SQL of all rows of a table's files, or of the given ones of `files.read`."""
    function = {"parquet": "read_parquet", "csv": "read_csv", "json": "read_json"}[files.kind]
    said = "".join(f", {name}={quoted(value)}" for name, value in files.options.items())
    return f"{function}({quoted([str(p) for p in read or files.read])}{said})"


def _csv_options(spec: TableSpec, first: Path) -> dict[str, object]:
    head = _head(first)
    delimiter = spec.delimiter or guess_delimiter(head)
    decimal = spec.decimal or guess_decimal(head, delimiter)
    # All that can be pinned is: DuckDB's own guess of the dialect takes a damaged line for another dialect.
    options: dict[str, object] = {"delim": delimiter, "quote": spec.quote, "escape": spec.quote}
    options |= {"header": spec.columns is None, "decimal_separator": decimal}
    named = {"names": spec.columns, "timestampformat": spec.time_format, "dateformat": spec.date_format}
    options |= {name: value for name, value in named.items() if value is not None}
    if spec.nulls:
        options["nullstr"] = ["", *spec.nulls]
    if spec.types:
        options["types"] = spec.types
    return options


def _head(path: Path) -> str:
    with pa.input_stream(str(path)) as stream:
        data = stream.read(SAMPLE)
    return codecs.getincrementaldecoder("utf-8-sig")("replace").decode(data)


def guess_delimiter(head: str) -> str:
    """The sign that occurs most often in the first line outside quotes; a comma if none does."""
    line = re.sub(r'"[^"]*"', "", head.split("\n", 1)[0])
    return max(DELIMITERS, key=line.count)


def guess_decimal(head: str, delimiter: str) -> str:
    """A comma if some column holds only whole numbers and numbers with one comma, and at least one such; else a dot."""
    if delimiter == ",":
        return "."
    lines = head.splitlines()
    rows = list(csv.reader(io.StringIO("\n".join(lines[1:-1] or lines[1:])), delimiter=delimiter[0]))
    for column in zip(*(r for r in rows if rows and len(r) == len(rows[0])), strict=True):
        filled = [value for value in column if value]
        if any("," in v for v in filled) and all(re.fullmatch(r"-?\d+(,\d+)?", v) for v in filled):
            return ","
    return "."


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in {"utf-8", "utf-8-sig", "ascii"}


def guess_encoding(path: Path) -> str:
    """UTF-8 if the whole file is, UTF-16 by its mark, else Windows' western code page, which reads ISO 8859-1 too.

    Raises DataError naming the line if the file is UTF-8 but for some bytes: read otherwise, all its letters with
    accents would be wrong.
    """
    with pa.input_stream(str(path)) as stream:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        letters = wrong = line = first_wrong = 0
        start = True
        while data := stream.read(CHUNK):
            if start and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                return "utf-16"
            start = False
            if data.isascii():
                line += data.count(b"\n")
                continue
            text = decoder.decode(data)
            bad = re.search("[\udc80-\udcff]", text)
            if bad and not wrong:
                first_wrong = line + text.count("\n", 0, bad.start()) + 1
            wrong += len(re.findall("[\udc80-\udcff]", text))
            letters += len(re.findall("[^\x00-\x7f\udc80-\udcff]", text))
            line += text.count("\n")
    if not wrong:
        return "utf-8"
    if letters > wrong:
        raise DataError(
            f"{path}, line {first_wrong}: holds bytes that are not UTF-8, though the file is in it otherwise "
            f"({wrong} such bytes); mend the line, or give `encoding`"
        )
    return "cp1252"


def _copy(path: Path, encoding: str, scratch: Path) -> Path:
    """The file in UTF-8. Raises DataError naming the line that is not in `encoding`."""
    copy = scratch / f"{len(list(scratch.iterdir()))}-{path.name.removesuffix('.gz').removesuffix('.zst')}"
    line = 1
    try:
        with pa.input_stream(str(path)) as stream, open(copy, "w", encoding="utf-8", newline="") as out:
            decoder = codecs.getincrementaldecoder(encoding)()
            while data := stream.read(CHUNK):
                text = decoder.decode(data)
                line += text.count("\n")
                out.write(text)
            out.write(decoder.decode(b"", final=True))
    except (UnicodeError, LookupError) as error:
        raise DataError(
            f"{path}, near line {line}: cannot be read as {encoding!r}; give `encoding` ({error})"
        ) from error
    return copy


def first_bad_json(files: Files) -> str | None:
    """The first line of JSON lines files that is not one JSON value; DuckDB names the line after it."""
    for path in files.origins if files.options.get("format") != "auto" else []:
        with pa.input_stream(str(path)) as stream:
            for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8", errors="replace"), 1):
                try:
                    json.loads(line) if line.strip() else None
                except ValueError as error:
                    return f"{path}, line {number}: is not JSON, {error} ({line.strip()[:120]}); mend the line"
    return None


def clear(error: Exception, files: list[Files]) -> str:
    """DuckDB's error about a file as one line: file, line, what is wrong and the mend."""
    text = str(error)
    for group in files:
        for copy, origin in zip(group.read, group.origins, strict=True):
            text = text.replace(str(copy), str(origin))
    for group in files if "JSON" in text else []:
        if group.kind == "json" and (said := first_bad_json(group)):
            return said
    line = re.search(r"CSV Error on Line: (\d+)\s*\n(?:Original Line: ?(.*)\n)?(.*)", text)
    if line is None:
        return text.strip().split("\n\n")[0].strip()
    number, content, wrong = line.groups()
    place = re.search(r"\n\s*file = (.*)", text)
    mend = "mend the line"
    if "converting column" in wrong:
        mend += ", or give the column a type that fits under `types`"
    shown = f" ({content[:120]})" if content else ""
    return f"{place.group(1).strip() if place else 'a file'}, line {number}: {wrong.strip().rstrip('.')}{shown}; {mend}"
