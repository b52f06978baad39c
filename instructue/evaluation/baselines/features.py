"""Baseline features of a user's past: mean text vector, TF-IDF of event texts, hand-made aggregates.

Everything is counted before the snapshot; vocabularies are chosen there too, and no label is looked at.
"""

import numpy as np
import polars as pl

from instructue.evaluation.population import Population
from instructue.sources.spec import SourceSpec

WINDOWS = (7, 28, 91)  # days before the snapshot, beside the whole past
TOP_VALUES = 120  # values of an attribute with columns of their own, the most widespread first
TOP_IN_WINDOWS = 40  # of these, values that are counted in windows too
RARE = 20  # fewer users than this: no column
NEVER = 400.0  # age given to what never happened


def text_counts(population: Population, hides: list[str]):
    """How often each text stands in each past, scipy CSR float32 [users, texts]; attributes count once."""
    from scipy.sparse import csr_matrix

    rows, columns = [], []
    for source in population.tables.dataset.sources:
        if source.name in hides:
            continue
        if source.kind == "events":
            events = population.past(source.name)
            rows.append(events["position"].to_numpy())
        else:
            events = population.profile(source.name)
            rows.append(population.positions(events["user"]))
        columns.append(events["text_id"].to_numpy())
    where = (np.concatenate(rows), np.concatenate(columns))
    shape = (population.size, population.tables.texts.height)
    counts = csr_matrix((np.ones(len(where[0]), np.float32), where), shape=shape)
    counts.sum_duplicates()
    return counts


def mean_text(population: Population, hides: list[str]) -> np.ndarray:
    """Mean text vector of all events of the past, float32 [users, width]."""
    counts = text_counts(population, hides)
    total = np.maximum(np.asarray(counts.sum(axis=1)), 1)
    return (np.asarray(counts @ population.tables.vectors) / total).astype(np.float32)


def mean_text_per_source(population: Population, hides: list[str]) -> np.ndarray:
    """Each source's mean text vector beside the logs of its counts, in all and in WINDOWS: float32 [users, columns]."""
    names = [s.name for s in population.tables.dataset.sources]
    blocks = []
    for source in (s for s in population.tables.dataset.sources if s.name not in hides):
        counts = text_counts(population, [name for name in names if name != source.name])
        total = np.asarray(counts.sum(axis=1))
        blocks += [np.asarray(counts @ population.tables.vectors) / np.maximum(total, 1), np.log1p(total)]
        if source.kind == "events":
            who, age = population.past(source.name).select("position", "age").to_numpy().T
            recent = [np.bincount(who[age <= days].astype(int), minlength=population.size) for days in WINDOWS]
            blocks.append(np.log1p(np.stack(recent, axis=1)))
    return np.concatenate(blocks, axis=1).astype(np.float32)


def tfidf(population: Population, hides: list[str], users: np.ndarray, width: int = 768) -> np.ndarray:
    """TF-IDF of event texts in its `width` leading directions, float32 [users, at most width].

    `users` are the positions of interest; other rows are zero. Without the cut a linear probe would be exactly the
    one on the sparse matrix, for it only turns the axes; 768 of 2,373 directions score the same and cost a tenth.
    """
    from sklearn.feature_extraction.text import TfidfTransformer

    weighted = TfidfTransformer(sublinear_tf=True).fit_transform(text_counts(population, hides)).astype(np.float32)
    out = leading(weighted[users][:, np.flatnonzero(weighted.getnnz(axis=0))].toarray(), width)
    return _spread(out, users, population.size)


def leading(x: np.ndarray, width: int) -> np.ndarray:
    """Principal components of x [n, p], float32 [n, at most width], in descending order of variance."""
    centred = x - x.mean(axis=0)
    if centred.shape[1] < centred.shape[0]:
        gram, turn = np.linalg.eigh(centred.T @ centred)
        turned = centred @ turn
    else:
        gram, turn = np.linalg.eigh(centred @ centred.T)
        turned = turn * np.sqrt(np.maximum(gram, 0))
    kept = np.flatnonzero(gram > 1e-5 * gram[-1])[::-1][:width]
    return turned[:, kept].astype(np.float32)


