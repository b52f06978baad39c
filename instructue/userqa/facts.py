"""What was true of each training example: one row per fact that could be asked about, computed in columns.

A fact is a row of data (FactSpec); its `shape` names the computation below. Every shape returns candidates:
example, value (what the instruction asks about), answer (the words of an open answer), other (the words that
would be true otherwise), polarity (yes or no) and known (whether the history holds the value).
"""

import zlib
from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from instructue.errors import ConfigError
from instructue.progress import track
from instructue.sources.spec import FactSpec
from instructue.sources.tables import Tables
from instructue.userqa.allowed import KeptBack, check_fact
from instructue.userqa.windows import eligible, events_around, within
from instructue.userqa.wording import in_words

DRAWS = 8  # values of others proposed to each example as negatives


class Facts:
    """Candidates of every kind over all training examples, source by source so that one is in memory at a time.

    `kept_back`: (source, attribute) that tasks predict, never asked about; see instructue.userqa.allowed.
    """

    def __init__(self, tables: Tables, examples: pl.DataFrame, seed: int, kept_back: KeptBack = frozenset()) -> None:
        self.tables, self.examples, self.seed, self.kept_back = tables, examples, seed, kept_back
        self._around: tuple[str, pl.DataFrame] = ("", pl.DataFrame())

    def each(self) -> Iterator[tuple[FactSpec, pl.DataFrame]]:
        """(fact, candidates) for every fact of the data set, sources in order."""
        sources = {s.name: place for place, s in enumerate(self.tables.dataset.sources)}
        for fact in track(sorted(self.tables.dataset.facts, key=lambda f: sources[f.source]), "computing facts"):
            yield fact, self.candidates(fact)

    def candidates(self, fact: FactSpec) -> pl.DataFrame:
        """All candidates of one kind, in an order that depends on nothing but the data."""
        check_fact(fact, self.tables.dataset, self.kept_back)
        examples = eligible(fact, self.examples)
        found = SHAPES[fact.shape](self, fact, examples["example"])
        kept = found.filter(pl.col("example").is_in(examples["example"].implode()))
        empty = {
            "value": pl.String,
            "answer": pl.String,
            "other": pl.String,
            "polarity": pl.Boolean,
            "known": pl.Boolean,
        }
        columns = [pl.col(c).cast(t) if c in kept.columns else pl.lit(None, dtype=t).alias(c) for c, t in empty.items()]
        return kept.select("example", *columns).sort("example", "value", "answer", nulls_last=True)

    def rng(self, fact: FactSpec) -> np.random.Generator:
        """Randomness of one kind: adding a kind changes no other."""
        return np.random.default_rng([self.seed, zlib.crc32(fact.name.encode())])

    def rows(
        self, fact: FactSpec, source: str | None = None, attribute: str | None = None, where: bool = True
    ) -> pl.DataFrame:
        """Events around all examples, with `value` (an enum, nothing of fact.skip), `n` (the measure) and
        `within` (whether in the fact's window), filtered by fact.where unless told not to."""
        source, attribute = source or fact.source, attribute or fact.attribute
        if self._around[0] != source:
            self._around = (source, events_around(self.tables, self.examples, source))
        rows = self._around[1]
        if where and fact.where:
            rows = rows.filter(self.condition(fact, rows))
        if attribute:
            rows = rows.with_columns(value=self.values(attribute).gather(rows["text_id"]))
            rows = (
                rows.filter(pl.col("value").is_not_null() & ~pl.col("value").cast(pl.String).is_in(fact.skip))
                if fact.skip
                else rows
            )
        measure = pl.lit(1.0) if fact.measure == "count" else pl.col(fact.measure)
        return rows.with_columns(within=within(fact), n=measure)

    def values(self, attribute: str) -> pl.Series:
        """The attribute of every text as an enum, by text_id."""
        column = self.tables.texts[attribute]
        return column.cast(pl.Enum(column.drop_nulls().unique().sort()))

    def condition(self, fact: FactSpec, rows: pl.DataFrame) -> pl.Series:
        """fact.where for each row; a condition on attributes alone is judged once per text."""
        test = pl.sql_expr(fact.where or "true")
        names = test.meta.root_names()
        texts = self.tables.texts
        try:
            if set(names) <= set(texts.columns):
                return texts.select(test.alias("keep"))["keep"].fill_null(False).gather(rows["text_id"])
            more = [texts[name].gather(rows["text_id"]) for name in names if name in texts.columns]
            return rows.with_columns(*more).select(test.alias("keep"))["keep"].fill_null(False)
        except pl.exceptions.PolarsError as error:
            raise ConfigError(f"fact {fact.name!r}: where {fact.where!r} cannot be judged: {error}") from None


