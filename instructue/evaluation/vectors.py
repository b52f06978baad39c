"""The embeddings under judgement: ours and others', read, checked, and looked up for a task's rows."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from instructue.errors import DataError, LeakageError
from instructue.evaluation.population import Population
from instructue.evaluation.results import GENERAL
from instructue.evaluation.tasks import TaskSpec
from instructue.paths import Paths

KEY = ("user", "task", "context", "method")
COLUMNS = (*KEY, "vector")


@dataclass(frozen=True)
class Embeddings:
    """User, task, context, method, vector, and perhaps hides; checked against the population by `of`.

    The empty task serves all tasks, unless they hide a source that `hides` (list of names, none where the column
    is missing) does not name. A method's widths may differ from another's: a table each, see `merged`.
    """

    table: pl.DataFrame
    others: tuple["Embeddings", ...] = ()

    @classmethod
    def read(cls, paths: Paths, population: Population) -> "Embeddings":
        """Raises DataError if the embeddings stage has not run or its table is unsound, LeakageError as `of`."""
        path = paths.embeddings / "embeddings.parquet"
        if not path.is_file():
            raise DataError(f"{path} is not there; run the embeddings stage first: python -m instructue embeddings")
        return cls.of(pl.read_parquet(path), population, str(path))

    @classmethod
    def of(cls, table: pl.DataFrame, population: Population, name: str = "embeddings") -> "Embeddings":
        """Raises DataError for missing columns, repeated keys or vectors that are not finite.

        Raises LeakageError for users that are not judged, and, where the table says what snapshot its histories
        ended at, for any other than the evaluation's.
        """
        if missing := [c for c in COLUMNS if c not in table.columns]:
            raise DataError(f"{name} lacks columns {missing}; it has {table.columns}")
        population.positions(table["user"])
        if "snapshot" in table.columns:
            late = table.filter(pl.col("snapshot").is_null() | (pl.col("snapshot") != population.snapshot))
            if late.height:
                row = late.row(0, named=True)
                raise LeakageError(
                    f"{name}: {late.height} vectors were made at another snapshot than {population.snapshot}; "
                    f"first: user {row['user']}, {row['method']}, at {row['snapshot']}"
                )
        told = [pl.col("hides").list.join(",")] if "hides" in table.columns else []
        if repeated := table.select(*KEY, *told).is_duplicated().sum():
            raise DataError(f"{name}: {repeated} rows share user, task, context and method; keep one of each")
        vectors = table["vector"].to_numpy()
        if vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise DataError(f"{name}: vectors must have one width and finite numbers")
        return cls(table)

    @property
    def methods(self) -> list[str]:
        """Names of all methods that have a vector here, sorted."""
        return sorted({name for part in (self, *self.others) for name in part.table["method"].unique()})

    def merged(self, others: Collection["Embeddings"]) -> "Embeddings":
        """These and others. Raises DataError if a method stands in two of them: whose vectors would be judged?"""
        parts = (*self.others, *(part for other in others for part in (other, *other.others)))
        held = [name for part in (self, *parts) for name in part.table["method"].unique()]
        if repeated := sorted({name for name in held if held.count(name) > 1}):
            raise DataError(f"two tables of embeddings hold {repeated}; give one another file name or column `method`")
        return Embeddings(self.table, parts)

    def rows(self, method: str, task: TaskSpec, labelled: pl.DataFrame) -> np.ndarray | None:
        """One vector per labelled row (user, context), float32 [rows, width]; None unless all are there.

        Vectors under the task's own name come first, then those under the empty task that have seen nothing of
        what the task hides. A method without contexts, and always the general one, has one vector for all of a
        user's rows.
        """
        mine = next((t for t in self._tables() if method in t["method"]), self.table.clear())
        mine = mine.filter(pl.col("method") == method)
        own = mine.filter(pl.col("task") == task.name)
        if own.is_empty():
            own = _covering(mine.filter(pl.col("task") == ""), task.hides)
        if own.is_empty():
            return None
        on = ["user"] if method == GENERAL or (own["context"] == "").all() else ["user", "context"]
        own = own.unique(on, keep="first", maintain_order=True)
        wanted = labelled.select("user", "context")
        found = wanted.join(own.select(*on, "vector"), on=on, how="left", maintain_order="left")
        return None if found["vector"].null_count() else found["vector"].to_numpy().astype(np.float32)

    def _tables(self) -> list[pl.DataFrame]:
        return [self.table, *(other.table for other in self.others)]


def _covering(table: pl.DataFrame, hides: list[str]) -> pl.DataFrame:
    """Rows whose vectors were made without all of `hides`; among several of a user, the one that saw most."""
    if "hides" not in table.columns:
        return table if not hides else table.clear()
    apt = table.filter(pl.all_horizontal(pl.lit(True), *(pl.col("hides").list.contains(source) for source in hides)))
    return apt.sort(pl.col("hides").list.len(), maintain_order=True)


def external(path: Path, population: Population, reserved: Collection[str] = ()) -> Embeddings:
    """Embeddings that others made, from a Parquet file: user and vector (lists of one length, or a fixed array).

    Optional columns: task (none: one vector serves all tasks), context (as in the task's labels), method (none: the
    file's name without its ending), snapshot (the moment the histories ended at), hides (sources that the vector has
    not seen, a list or names with commas between; without it a task that hides sources takes only vectors that name
    the task). Raises DataError for a file that breaks this or a method called as one in `reserved`, LeakageError
    for users that are not judged and for another snapshot.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there; evaluation.external names it: write the file or take its name away")
    try:
        table = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is no Parquet file that can be read: {error}") from None
    if missing := [c for c in ("user", "vector") if c not in table.columns]:
        raise DataError(f"{path} lacks columns {missing}; it has {table.columns}, and needs user and vector at least")
    if table.is_empty():
        raise DataError(f"{path} has no rows; it needs one per user")
    columns = [_users(table["user"], path, population), _vectors(table["vector"], path)]
    for name, default in (("task", ""), ("context", ""), ("method", path.stem)):
        columns.append(_words(table, name, default, path))
    columns += [_hides(table["hides"], path, population)] if "hides" in table.columns else []
    columns += [_moments(table["snapshot"], path, population)] if "snapshot" in table.columns else []
    tidy = pl.DataFrame(columns)
    if taken := sorted(set(tidy["method"].unique()) & set(reserved)):
        raise DataError(f"{path}: {taken} are methods of ours; give the file or its column `method` another name")
    try:
        return Embeddings.of(tidy, population, str(path))
    except LeakageError as error:
        raise LeakageError(f"{path}: {error}; embed the users of the evaluation snapshot, from before it") from None


