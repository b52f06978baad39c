"""Histories as a caller gives them, brought into the form of published tables: ids of known users, or their events.

Whatever its form, a history is cut strictly before its moment and proved to be.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from instructue.api.wording import Texts, described, refuse
from instructue.errors import ConfigError, DataError, LeakageError
from instructue.paths import Paths
from instructue.sources.histories import as_of_ranges, check_no_leak
from instructue.sources.spec import DatasetSpec, SourceSpec
from instructue.sources.tables import Tables
from instructue.sources.values import values_of

Late = Literal["refuse", "cut"]
# ISO texts without a zone; those with one are read by "%+".
NAIVE = [f"%Y-%m-%d{between}%H:%M{rest}" for between in ("T", " ") for rest in (":%S%.f", "")] + ["%Y-%m-%d"]
Encode = Callable[[list[str]], np.ndarray]


def empty_events(dataset: DatasetSpec, source: SourceSpec) -> pl.DataFrame:
    """A published table without rows."""
    if source.kind == "attributes":
        return pl.DataFrame(schema={"user": pl.Int64, "attribute": pl.String, "text_id": pl.UInt32})
    numbers = dict.fromkeys(source.columns, pl.Float64())
    moment = pl.Datetime("us", dataset.timezone)
    return pl.DataFrame(schema={"user": pl.Int64(), "time": moment, **numbers, "text_id": pl.UInt32()})


def published(base: Tables, project: Paths | None, users: Sequence[Any], at: Any) -> Tables:
    """Users of the project's published data by id, one history each, in the order given; `at` None takes the
    evaluation snapshot. Only the rows of these users are read.

    Raises DataError for users who are unknown or have no earlier event, ConfigError without a project.
    """
    if project is None:
        raise ConfigError("users by id need the published data: give project=FOLDER to from_pretrained, or the events")
    wanted = pl.Series("user", [_id(user) for user in users], dtype=pl.Int64)
    tables = {source.name: project.table(source.name) for source in base.dataset.sources}
    if absent := [str(path) for path in tables.values() if not path.is_file()]:
        raise DataError(f"{absent[0]} is not there; run the validation stage first: python -m instructue validation")
    mine = pl.col("user").is_in(wanted.unique().implode())
    events = {name: pl.scan_parquet(path).filter(mine).collect() for name, path in tables.items()}
    seen = pl.concat([frame["user"] for frame in events.values()])
    if strangers := wanted.filter(~wanted.is_in(seen.implode())).to_list():
        raise DataError(f"{len(strangers)} users are not in the published data, the first: {strangers[:5]}")
    if at is None:
        path = project.histories / "histories.parquet"
        if not path.is_file():
            raise ConfigError(f"{path} is not there, so no moment is known; give at=MOMENT")
        at = pl.scan_parquet(path).filter(pl.col("split") == "evaluation").select("snapshot").first().collect().item()
    moments = moments_of(at, len(wanted), base.dataset.timezone)
    return _histories(replace(base, events=events), wanted, moments, users)


def _id(user: Any) -> int:
    if isinstance(user, bool) or not isinstance(user, int | np.integer):
        raise DataError(f"user {user!r} is no id of the published data, whose users are integers")
    return int(user)


def events_given(
    base: Tables,
    histories: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    users: Sequence[Any] | None,
    at: Any,
    late: Late,
    encode: Encode,
) -> Tables:
    """Histories from events: one mapping source -> table with a column user (a row of the result per user, ascending
    or in the order of `users`), or one mapping per history. See docs/model.md for the columns.

    Raises DataError naming source, row and column of what is wrong; LeakageError for events at or after the moment
    if `late` is "refuse".
    """
    if at is None:
        raise ConfigError("histories given as events need at=MOMENT: their time ends there, and ages count from it")
    if late not in ("refuse", "cut"):
        raise ConfigError(f"late={late!r}: it is 'refuse' or 'cut'")
    frames, labels = _one_table(base.dataset, histories, users)
    moments = moments_of(at, len(labels), base.dataset.timezone)
    if late == "refuse":
        _refuse_late(base.dataset, frames, labels, moments)
    texts = Texts(base.texts)
    events = {}
    for source in base.dataset.sources:
        frame = frames.get(source.name)
        empty = empty_events(base.dataset, source)
        given = empty if frame is None else described(base.dataset, source, frame, texts)
        events[source.name] = given.select(empty.columns).cast(empty.schema).sort(empty.columns[:2])
    vectors = _grown(base.vectors, texts.table["text"].to_list(), encode)
    values = values_of(base.dataset, texts.table, base.values)
    value_vectors = _grown(base.value_vectors, values.said, encode)
    grown = replace(base, events=events, texts=texts.table, vectors=vectors, values=values, value_vectors=value_vectors)
    return _histories(grown, pl.Series("user", range(len(labels)), dtype=pl.Int64), moments, labels)


def _grown(vectors: np.ndarray, texts: list[str], encode: Encode) -> np.ndarray:
    """`vectors` of the first texts, and behind them those of the rest."""
    new = texts[len(vectors) :]
    return np.concatenate([vectors, encode(new)]) if new else vectors


def _one_table(
    dataset: DatasetSpec, histories: Mapping[str, Any] | Sequence[Mapping[str, Any]], users: Sequence[Any] | None
) -> tuple[dict[str, pl.DataFrame], list[Any]]:
    """One table per source, users numbered from 0 and rows as given, and the users' labels."""
    if isinstance(histories, Mapping):
        frames = {name: _timed(dataset, name, as_frame(name, table)) for name, table in histories.items()}
        return _numbered(frames, users)
    if users is not None:
        raise ConfigError("users= names the rows of one mapping; a list of histories has its own order")
    parts: dict[str, list[pl.DataFrame]] = {}
    for number, history in enumerate(histories):
        for name, table in history.items():
            frame = _timed(dataset, name, as_frame(name, table)).drop("user", strict=False)
            parts.setdefault(name, []).append(frame.with_columns(pl.lit(number, dtype=pl.Int64).alias("user")))
    joined = {name: pl.concat(frames, how="diagonal_relaxed") for name, frames in parts.items()}
    return joined, list(range(len(histories)))


