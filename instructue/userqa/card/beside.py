"""Random triplets beside the history that they were written from, short enough for a person to judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from instructue.errors import LeakageError
from instructue.sources.spec import FactSpec
from instructue.sources.tables import Tables

SHOWN = 50  # triplets
LAST, FEW = 4, 2  # events shown of the triplet's own source, of any other
RECENT = 28  # days, where the fact has none
OFTEN = 3  # values


@dataclass(frozen=True)
class Lens:
    """What to look for in a triplet's events: its value (`named`: the texts that hold it), and what its fact reads."""

    named: pl.Series
    fact: FactSpec | None

    @property
    def window(self) -> int:
        return self.fact.days or RECENT if self.fact else RECENT


def beside(
    triplets: pl.DataFrame, facts: Sequence[FactSpec], tables: Tables, seed: int, shown: int = SHOWN
) -> list[dict[str, Any]]:
    """`shown` triplets drawn under `seed`, each with `history` (one entry per source that has events before the
    snapshot, its own source first), `attributes` and, if it is about the horizon, `after` (what came).

    Raises LeakageError if an event shown as history is not strictly before the snapshot or another user's.
    """
    rng = np.random.default_rng([seed, 50])
    drawn = triplets[rng.permutation(triplets.height)[:shown]]
    ranges = tables.histories.with_columns(pl.col("snapshot", "horizon_end").dt.replace_time_zone(None))
    joined = drawn.select("example").join(ranges, on="example", how="left", maintain_order="left")
    kinds, found = {fact.name: fact for fact in facts}, []
    for row, example in zip(drawn.to_dicts(), joined.to_dicts(), strict=True):
        lens = _lens(row, kinds, tables)
        seen = {"history": _history(row, example, lens, tables), "attributes": _attributes(row["user"], tables)}
        found.append(_said(row) | seen | {"after": _after(row, example, lens, tables)})
    return found


def check_window(found: pl.DataFrame, user: int, start: datetime | None, end: datetime, what: str) -> None:
    """Raise LeakageError unless every event (columns user, time: naive, local) is of `user` and in [start, end)."""
    outside = (pl.col("user") != user) | (pl.col("time") >= end)
    bad = found.filter(outside if start is None else outside | (pl.col("time") < start))
    if bad.height:
        row = bad.row(0, named=True)
        raise LeakageError(
            f"data card, {what}: {bad.height} events lie outside their window; first: user {row['user']} at "
            f"{row['time']}, but shown are events of user {user} from {start or 'the beginning'} until before {end}; "
            f"run `histories` and `userqa` again"
        )


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """The triplet itself; times as local dates."""
    texts = ("triplet", "user", "kind", "source", "about", "instruction", "answer", "opposite", "value")
    until = row["horizon_end"]
    return {name: row[name] for name in (*texts, "instruction_by", "answer_by")} | {
        "snapshot": f"{row['snapshot']:%Y-%m-%d}",
        "days": None if until is None else (until.date() - row["snapshot"].date()).days,
    }


def _lens(row: dict[str, Any], facts: dict[str, FactSpec], tables: Tables) -> Lens:
    columns = sorted({a for s in tables.dataset.event_sources for a in s.attributes} & set(tables.texts.columns))
    asked = columns and row["value"] is not None
    holds = pl.any_horizontal(pl.col(columns) == row["value"]) if asked else pl.lit(False)
    return Lens(tables.texts.filter(holds)["text_id"], facts.get(row["kind"]))


def _history(row: dict[str, Any], example: dict[str, Any], lens: Lens, tables: Tables) -> list[dict[str, Any]]:
    snapshot, entries = example["snapshot"], []
    for source in sorted(tables.dataset.event_sources, key=lambda s: s.name != row["source"]):
        own = source.name == row["source"]
        events = _events(tables, source.name, example[f"{source.name}_start"], example[f"{source.name}_end"])
        check_window(events, row["user"], None, snapshot, f"history of triplet {row['triplet']}, {source.name!r}")
        if events.height:
            days = (pl.lit(snapshot.date()) - pl.col("time").dt.date()).dt.total_days()
            dated = events.with_columns(days=days)
            # A fact about the whole history is judged by all of it.
            whole = own and lens.fact is not None and lens.fact.days is None
            recent = dated if whole else dated.filter(pl.col("days") <= lens.window)
            last = _texts(dated.tail(LAST if own else FEW).reverse(), tables)
            known = {
                "source": source.name,
                "recent": None if whole else recent.height,
                "window": lens.window,
                "last": last,
            }
            entries.append(_entry(dated, source.name, lens, tables, own) | known | _reads(recent, lens, own, tables))
    return entries