def leading_standard(x: np.ndarray, users: np.ndarray, width: int = 768) -> np.ndarray:
    """Standardised columns of x [n, p] in the `width` leading directions of `users`, float32 [n, at most width].

    Rows of others are zero. A probe that takes them as they are is the one on all standardised columns but for the
    directions in which users hardly differ; it costs a tenth. Constant columns are left out.
    """
    own = x[users]
    scale = own.std(axis=0)
    kept = scale > 1e-6 * (1 + np.abs(own.mean(axis=0)))
    return _spread(leading((own[:, kept] - own[:, kept].mean(axis=0)) / scale[kept], width), users, len(x))


def _spread(rows: np.ndarray, users: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros((size, rows.shape[1]), np.float32)
    out[users] = rows
    return out


def aggregates(population: Population, hides: list[str]) -> np.ndarray:
    """Counts, sums, means, recencies and top values of every source: float32 [users, columns]."""
    blocks: list[np.ndarray] = []
    for source in population.tables.dataset.sources:
        if source.name in hides:
            continue
        made = _stream(population, source) if source.kind == "events" else _attributes(population, source)
        blocks += [columns.reshape(population.size, -1).astype(np.float32) for columns in made]
    return np.concatenate(blocks, axis=1)


def _stream(population: Population, source: SourceSpec):
    """Blocks of columns of one event source."""
    events, n = population.past(source.name), population.size
    who, age = events["position"].to_numpy(), events["age"].to_numpy()
    total = np.bincount(who, minlength=n).astype(float)
    yield total
    last, first = np.full(n, NEVER), np.full(n, NEVER)
    last[who], first[who[::-1]] = age, age[::-1]  # events ascend in time, and the last assignment stands
    yield last
    yield first
    days = events.group_by("position").agg(pl.col("time").dt.date().n_unique().alias("days"))
    active = np.zeros(n)
    active[days["position"].to_numpy()] = days["days"].to_numpy()
    yield active
    yield np.where(active > 1, (first - last) / np.maximum(active - 1, 1), NEVER)
    for window in WINDOWS:
        yield np.bincount(who[age <= window], minlength=n).astype(float)
    for number in source.columns:
        value = events[number].fill_null(0).to_numpy()
        summed = np.bincount(who, value, n)
        yield summed
        yield summed / np.maximum(total, 1)
        yield np.bincount(who[value > 0], minlength=n).astype(float)
        for window in WINDOWS:
            yield np.bincount(who, value * (age <= window), n)
    for attribute in source.attributes:
        yield from _values(population, source, attribute, who, age)


def _values(population: Population, source: SourceSpec, attribute: str, who: np.ndarray, age: np.ndarray):
    """Columns of an attribute's most widespread values: counts in windows, shares, days since the last."""
    n = population.size
    values = population.tables.texts[attribute].gather(population.past(source.name)["text_id"])
    pairs = pl.DataFrame({"position": who, "value": values})
    spread = pairs.unique().group_by("value").len("users").sort(["users", "value"], descending=[True, False])
    distinct = pairs.group_by("position").agg(pl.col("value").n_unique())
    different = np.zeros(n)
    different[distinct["position"].to_numpy()] = distinct["value"].to_numpy()
    yield different
    top = spread.filter(pl.col("users") >= RARE)["value"].drop_nulls().head(TOP_VALUES).to_list()
    if not top:
        return
    code = values.replace_strict(top, range(len(top)), default=-1, return_dtype=pl.Int64).to_numpy()
    place = who * len(top) + code
    for window, width in ((None, TOP_VALUES), (91, TOP_IN_WINDOWS), (28, TOP_IN_WINDOWS)):
        taken = (code >= 0) & (age <= (window or np.inf))
        counts = np.bincount(place[taken], minlength=n * len(top)).reshape(n, -1)[:, :width]
        yield counts.astype(np.float32)
    since = np.full(n * len(top), NEVER, np.float32)
    since[place[code >= 0]] = age[code >= 0]
    yield since.reshape(n, -1)


def _attributes(population: Population, source: SourceSpec):
    """One column per value of each attribute, 1 where the user has it."""
    rows = population.profile(source.name)
    values = rows.select("attribute", "value").unique().sort("attribute", "value").with_row_index("column")
    held = rows.join(values, on=["attribute", "value"])
    columns = np.zeros((population.size, values.height), np.float32)
    columns[population.positions(held["user"]), held["column"].to_numpy()] = 1
    yield columns
