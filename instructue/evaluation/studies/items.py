"""Ranking by asking: a user's leading items are asked about one by one, and one linear probe ranks the vectors.

Candidates come from a ridge probe on the general vector; they and the items' rates are out of fold for the users whom
the ranker learns from, as in the two-stage ranker. Nothing but embeddings and rates is looked at.

Legend: n users, m items, C candidates per user, X pairs of user and item that were asked about, E embedding width.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from instructue.evaluation.answers import SCHEMA, Answers
from instructue.evaluation.baselines.two_stage import outside, probe_scores
from instructue.evaluation.cache import Cache
from instructue.evaluation.inputs import Inputs
from instructue.evaluation.judged import Judged
from instructue.evaluation.metrics import top_items
from instructue.evaluation.population import Population
from instructue.evaluation.probe import probe_logistic
from instructue.evaluation.protocol import Protocol, Split
from instructue.evaluation.ranked import Ranked
from instructue.evaluation.recommendation import Basket, judge_splits
from instructue.evaluation.results import GENERAL, MACRO, OURS, Study, StudyRow
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.figures import Draws, gain, minus, rows, said
from instructue.evaluation.studies.judging import named
from instructue.evaluation.tasks import TaskSpec, requests_for
from instructue.evaluation.vectors import Embeddings
from instructue.progress import track

ASKED, ANEW, WHOLE = "asked one by one", "same items, not asked", "all at once"
RIVALS = ("adoption_rate", "own_frequency", "recent_frequency", "ease", "two_stage")
METRICS = ("ndcg@10", "hr@10")
LEAST = 1e-3  # a lower rate counts as this, so that log odds stay finite
MOST_SEGMENTS, BLOCK = 4096, 512  # of a forward pass; users whose vectors are held twice
Found = dict[tuple[str, str], Judged]  # (method, setting) -> how it did


@dataclass(frozen=True)
class Candidates:
    """Of one split, [n, C] each: the items that a user's scores put first, and as log odds what these scores (minus
    infinity where fewer may be shown) and other users' doings (repeats included) give them."""

    items: np.ndarray
    odds: np.ndarray
    rate: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, basket: Basket, split: Split, count: int) -> "Candidates":
        """By a ridge probe on x [n, E]; no user's own labels enter."""
        scores = outside(split, basket, lambda taught, asked: probe_scores(x, basket, split, taught, asked))
        rate = outside(split, basket, lambda taught, asked: basket.happened[taught].mean(axis=0)[None])
        scores[basket.seen] = -np.inf
        items = top_items(scores, count)
        found, rate = (np.take_along_axis(values, items, axis=1) for values in (scores, rate))
        odds = np.where(np.isfinite(found), log_odds(found), -np.inf)
        return cls(items, odds.astype(np.float32), log_odds(rate).astype(np.float32))


@dataclass(frozen=True)
class Asked:
    """Vectors [X, E] by pair; pairs [X] ascending, user times m plus item."""

    pairs: np.ndarray
    vectors: np.ndarray
    size: int

    def of(self, items: np.ndarray) -> np.ndarray:
        """[n, C, E] vectors of each user's items [n, C]. All were asked about."""
        return self.vectors[np.searchsorted(self.pairs, items + self.size * np.arange(len(items))[:, None])]


def log_odds(rate: np.ndarray) -> np.ndarray:
    rate = np.clip(rate, LEAST, 1 - LEAST)
    return np.log(rate / (1 - rate))


def item_by_item(bench: Bench) -> list[Study]:
    """One study over the ranking tasks that say how one item is asked about (`each`), on studies.users."""
    population, protocol = bench.sample, bench.protocol(bench.sample)
    judged: dict[str, Found] = {}
    notes, fewest = [], 4 * max(bench.config.evaluation.folds, 2 * bench.config.evaluation.inner_folds)
    for task in (task for task in bench.chosen if task.each is not None):
        ranked = _ranked(bench, task, population, protocol)
        if len(ranked.basket.users) < fewest:
            notes.append(f"{task.name}: only {len(ranked.basket.users)} users have a relevant item; left out")
        else:
            judged[task.name] = _judge(bench, ranked)
    return [_study(judged, bench.config.studies.items, notes)] if judged else []


def _ranked(bench: Bench, task: TaskSpec, population: Population, protocol: Protocol) -> Ranked:
    """The task as the evaluation judges it, with our vectors alone."""
    asked = requests_for([task], population)
    table = bench.published(asked)
    ours = Embeddings.of(bench.embed(bench.parts, bench.tables, asked) if table is None else table, population)
    inputs = Inputs(population, ours, [task], bench.paths, Cache(bench.paths.cache / "evaluation"))
    return Ranked.of(task, inputs, Answers(pl.DataFrame(schema=SCHEMA)), protocol)


def _judge(bench: Bench, ranked: Ranked) -> Found:
    task, basket, protocol = ranked.task, ranked.basket, ranked.protocol
    found = {(method.name, WHOLE): ranked.probe(method) for method in named((OURS, GENERAL))}
    general = ranked.inputs.embeddings.rows(GENERAL, task, ranked.frame)
    assert general is not None, f"{task.name}: a general vector of every user"
    splits, count = list(protocol.splits(basket.users)), bench.config.studies.items
    drawn = {
        (s.repeat, s.fold): Candidates.of(general, basket, s, count) for s in track(splits, f"{task.name}: candidates")
    }
    asked = ask(bench, ranked, drawn.values())
    for setting, vectors in ((ASKED, asked), (ANEW, None)):
        made = {
            (s.repeat, s.fold): reranked(basket, s, drawn[s.repeat, s.fold], vectors)
            for s in track(splits, f"{task.name}: {setting}")
        }
        found[OURS, setting] = judge_splits(OURS, task, basket, protocol, lambda s, made=made: made[s.repeat, s.fold])
    ways = ranked.jobs()
    rivals = [name for name in RIVALS if name in ways]
    return found | {(name, WHOLE): ways[name].run() for name in track(rivals, f"{task.name}: rivals")}


