"""How far a user's vector moves when a question is put in other words, and when another one is asked."""

from collections.abc import Callable

import numpy as np
import polars as pl

from instructue.evaluation.results import OURS, Study, StudyRow
from instructue.evaluation.studies.bench import Bench, among
from instructue.evaluation.studies.figures import Draws, gain, mean, minus, overall, rows, said, verdict, weights
from instructue.evaluation.studies.wordings import plain, wordings
from instructue.sources.events import stable_sample

SAME, ANOTHER, NOBODY = "the same question, other words", "another question", "another user, same question"
FEWEST = 60  # users whose paraphrases are embedded, if there are so many


def paraphrases(bench: Bench) -> list[Study]:
    """One study over some of studies.users; none if fewer than two questions are asked of whole histories."""
    config, who = bench.config.studies, bench.tables.dataset.who
    asked = {task.name: wordings(task, who, config.paraphrases) for task in bench.chosen if plain(task)}
    if len(asked) < 2:
        return []
    # A tenth of the users: a vector per wording is the dearest part, and means over users are narrow anyway.
    size = max(bench.sample.size // 10, min(FEWEST, bench.sample.size))
    few = among(bench.sample, stable_sample(bench.sample.users, size))
    vectors, question = _worded_vectors(bench, few.users, asked)
    drawn = weights(few.size, bench.config.evaluation.bootstrap, config.seed)
    found = moved(vectors, question, list(asked), drawn, bench.told)
    return [_study(found, _by_text(bench, asked), few.size, question)]


def _worded_vectors(bench: Bench, users: pl.Series, asked: dict[str, list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [users, wordings, dim] and the number of each wording's question [wordings]."""
    texts = [(name, str(n), text) for name, said_ in asked.items() for n, text in enumerate(said_)]
    wanted = pl.DataFrame(texts, schema=["task", "context", "instruction"], orient="row").with_row_index("order")
    requests = users.to_frame("user").join(wanted, how="cross")
    requests = requests.with_columns(hides=pl.lit([], dtype=pl.List(pl.String)))
    frame = bench.embed(bench.parts, bench.tables, requests).filter(pl.col("method") == OURS)
    ordered = frame.join(wanted.select("task", "context", "order"), on=["task", "context"]).sort("user", "order")
    vectors = ordered["vector"].to_numpy().reshape(len(users), len(texts), -1)
    names = list(asked)
    return vectors, np.asarray([names.index(name) for name, _, _ in texts])


def moved(
    vectors: np.ndarray,
    question: np.ndarray,
    names: list[str],
    drawn: np.ndarray,
    told: Callable[[np.ndarray], np.ndarray],
) -> dict[str, dict[str, Draws]]:
    """metric -> setting -> draws by task, from vectors [users, wordings, dim] of `question`s [wordings].

    cosine: mean over pairs of a user's vectors of one question, of two, and of two users under the same wording.
    cosine_told: the same of what is `told`, which the language model writes (Bench.told). cosine_own: of these,
    less their mean over users, that is without the shift that a wording gives to everybody. nearest_is_paraphrase:
    whether a vector's nearest among the user's own is one.
    """
    other = ~np.eye(len(question), dtype=bool)
    same = (question[:, None] == question) & other
    differs = question[:, None] != question
    asked = told(vectors)
    out: dict[str, dict[str, Draws]] = {}
    for metric, part in (("cosine", vectors), ("cosine_told", asked), ("cosine_own", asked - asked.mean(axis=0))):
        unit = part / np.maximum(np.linalg.norm(part, axis=-1, keepdims=True), 1e-9)
        near = unit @ unit.transpose(0, 2, 1)
        strangers = ((unit * unit.sum(axis=0)).sum(-1) - 1) / max(len(unit) - 1, 1)  # mean with all other users
        found = {SAME: _over(near, same), ANOTHER: _over(near, differs), NOBODY: strangers}
        out[metric] = {name: _by_question(values, question, names, drawn) for name, values in found.items()}
        if metric == "cosine":
            hit = question[np.where(other, near, -np.inf).argmax(2)] == question
            nearest = {SAME: _by_question(hit.astype(float), question, names, drawn)}
    return out | {"nearest_is_paraphrase": nearest}


def _over(near: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Mean of each wording's cosines over its pairs: near [users, wordings, wordings] -> [users, wordings]."""
    return (near * pairs).sum(2) / np.maximum(pairs.sum(1), 1)


def _by_question(values: np.ndarray, question: np.ndarray, names: list[str], drawn: np.ndarray) -> Draws:
    return {name: mean(values[:, question == n].mean(axis=1), drawn) for n, name in enumerate(names)}


def _by_text(bench: Bench, asked: dict[str, list[str]]) -> list[StudyRow]:
    """How alike the wordings are to the text encoder: the same for every user, so without interval."""
    texts = [text for said_ in asked.values() for text in said_]
    question = np.repeat(np.arange(len(asked)), [len(said_) for said_ in asked.values()])
    vectors = np.stack([bench.known[text] for text in texts])[None]
    found = moved(vectors, question, list(asked), np.ones((1, 1), np.float32), np.asarray)["cosine"]
    return [row for name in (SAME, ANOTHER) for row in rows(found[name], "text_encoder", name, "cosine", None)]


def _study(found: dict[str, dict[str, Draws]], by_text: list[StudyRow], users: int, question: np.ndarray) -> Study:
    made = []
    for metric, settings in found.items():
        for setting, draws in settings.items():
            made += rows(draws, OURS, setting, metric, users)
    for metric in ("cosine", "cosine_told", "cosine_own"):
        by = minus(found[metric][SAME], found[metric][ANOTHER])
        made += rows(by, OURS, SAME, f"{metric}_difference", users, ANOTHER)
    near, far = (overall(found["cosine"][s]) for s in (SAME, ANOTHER))
    own = overall(minus(found["cosine_own"][SAME], found["cosine_own"][ANOTHER]))
    hits = overall(found["nearest_is_paraphrase"][SAME])
    held = verdict(
        near - far,
        (
            "so the wording moves the vector more than the question does",
            "so it is not shown that the question moves the vector more than its wording",
            "so the question moves the vector more than its wording",
        ),
    )
    chance = (np.bincount(question)[question] - 1).mean() / (len(question) - 1)
    return Study(
        name="paraphrases",
        title="Other words against another question",
        question="How far does a user's vector move when the same question is put in other words, and how far when "
        "another one is asked?",
        answer=f"A user's vectors under two wordings of one question have a mean cosine of {said(near)} and under two "
        f"questions of {said(far)}, a difference of {gain(near - far)}, {held}; the nearest of the user's own vectors "
        f"is a paraphrase in {said(hits)} of cases (by chance {chance:.3f}), and without the shift that a question "
        f"gives to everybody the difference is {gain(own)}.",
        varied="what the user was asked",
        rows=[*made, *by_text],
        notes=[
            "cosine_told is of what the language model writes. Of the rest, the history's place on the "
            "map is the same under every instruction and holds every cosine up; the evidence is counted, not written. "
            "cosine_own is of what is written less its mean over users: what the question changes for everybody alike "
            "is taken away.",
            "The method text_encoder is the cosine of the instructions' own text vectors, the same for every user.",
        ],
    )