def _per_value(rows: pl.DataFrame) -> pl.DataFrame:
    """example, value, hits (events in the window), before (events of the history outside it), past (of the history)."""
    seen = (
        rows.filter(pl.col("past") | pl.col("within"))
        .group_by("example", "value")
        .agg(hits=pl.col("within").sum(), before=(pl.col("past") & ~pl.col("within")).sum(), past=pl.col("past").sum())
    )
    return seen.sort("example", "value")


def _drawn(facts: Facts, fact: FactSpec, examples: pl.Series, seen: pl.DataFrame, yes: pl.DataFrame) -> pl.DataFrame:
    """Negatives from what others have: values drawn by the root of how often they are a yes, none seen by the user."""
    weights = yes.group_by("value").len().sort("value").with_columns(p=pl.col("len").sqrt())
    if not weights.height:
        return pl.DataFrame(schema={"example": pl.UInt32, "value": seen.schema["value"]})
    picks = facts.rng(fact).choice(
        weights.height, size=len(examples) * DRAWS, p=(weights["p"] / weights["p"].sum()).to_numpy()
    )
    owners = examples.gather(np.repeat(np.arange(len(examples)), DRAWS))
    drawn = pl.DataFrame({"example": owners, "value": weights["value"].gather(picks)}).unique()
    return drawn.join(seen, on=["example", "value"], how="anti").sort("example", "value")