def _refuse(path: Path, column: str, bad: pl.Series, values: pl.Series, mend: str) -> None:
    """Raise DataError naming file, first row and value where `bad` is true anywhere."""
    if bad.any():
        row = int(bad.arg_true()[0])
        value = values.slice(row, 1).to_list()[0]
        raise DataError(f"{path}, row {row + 1}, column {column!r}: {value!r} {mend}; {int(bad.sum())} such rows")


def _users(users: pl.Series, path: Path, population: Population) -> pl.Series:
    cast = users.cast(population.users.dtype, strict=False)
    _refuse(path, "user", cast.is_null(), users, f"names no user; users are of type {population.users.dtype}")
    return cast.alias("user")


def _vectors(vectors: pl.Series, path: Path) -> pl.Series:
    """Fixed arrays float32 from lists or arrays of any number type."""
    if not isinstance(vectors.dtype, pl.List | pl.Array) or not vectors.dtype.inner.is_numeric():
        raise DataError(f"{path}, column 'vector': it must hold lists of numbers, not {vectors.dtype}")
    lists = vectors.cast(pl.List(pl.Float32)) if isinstance(vectors.dtype, pl.Array) else vectors
    width = lists.list.len()
    expected = next((n for n in width if n), 0)
    _refuse(path, "vector", width.is_null() | (width == 0), width, "numbers: a vector must be there")
    _refuse(
        path, "vector", width != expected, width, f"numbers: all vectors must have as many as the first, {expected}"
    )
    flat = lists.explode().cast(pl.Float64)
    sound = flat.is_finite().fill_null(False).to_numpy().reshape(-1, expected)
    _refuse(path, "vector", pl.Series(np.logical_not(sound.all(axis=1)).tolist()), lists, "must be finite numbers")
    return lists.cast(pl.List(pl.Float32)).list.to_array(expected).alias("vector")


def _words(table: pl.DataFrame, name: str, default: str, path: Path) -> pl.Series:
    if name not in table.columns:
        return pl.Series(name, [default] * table.height, dtype=pl.String)
    words = table[name].cast(pl.String).fill_null(default)
    if name == "method":
        _refuse(path, name, words.str.strip_chars() == "", words, "is no name; leave the column away or fill it")
    return words.alias(name)


def _hides(hides: pl.Series, path: Path, population: Population) -> pl.Series:
    """Lists of source names, sorted, from lists or from text with commas."""
    if hides.dtype == pl.String:
        split = hides.fill_null("").str.split(",").list.eval(pl.element().str.strip_chars()).list.sort()
        lists = split.list.eval(pl.element().filter(pl.element() != ""))
    elif isinstance(hides.dtype, pl.List) and hides.dtype.inner in (pl.String, pl.Null):
        lists = hides.cast(pl.List(pl.String)).fill_null([]).list.sort()
    else:
        raise DataError(f"{path}, column 'hides': it must hold lists of source names or text, not {hides.dtype}")
    known = [s.name for s in population.tables.dataset.sources]
    strange = lists.list.eval(pl.element().filter(~pl.element().is_in(known)))
    _refuse(path, "hides", strange.list.len() > 0, lists, f"holds a name that is no source; sources are {known}")
    return lists.alias("hides")


def _moments(moments: pl.Series, path: Path, population: Population) -> pl.Series:
    """Snapshots on the data set's clock; moments without a zone are taken as local."""
    zone = population.tables.dataset.timezone
    if moments.dtype == pl.String:
        # Without a format Polars raises where it finds none, in place of a null.
        whole = (moments.str.replace("T", " ") + " 00:00:00").str.slice(0, 19)
        cast = whole.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    else:
        cast = moments.cast(pl.Datetime("us", getattr(moments.dtype, "time_zone", None)), strict=False)
    _refuse(path, "snapshot", cast.is_null(), moments, "is no moment; write it as 2017-10-01 or as a timestamp")
    told = getattr(cast.dtype, "time_zone", None)
    return (cast.dt.convert_time_zone(zone) if told else cast.dt.replace_time_zone(zone)).alias("snapshot")