def _after(row: dict[str, Any], example: dict[str, Any], lens: Lens, tables: Tables) -> dict[str, Any] | None:
    """What the source held in the fact's horizon, events with the value first; None if there is no such horizon."""
    if row["horizon_end"] is None or row["source"] not in {s.name for s in tables.dataset.event_sources}:
        return None
    name, snapshot, until = row["source"], example["snapshot"], row["horizon_end"].replace(tzinfo=None)
    events = _events(tables, name, example[f"{name}_end"], example[f"{name}_horizon"])
    events = events.filter(pl.col("time") < until)
    check_window(events, row["user"], snapshot, until, f"horizon of triplet {row['triplet']}, {name!r}")
    dated = events.with_columns(days=(pl.col("time").dt.date() - pl.lit(snapshot.date())).dt.total_days() + 1)
    told = _of(dated, lens) if len(lens.named) else dated
    first = {"first": _texts(told.head(LAST), tables)}
    return _entry(dated, name, lens, tables, True) | first | _reads(dated, lens, True, tables)


def _entry(dated: pl.DataFrame, source: str, lens: Lens, tables: Tables, own: bool) -> dict[str, Any]:
    """How many events, how many with the value and the nearest of them, which values of the attribute most often."""
    can = tables.texts.filter(pl.col("text_id").is_in(lens.named.implode()) & (pl.col("source") == source)).height
    of_value = _of(dated, lens)
    often, attribute = [], lens.fact.attribute if own and lens.fact else None
    if attribute in tables.texts.columns:
        values = tables.texts[attribute].gather(dated["text_id"]).alias("value").drop_nulls()
        counted = values.value_counts(name="n").sort(["n", "value"], descending=[True, False])
        often = [list(pair) for pair in counted.head(OFTEN).iter_rows()]
    return {
        "title": tables.dataset.source(source).title,
        "events": dated.height,
        "of_value": of_value.height if can else None,
        "nearest": of_value["days"].min(),
        "often": often,
    }


def _reads(dated: pl.DataFrame, lens: Lens, own: bool, tables: Tables) -> dict[str, Any]:
    """What the fact reads in these events: the sum of its measure, and how many meet its condition."""
    fact = lens.fact if own else None
    measure = fact.measure if fact and fact.measure in dated.columns else None
    where = fact.where if fact else None
    return {
        "measure": measure,
        "sum": round(float(dated[measure].sum()), 2) if measure else None,
        "where": where,
        "meeting": _meeting(dated, where, tables) if where else None,
    }


def _meeting(dated: pl.DataFrame, where: str, tables: Tables) -> int:
    test = pl.sql_expr(where)
    more = [c for c in test.meta.root_names() if c in tables.texts.columns and c not in dated.columns]
    return dated.with_columns(tables.texts[c].gather(dated["text_id"]) for c in more).filter(test).height


def _attributes(user: int, tables: Tables) -> list[str]:
    return [
        text
        for source in tables.dataset.attribute_sources
        for text in _texts_of(tables.events[source.name].filter(pl.col("user") == user), tables)
    ]


def _events(tables: Tables, source: str, start: int, end: int) -> pl.DataFrame:
    rows = tables.events[source].slice(start, end - start)
    return rows.with_columns(pl.col("time").dt.replace_time_zone(None))


def _of(events: pl.DataFrame, lens: Lens) -> pl.DataFrame:
    return events.filter(pl.col("text_id").is_in(lens.named.implode()))


def _texts(dated: pl.DataFrame, tables: Tables) -> list[dict[str, Any]]:
    texts = _texts_of(dated, tables)
    return [{"days": day, "text": text} for day, text in zip(dated["days"].to_list(), texts, strict=True)]


def _texts_of(rows: pl.DataFrame, tables: Tables) -> list[str]:
    return tables.texts["text"].gather(rows["text_id"]).to_list()