def occurs(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """Value in the window at least so often? No: values of the user's history that are not, and values of others."""
    seen = _per_value(facts.rows(fact)).filter(pl.col("example").is_in(examples.implode()))
    judged = seen.with_columns(polarity=pl.col("hits") >= fact.at_least, known=pl.col("past") > 0)
    own = judged.filter(pl.col("polarity") | pl.col("known")).select("example", "value", "polarity", "known")
    drawn = _drawn(facts, fact, examples, seen, own.filter("polarity"))
    return pl.concat([own, drawn.with_columns(polarity=pl.lit(False), known=pl.lit(False))])


def new(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """A value that the history lacks: in the horizon? No: such values that others take up."""
    seen = _per_value(facts.rows(fact)).filter(pl.col("example").is_in(examples.implode()))
    yes = seen.filter((pl.col("past") == 0) & (pl.col("hits") >= fact.at_least)).select("example", "value")
    parts = [
        yes.with_columns(polarity=pl.lit(True)),
        _drawn(facts, fact, examples, seen, yes).with_columns(polarity=pl.lit(False)),
    ]
    return pl.concat(parts).with_columns(known=pl.lit(False))


def absent(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """A value that the history held at least so often before its last days: gone in them?"""
    seen = _per_value(facts.rows(fact)).filter(pl.col("before") >= fact.at_least)
    return seen.select("example", "value", polarity=pl.col("hits") == 0, known=pl.lit(True))


def any_event(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """Any event in the window at all?"""
    hits = facts.rows(fact).filter("within").group_by("example").len()
    everyone = examples.to_frame().join(hits, on="example", how="left")
    return everyone.select("example", polarity=pl.col("len").fill_null(0) >= fact.at_least)


def follows(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """An event of the source in the horizon: does one of `then` with the same `match` follow within it?"""
    match = facts.values(str(fact.match))
    answers = facts.rows(fact, source=fact.then, attribute=fact.match, where=False).filter("within")
    answers = answers.group_by("example", match="value").agg(answered=pl.col("day").max())
    asked = facts.rows(fact).filter("within")
    asked = asked.with_columns(match=match.gather(asked["text_id"])).join(answers, on=["example", "match"], how="left")
    answered = (pl.col("answered") >= pl.col("day")).fill_null(False).any()
    return asked.group_by("example", "value").agg(polarity=answered).with_columns(known=pl.lit(False))


def change(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """The measure in the horizon against as long a time before."""
    before = pl.col("past") & (pl.col("day") >= -(fact.days or 0))
    rows = facts.rows(fact)
    sums = rows.group_by("example").agg(
        # Rounded, as the order of a parallel sum may move its last digits.
        after=pl.col("n").filter(pl.col("within")).sum().round(4),
        before=pl.col("n").filter(before).sum().round(4),
    )
    ratio = sums.filter(pl.col("before") > 0).sort("example").select("example", x=pl.col("after") / pl.col("before"))
    return _bucketed(facts, fact, ratio)


def share(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """The part of the window's measure that fact.where holds for."""
    rows = facts.rows(fact, where=False)
    rows = rows.with_columns(hit=facts.condition(fact, rows)).filter("within")
    part = rows.group_by("example").agg(
        size=pl.len(), hit=pl.col("n").filter("hit").sum().round(4), total=pl.col("n").sum().round(4)
    )
    enough = part.filter((pl.col("size") >= fact.at_least) & (pl.col("total") > 0)).sort("example")
    return _bucketed(facts, fact, enough.select("example", x=pl.col("hit") / pl.col("total")))


def count(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """The measure's sum over the window, or its mean per event."""
    figure = (pl.col("n").mean() if fact.mean else pl.col("n").sum()).round(4)
    found = facts.rows(fact).filter("within").group_by("example").agg(x=figure, size=pl.len())
    if fact.mean:
        return _bucketed(facts, fact, found.filter(pl.col("size") >= fact.at_least).sort("example"))
    return _bucketed(
        facts,
        fact,
        examples.to_frame()
        .join(found, on="example", how="left")
        .with_columns(pl.col("x").fill_null(0))
        .sort("example"),
    )


def _bucketed(facts: Facts, fact: FactSpec, figures: pl.DataFrame) -> pl.DataFrame:
    """The words of each figure's bucket, and those of the mirrored bucket as what would be true otherwise."""
    bucket = np.searchsorted(np.asarray(fact.bounds), figures["x"].to_numpy(), side="right")
    last = len(fact.bounds)
    mirrored = last - bucket
    middle = np.where(facts.rng(fact).random(len(bucket)) < 0.5, 0, last)
    words = pl.Series(fact.words)
    other = words.gather(np.where(mirrored == bucket, middle, mirrored))
    return figures.select("example").with_columns(answer=words.gather(bucket), other=other)


def when(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """The attribute's most frequent value in the window; otherwise: the runner-up, or a value of others."""
    counted = (
        facts.rows(fact).filter("within").group_by("example", "value").agg(n=pl.col("n").sum().round(4), size=pl.len())
    )
    ordered = counted.sort(["example", "n", "value"], descending=[False, True, False])
    best = (
        ordered.group_by("example", maintain_order=True)
        .agg(answer=pl.col("value").first(), runner=pl.col("value").get(1, null_on_oob=True), size=pl.col("size").sum())
        .filter(pl.col("size") >= fact.at_least)
    )
    values = best["answer"].unique().sort()
    if len(values) < 2:
        return best.clear().select("example", "answer")
    place = best["answer"].to_physical().to_numpy()
    position = np.searchsorted(values.to_physical().to_numpy(), place)
    step = facts.rng(fact).integers(1, len(values), len(position))
    others = values.gather((position + step) % len(values))
    return best.select("example", pl.col("answer").cast(pl.String), other=pl.coalesce("runner", others).cast(pl.String))


def top(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """The window's top values, as a list in words; otherwise: the list of another user."""
    rows = facts.rows(fact)
    scored = rows.filter("within").group_by("example", "value").agg(score=pl.col("n").sum().round(4), size=pl.len())
    if fact.rank == "telling":
        # Rarity is fitted on training examples only: on their windows, which is all that rows hold.
        users = scored.group_by("value").agg(users=pl.len())
        rarity = (scored["example"].n_unique() / pl.col("users")).log()
        scored = scored.join(users, on="value").with_columns(score=(pl.col("score") * rarity).round(6))
    if fact.fresh:
        past = rows.filter("past").select("example", "value").unique()
        scored = scored.join(past, on=["example", "value"], how="anti")
    ordered = scored.filter(pl.col("score") > 0).sort(["example", "score", "value"], descending=[False, True, False])
    lists = (
        ordered.group_by("example", maintain_order=True)
        .agg(items=pl.col("value").cast(pl.String).head(fact.size), size=pl.col("size").sum())
        .filter((pl.col("size") >= fact.at_least) & pl.col("example").is_in(examples.implode()))
    )
    named = lists.select("example", answer=in_words(pl.col("items")))
    other = named["answer"].gather(facts.rng(fact).permutation(named.height))
    return named.with_columns(other=other).with_columns(
        other=pl.when(pl.col("other") != pl.col("answer")).then("other")
    )


def is_(facts: Facts, fact: FactSpec, examples: pl.Series) -> pl.DataFrame:
    """The user's value of an attribute; otherwise: another of its values. Users without one are not asked about."""
    words = facts.tables.dataset.source(fact.source).maps.get(str(fact.attribute), {})
    owned = facts.tables.events[fact.source].filter(pl.col("attribute") == fact.attribute).sort("user", "row")
    value = facts.tables.texts["value"].gather(owned["text_id"]).replace(words)
    owned = owned.select("user", answer=value).filter(~pl.col("answer").is_in(fact.skip)).unique("user", keep="last")
    asked = facts.examples.select("example", "user").filter(pl.col("example").is_in(examples.implode()))
    rows = asked.join(owned, on="user", how="inner").sort("example").select("example", "answer")
    values = rows["answer"].unique().sort()
    if len(values) < 2:
        return rows.clear()
    step = facts.rng(fact).integers(1, len(values), rows.height)
    place = values.search_sorted(rows["answer"]).to_numpy()
    return rows.with_columns(other=values.gather((place + step) % len(values)))


SHAPES: dict[str, Callable[[Facts, FactSpec, pl.Series], pl.DataFrame]] = {
    "occurs": occurs,
    "new": new,
    "absent": absent,
    "any": any_event,
    "follows": follows,
    "change": change,
    "share": share,
    "count": count,
    "when": when,
    "top": top,
    "is": is_,
}