def _numbered(frames: dict[str, pl.DataFrame], users: Sequence[Any] | None) -> tuple[dict[str, pl.DataFrame], list]:
    for name, frame in frames.items():
        if "user" not in frame.columns:
            raise DataError(f"source {name!r} has no column 'user'; a list of histories, one per user, needs none")
        refuse(name, frame, frame["user"].is_null(), "user", "is empty")
    found = [frame.select("user").unique() for frame in frames.values()]
    try:
        every = pl.concat(found, how="vertical_relaxed")["user"].unique().sort() if found else pl.Series("user", [])
    except pl.exceptions.PolarsError:
        kinds = {name: str(frame.schema["user"]) for name, frame in frames.items()}
        raise DataError(f"user is of another kind in one source than in another: {kinds}") from None
    # A user's number is the position of the row of the result.
    labels = every.to_list() if users is None else list(users)
    places = pl.DataFrame({"label": labels, "number": range(len(labels))}, schema_overrides={"number": pl.Int64})
    if places["label"].n_unique() < len(labels):
        raise ConfigError("users= names a user twice; each has one history here")
    places = places.with_columns(pl.col("label").cast(every.dtype, strict=False))
    numbered = {
        name: frame.with_columns(pl.col("user").cast(every.dtype))
        .join(places, left_on="user", right_on="label", how="inner", maintain_order="left")
        .drop("user")
        .rename({"number": "user"})
        for name, frame in frames.items()
    }
    return numbered, labels


def as_frame(name: str, table: Any) -> pl.DataFrame:
    """A Polars or pandas table, a list of rows or a mapping of columns as Polars."""
    if isinstance(table, pl.DataFrame):
        return table
    try:
        return pl.from_pandas(table) if hasattr(table, "iloc") else pl.DataFrame(table)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"source {name!r} is no table: {error}") from None


