"""Which facts to ask about: even over kinds, then over examples; balanced over answers, not over frequency.

The network packs many instructions behind one history, so a pool of examples is chosen first and every kind
draws from it. A value's yes and no come equally often, as far as the data allows: the instruction alone must not
give the answer away.
"""

import math

import numpy as np
import polars as pl

from instructue.sources.spec import FactSpec
from instructue.userqa.facts import Facts
from instructue.userqa.schema import SHARE_OF_YES

PER_EXAMPLE = 16  # triplets that a chosen example has on average
LEAST_PER_EXAMPLE = 4  # an example that ends with fewer is left out
PER_KIND = 2  # of one kind, an example has at most so many, with different values
SCARCE_YES = 0.2  # a kind whose examples have a yes more rarely draws its examples into the pool
SCARCE_POOL = 0.3  # the part of the pool that may be chosen so
KNOWN_NO = 0.6  # of the noes, so many about what the user's own history holds


def choose(facts: Facts, total: int, seed: int) -> tuple[list[FactSpec], pl.DataFrame]:
    """About `total` candidates of all kinds (at most that many), with column kind.

    Columns: kind, example, value, answer, other, polarity, known. Sorted by example, kind, value.
    """
    rng = np.random.default_rng([seed, 1])
    found = {fact.name: (fact, frame) for fact, frame in facts.each() if frame.height}
    pool = _pool(facts.examples, [frame for _, frame in found.values()], math.ceil(total / PER_EXAMPLE), rng)
    load = pool.to_frame().with_columns(load=pl.lit(0, dtype=pl.UInt32))
    thin = {
        name: _thin(fact, frame.filter(pl.col("example").is_in(pool.implode())), facts.rng(fact))
        for name, (fact, frame) in found.items()
    }
    chosen: list[pl.DataFrame] = []
    left = total
    # Kinds with the least to give go first; what they cannot fill is shared among those after them.
    order = sorted(thin, key=lambda name: (_capacity(thin[name]), name))
    for place, name in enumerate(order):
        picked = _pick(thin[name], left // (len(order) - place), load)
        chosen.append(picked.with_columns(kind=pl.lit(name)))
        left -= picked.height
        more = picked.group_by("example").agg(more=pl.len())
        load = load.join(more, on="example", how="left", maintain_order="left").select(
            "example", load=(pl.col("load") + pl.col("more").fill_null(0)).cast(pl.UInt32)
        )
    kept = load.filter(pl.col("load") >= min(LEAST_PER_EXAMPLE, max(1, len(order) // 2)))["example"]
    everything = pl.concat(chosen).filter(pl.col("example").is_in(kept.implode()))
    columns = ["kind", "example", "value", "answer", "other", "polarity", "known"]
    asked = set(everything["kind"])
    return [fact for fact, _ in found.values() if fact.name in asked], everything.select(columns).sort(
        "example", "kind", "value", nulls_last=True
    )


def _pool(examples: pl.DataFrame, candidates: list[pl.DataFrame], size: int, rng: np.random.Generator) -> pl.Series:
    """Examples to draw from: every user once before any twice, part of them for a yes that is rare."""
    shuffled = examples.select("example", "user").with_columns(u=pl.Series(rng.random(examples.height)))
    spread = shuffled.sort("u").with_columns(turn=pl.int_range(pl.len()).over("user")).sort("turn", "u")["example"]
    scarce = [
        frame.filter("polarity")["example"].unique()
        for frame in candidates
        if frame["polarity"].null_count() == 0
        and frame.filter("polarity")["example"].n_unique() < SCARCE_YES * frame["example"].n_unique()
    ]
    wanted = pl.concat(scarce).unique() if scarce else pl.Series("example", [], dtype=pl.UInt32)
    first = spread.filter(spread.is_in(wanted.implode())).head(int(SCARCE_POOL * size))
    rest = spread.filter(~spread.is_in(first.implode())).head(size - len(first))
    return pl.concat([first, rest]).rename("example")


def _thin(fact: FactSpec, frame: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """At most PER_KIND candidates per example and side, rare values likelier by the root of their frequency.

    Adds stratum (what is balanced within a side), side (yes, known no, other no; open answers: one) and u.
    """
    stratum = pl.lit("") if fact.shape == "top" else pl.coalesce("value", "answer", pl.lit(""))
    side = (
        pl.when(pl.col("polarity").fill_null(True)).then(0).when(pl.col("known").fill_null(True)).then(1).otherwise(2)
    )
    sided = frame.with_columns(stratum=stratum, side=side, u=pl.Series(rng.random(frame.height)))
    often = sided.filter(pl.col("side") == 0).group_by("stratum").agg(often=pl.len())
    sided = sided.join(often, on="stratum", how="left", maintain_order="left").with_columns(
        pl.col("often").fill_null(1)
    )
    # Weighted sampling without replacement by exponential keys (Efraimidis and Spirakis, 2006).
    keyed = sided.with_columns(key=-(1 - pl.col("u")).log() * pl.col("often").sqrt())
    return (
        keyed.sort("key", "example", "value", nulls_last=True)
        .filter(pl.int_range(pl.len()).over("example", "side") < PER_KIND)
        .drop("key")
    )


def _capacity(frame: pl.DataFrame) -> int:
    """How many a kind can give while its yes and no stay in balance."""
    sides = [frame.filter(pl.col("side") == side).height for side in range(3)]
    if frame["polarity"].null_count():
        return sides[0]
    yes, no = sides[0], sides[1] + sides[2]
    return min(yes + no, int(min(yes, no) / SHARE_OF_YES[0]))


def _pick(frame: pl.DataFrame, quota: int, load: pl.DataFrame) -> pl.DataFrame:
    """At most `quota` candidates: yes and no evenly, values by the root of how often they are a yes, examples
    that have few triplets so far first."""
    loaded = frame.join(load, on="example", how="left", maintain_order="left").sort(
        "load", "u", "example", "value", nulls_last=True
    )
    # The r-th of a value that is a yes n times comes at r / sqrt(n), in every side alike: so its sides match.
    turn = (pl.int_range(pl.len()).over("side", "stratum") + pl.col("u")) / pl.col("often").sqrt()
    ordered = loaded.with_columns(turn=turn).sort("turn", "u", "example", "value", nulls_last=True)
    ordered = ordered.filter(pl.int_range(pl.len()).over("example") < PER_KIND)
    yes, known, other = (ordered.filter(pl.col("side") == side) for side in range(3))
    if frame["polarity"].null_count():
        return yes.head(quota)
    noes = known.height + other.height
    least = min(yes.height, noes, quota // 2)
    most = min(quota - least, int(least * SHARE_OF_YES[1] / SHARE_OF_YES[0]))
    n_yes, n_no = (least, min(most, noes)) if yes.height <= noes else (min(most, yes.height), least)
    n_known = min(known.height, max(round(KNOWN_NO * n_no), n_no - other.height))
    return pl.concat([yes.head(n_yes), known.head(n_known), other.head(n_no - n_known)])