def ask(bench: Bench, ranked: Ranked, drawn: Iterable[Candidates]) -> Asked:
    """Embed every user under the question about each of its candidates, of all splits together, once."""
    task, basket = ranked.task, ranked.basket
    size = len(basket.catalogue)
    pairs = np.unique(np.concatenate([(c.items + size * np.arange(len(c.items))[:, None]).ravel() for c in drawn]))
    questions, names = pl.Series(task.questions(ranked.inputs.population)), pl.Series(basket.catalogue)
    vectors = np.zeros((len(pairs), bench.parts.model.shape.dim), np.float32)
    most = int(np.bincount(pairs // size).max(initial=1))
    batch = max(1, min(bench.config.embeddings.batch_users, MOST_SEGMENTS // most))
    for start in range(0, len(basket.users), BLOCK):
        block = slice(*np.searchsorted(pairs, [start * size, (start + BLOCK) * size]))
        users, items = ranked.frame["user"].gather(pairs[block] // size), pairs[block] % size
        requests = pl.DataFrame({"user": users, "context": names.gather(items), "instruction": questions.gather(items)})
        hides = pl.lit(task.hides, dtype=pl.List(pl.String))
        asked = requests.with_columns(task=pl.lit(task.name), hides=hides)
        table = bench.embed(bench.parts, bench.tables, asked, batch=batch).filter(pl.col("method") == OURS)
        found = requests.join(table, on=["user", "context"], how="left", maintain_order="left")
        vectors[block] = found["vector"].to_numpy()
    return Asked(pairs, vectors, size)


def reranked(basket: Basket, split: Split, drawn: Candidates, asked: Asked | None) -> np.ndarray:
    """Scores [test, m] of the candidates by one logistic regression over training users' pairs; -inf elsewhere.

    It reads the candidates' two log odds and, if given, the vector under the question about the item.
    """
    parts = [drawn.odds[..., None], drawn.rate[..., None]]
    x = np.concatenate(parts if asked is None else [*parts, asked.of(drawn.items)], axis=-1)
    y, kept = np.take_along_axis(basket.relevant, drawn.items, axis=1), np.isfinite(drawn.odds)
    taught, shown = kept[split.train], kept[split.test]
    inner = np.broadcast_to(split.inner[:, None], taught.shape)[taught]
    labels = y[split.train][taught].astype(np.float32)
    logits, _ = probe_logistic(x[split.train][taught], labels, x[split.test][shown], inner)
    scores = np.full((len(split.test), basket.seen.shape[1]), -np.inf)
    users, columns = np.nonzero(shown)
    scores[users, drawn.items[split.test][users, columns]] = logits
    return scores


def _study(judged: dict[str, Found], count: int, notes: list[str]) -> Study:
    made: list[StudyRow] = []
    ways = list(dict.fromkeys(way for found in judged.values() for way in found))
    size = {task: next(iter(found.values())).n for task, found in judged.items()}
    for metric in METRICS:
        draws = {way: {t: found[way].draws[metric] for t, found in judged.items() if way in found} for way in ways}
        mine = draws[OURS, ASKED]
        for method, setting in ways:
            found = draws[method, setting]
            made += _rows(found, judged, method, setting, metric, size)
            if (method, setting) != (OURS, ASKED):
                gap = minus({task: mine[task] for task in found}, found)
                against = method if method != OURS else setting
                made += _rows(gap, judged, OURS, ASKED, f"{metric}_difference", size, against)
    return Study(
        name="item_by_item",
        title="Items asked about one by one",
        question="Does asking about each item rank better than one vector for all of them?",
        answer=" ".join(_answer(task, found) for task, found in judged.items()),
        varied="what is asked",
        rows=made,
        notes=[
            f"The {count} items that a ridge probe on the general vector puts first for a user are asked about; one "
            "logistic regression for all items reads the vector, the first probe's log odds and the item's among other "
            "users, repeats included. The control does without the vector.",
            *notes,
        ],
    )


def _rows(draws: Draws, judged: dict[str, Found], *more: Any) -> list[StudyRow]:
    """As figures.rows, but an average over tasks only of what ran on all of them."""
    return [row for row in rows(draws, *more) if row.task != MACRO or len(draws) == len(judged)]


def _answer(task: str, found: Found) -> str:
    asked = found[OURS, ASKED].draws[METRICS[0]]
    parts = [
        f"{gain(asked - judged.draws[METRICS[0]])} against {words}"
        for way, words in (
            ((GENERAL, WHOLE), "one general vector"),
            ((OURS, ANEW), "the same items not asked about"),
            (("two_stage", WHOLE), "two stages"),
        )
        if (judged := found.get(way)) is not None
    ]
    return f"{task}: NDCG@10 is {said(asked)} when each item is asked about, {', '.join(parts)}."