def _timed(dataset: DatasetSpec, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """The table with `row`, and `time` on the data set's clock; a time without a zone is read as on that clock."""
    known = {source.name: source for source in dataset.sources}
    if name not in known:
        raise DataError(f"unknown source {name!r}; the model knows {sorted(known)}")
    frame = frame.drop("row", strict=False).with_row_index("row")
    if known[name].kind == "attributes":
        return frame
    if "time" not in frame.columns:
        raise DataError(f"source {name!r} has no column 'time'; it has {frame.columns[1:]}")
    timed = frame.with_columns(_on_clock(name, frame.schema["time"], dataset.timezone))
    refuse(name, frame, timed["time"].is_null(), "time", f"is no moment on the clock of {dataset.timezone}")
    return timed


def _on_clock(name: str, kind: pl.DataType, timezone: str) -> pl.Expr:
    """Column `time` of this type as moments on the clock of `timezone`, null where it is none."""

    def local(naive: pl.Expr) -> pl.Expr:
        return naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")

    stamp = pl.col("time")
    if kind == pl.String:
        zoned = stamp.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
        naive = [stamp.str.to_datetime(form, time_unit="us", strict=False) for form in NAIVE]
        return pl.coalesce(zoned.dt.convert_time_zone(timezone), local(pl.coalesce(naive)))
    if isinstance(kind, pl.Datetime) and kind.time_zone:
        return stamp.dt.cast_time_unit("us").dt.convert_time_zone(timezone)
    if isinstance(kind, pl.Datetime | pl.Date):
        return local(stamp.cast(pl.Datetime("us")))
    raise DataError(f"source {name!r}: time is {kind}, not a date, a moment or an ISO text")


def moments_of(at: Any, count: int, timezone: str) -> pl.Series:
    """One moment for all or one per history, on the data set's clock."""
    every = [at] * count if isinstance(at, str | date) else list(at) if isinstance(at, Sequence | pl.Series) else [at]
    if len(every) != count:
        raise ConfigError(f"at= names {len(every)} moments for {count} histories; give one, or one per history")
    zone = ZoneInfo(timezone)
    return pl.Series("snapshot", [_moment(value, zone) for value in every], dtype=pl.Datetime("us", timezone))


def _moment(value: Any, zone: ZoneInfo) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as error:
            raise ConfigError(f"at={value!r} is no moment: {error}") from None
    if not isinstance(value, date):
        raise ConfigError(f"at={value!r} is no moment; give an ISO text, a date or a datetime")
    if not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value.astimezone(zone) if value.tzinfo else value.replace(tzinfo=zone)


def _refuse_late(dataset: DatasetSpec, frames: dict[str, pl.DataFrame], labels: list[Any], moments: pl.Series) -> None:
    for source in dataset.event_sources:
        frame = frames.get(source.name)
        if frame is None:
            continue
        ends = moments.gather(frame["user"])
        if len(places := (frame["time"] >= ends).arg_true()):
            place = int(places[0])
            row = frame.row(place, named=True)
            raise LeakageError(
                f"source {source.name!r}, row {row['row']}: user {labels[row['user']]!r} has an event at {row['time']}"
                f", at or after the history's moment {ends[place]}; leave it out, or pass late='cut'"
            )


def _histories(tables: Tables, users: pl.Series, moments: pl.Series, labels: Sequence[Any]) -> Tables:
    """The tables with one history per row of `users`, checked for leaks."""
    grid = pl.DataFrame([users, moments, moments.alias("horizon_end")]).with_columns(split=pl.lit("asked"))
    sources = tables.dataset.event_sources
    ranges = [as_of_ranges(grid, tables.events[s.name], s.name) for s in sources]
    histories = pl.concat([grid, *ranges], how="horizontal").with_row_index("example")
    check_no_leak(tables.dataset, tables.events, histories)
    held = histories.select(pl.sum_horizontal(pl.col(f"{s.name}_end") - pl.col(f"{s.name}_start") for s in sources))
    empty = np.flatnonzero(held.to_series().to_numpy() == 0).tolist()
    if empty:
        who = [labels[place] for place in empty[:5]]
        raise DataError(f"{len(empty)} histories are empty: no event before the moment, the first of users {who}")
    return replace(tables, histories=histories)
