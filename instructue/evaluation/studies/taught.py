"""What many wordings in UserQA are worth: trained on all or on one per kind, asked in words that neither saw."""

import json

import numpy as np
import polars as pl

from instructue.evaluation.judged import Judged
from instructue.evaluation.metrics import binary_metrics
from instructue.evaluation.population import Population
from instructue.evaluation.protocol import Protocol, within_folds
from instructue.evaluation.results import OURS, Study
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.figures import Draws, gain, minus, overall, rows, said, verdict, weights
from instructue.evaluation.studies.judging import auc, judge_all, judgeable, labels_of, named
from instructue.evaluation.studies.paraphrases import ANOTHER, SAME, moved
from instructue.evaluation.studies.retrain import Trial, Trials
from instructue.evaluation.tasks import TaskSpec, requests_for
from instructue.userqa.plain import in_plain_words
from instructue.userqa.schema import WORDINGS

MANY, ONE = "many wordings", "one template per kind"


def taught(bench: Bench, trials: Trials) -> list[Study]:
    """Trains a model on templates alone and holds it against that of data/model under the tasks' own paraphrases."""
    population = bench.population
    protocol = bench.protocol(population)
    tasks, notes = judgeable([task for task in bench.chosen if task.paraphrases], population, protocol)
    asked = {task.name: in_other_words(task) for task in tasks}
    if len(asked) < 2:
        return []
    wordings = json.loads((bench.paths.userqa / WORDINGS).read_text(encoding="utf-8"))
    wanted = [task for name in asked for task in asked[name]]
    requests = requests_for(wanted, population)
    trial = Trial("taught_one", bench.config.model, said_as=lambda triplets: in_plain_words(triplets, wordings))
    vectors = {MANY: bench.embed(bench.parts, bench.tables, requests), ONE: trials.vectors(trial, requests)}
    judged = {
        name: judge_all(named((OURS,)), wanted, population, protocol, found, population, bench.paths)
        for name, found in vectors.items()
    }
    stacks = {name: _stacked(found, wanted) for name, found in vectors.items()}
    carried = {name: across(stack, asked, population, protocol) for name, stack in stacks.items()}
    drawn = weights(population.size, bench.config.evaluation.bootstrap, bench.config.studies.seed)
    question = np.repeat(np.arange(len(asked)), [len(found) for found in asked.values()])
    moves = {name: moved(stack, question, list(asked), drawn, bench.told) for name, stack in stacks.items()}
    aucs = {name: by_task(j, asked) for name, j in judged.items()}
    return [_study(aucs, carried, moves, population.size, notes)]


def in_other_words(task: TaskSpec) -> list[TaskSpec]:
    """The task once per paraphrase that its description gives, under names of their own."""
    return [
        task.model_copy(update={"name": f"{task.name}~{number}", "instruction": text})
        for number, text in enumerate(task.paraphrases)
    ]


def by_task(judged: dict[tuple[str, str], Judged], asked: dict[str, list[TaskSpec]]) -> Draws:
    """AUC by task, the mean over its paraphrases on the same draws."""
    found = auc(judged, OURS)
    return {name: np.mean([found[task.name] for task in wordings], axis=0) for name, wordings in asked.items()}


def across(vectors: np.ndarray, asked: dict[str, list[TaskSpec]], population: Population, protocol: Protocol) -> Draws:
    """AUC by task of probes fitted under one wording and scored under the others; vectors [users, wordings, dim]."""
    (method,), found, first = named((OURS,)), {}, 0
    for name, wordings in asked.items():
        _, y, users = labels_of(wordings[0], population)
        places = range(first, first := first + len(wordings))
        scores = np.full((len(wordings), len(wordings), len(protocol.folds), len(y)), np.nan)
        for split in protocol.splits(users):
            for learnt, place in enumerate(places):
                new = np.concatenate([vectors[users[split.test], other] for other in places])
                x = vectors[users[split.train], place]
                logits = method.learner(x, y[split.train], new, split.inner).reshape(len(wordings), -1)
                for other, row in enumerate(logits):
                    scores[learnt, other, split.repeat, split.test] = within_folds(row, split)
        pairs = [(a, b) for a in range(len(wordings)) for b in range(len(wordings)) if a != b]
        weights_ = protocol.weights[:, users]
        by = [binary_metrics(one, y, weights_, ("auc",))["auc"] for a, b in pairs for one in scores[a, b]]
        found[name] = np.mean(by, axis=0)
    return found


def _stacked(frame: pl.DataFrame, wanted: list[TaskSpec]) -> np.ndarray:
    """Vectors [users, wordings, dim] in the order of `wanted`."""
    order = pl.DataFrame({"task": [task.name for task in wanted]}).with_row_index("order")
    found = frame.filter(pl.col("method") == OURS).join(order, on="task").sort("user", "order")
    return found["vector"].to_numpy().reshape(-1, len(wanted), len(found["vector"][0]))


def _study(
    aucs: dict[str, Draws], carried: dict[str, Draws], moves: dict[str, dict], users: int, notes: list[str]
) -> Study:
    made = []
    for name, draws in aucs.items():
        made += rows(draws, OURS, name, "auc", users)
        made += rows(carried[name], OURS, name, "auc_carried_over", users)
        made += rows(moves[name]["nearest_is_paraphrase"][SAME], OURS, name, "nearest_is_paraphrase", users)
        follows = minus(moves[name]["cosine_told"][SAME], moves[name]["cosine_told"][ANOTHER])
        made += rows(follows, OURS, name, "cosine_difference", users)
    made += rows(minus(aucs[MANY], aucs[ONE]), OURS, MANY, "auc_difference", users, ONE)
    made += rows(minus(carried[MANY], carried[ONE]), OURS, MANY, "auc_carried_over_difference", users, ONE)
    nearest = {name: found["nearest_is_paraphrase"][SAME] for name, found in moves.items()}
    made += rows(minus(nearest[MANY], nearest[ONE]), OURS, MANY, "nearest_difference", users, ONE)
    better, across_ = (overall(minus(found[MANY], found[ONE])) for found in (aucs, carried))
    held = verdict(
        across_,
        (
            "so templates alone carry over better",
            "so it is not shown that they carry over better",
            "so the wordings carry over",
        ),
    )
    hits = {name: overall(draws) for name, draws in nearest.items()}
    return Study(
        name="taught",
        title="Many wordings against one template",
        question="Does training on many wordings of each question serve instructions worded as training never saw?",
        answer=f"Under paraphrases by people, training on many wordings is worth {gain(better)} AUC against one "
        f"template per kind where a probe is fitted under each, and {gain(across_)} where one fitted under one wording "
        f"scores another, {held}; a user's nearest vector is one of the same question in {said(hits[MANY])} of "
        f"cases against {said(hits[ONE])}, a difference of {gain(hits[MANY] - hits[ONE])}.",
        varied="wordings in training",
        rows=made,
        notes=[
            "Same facts, seed and steps; every text of the second model's UserQA is put as its kind's plain template "
            "puts it. Asked in the paraphrases of the tasks' descriptions, which UserQA has not seen; for "
            "auc a probe is fitted and judged under each; for auc_carried_over it is fitted under one and judged under "
            "each other, as when a team words its question anew.",
            "cosine_difference: mean cosine of a user's vectors under paraphrases of one question, less that under two "
            "questions, of what the language model writes. Each model's evidence is fitted under its own wordings.",
            "One training run each: the intervals are over users and do not hold what another seed would change.",
            *notes,
        ],
    )
