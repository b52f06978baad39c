"""Who is judged on what, as independent jobs: one per task, method and number of labels, each with its cache key."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from instructue.evaluation.answers import Answers
from instructue.evaluation.baselines.heuristics import HEURISTICS
from instructue.evaluation.baselines.learners import boosted
from instructue.evaluation.cache import code, key_of
from instructue.evaluation.inputs import Inputs
from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import Method
from instructue.evaluation.prediction import enough, judge, judge_scores
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.ranked import Ranked
from instructue.evaluation.results import OURS
from instructue.evaluation.tasks import TaskSpec
from instructue.evaluation.uplift import judge_uplift, too_few


@dataclass(frozen=True)
class Job:
    """Work that needs nothing of other jobs. Long ones begin first, lest one worker end alone with them.

    `prepare` makes with all cores what `run`, on one thread, then reads.
    """

    key: str
    run: Callable[[], Judged]
    prepare: Callable[[], Any] | None = None
    long: bool = False


@dataclass(frozen=True)
class Labelled:
    """A yes-or-no task's rows: user, context, label in `frame`; y [rows] in {0, 1}; users [rows] positions.

    treated [rows] in {0, 1} where the labels say who was treated at random, else None.
    """

    frame: pl.DataFrame
    y: np.ndarray
    users: np.ndarray
    treated: np.ndarray | None

    @classmethod
    def of(cls, task: TaskSpec, inputs: Inputs) -> "Labelled":
        frame = task.label.labels(inputs.population)
        y = frame["label"].to_numpy().astype(np.int64)
        treated = frame["treated"].to_numpy().astype(np.int64) if "treated" in frame.columns else None
        return cls(frame, y, inputs.population.positions(frame["user"]), treated)


@dataclass
class Plan:
    """Independent jobs, and what had to be left out.

    `methods` are those with features of their own, `wanted` names them and all others to judge.
    `rows` holds the yes-or-no tasks that are judged.
    """

    inputs: Inputs
    answers: Answers
    protocol: Protocol
    methods: list[Method]
    wanted: list[str]
    few_labels: list[int]
    jobs: list[Job] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: dict[str, Labelled] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._drawn = key_of(self.protocol.folds, self.protocol.inner, self.protocol.weights)
        for task in self.inputs.tasks:
            (self._ranking if task.family == "recommendation" else self._binary)(task)
        self.jobs.sort(key=lambda job: not job.long)

    def _add(self, task: TaskSpec, said: list[Any], run: Callable[[], Judged], **more: Any) -> None:
        self.jobs.append(Job(key_of(code(), self._drawn, task.model_dump(mode="json"), *said), run, **more))

    def _binary(self, task: TaskSpec) -> None:
        rows = Labelled.of(task, self.inputs)
        self.notes += task.label.notes(self.inputs.population)
        if not len(rows.y) or not enough(rows.y, rows.users, self.protocol, 4):
            found = f"{int(rows.y.sum())} positives of {len(rows.y)} rows"
            self.notes.append(f"{task.name}: {found} are too few to judge by; left out")
            return
        self.rows[task.name] = rows
        reason = None if rows.treated is None else too_few(rows.y, rows.treated)
        self.notes += [f"{task.name}: {reason}"] if reason else []
        drawn = [rows.frame.select("user", "context").to_dict(as_series=False), rows.y]
        sizes = [size for size in self.few_labels if enough(rows.y, rows.users, self.protocol, size)]
        for method in self.methods:
            if not self.inputs.has(method, task, rows.frame):
                self.notes.append(_missing(method, task))
                continue
            said = [*drawn, method.name, method.learner.__name__, self.inputs.rest_on(method, task, rows.frame)]
            how = {"prepare": partial(self.inputs.prepare, method, task), "long": method.learner is boosted}
            for size in [None, *(sizes if method.few else [])]:
                draws = [size, self.protocol.few_draws if size else 0]
                self._add(task, [*said, *draws], partial(self._judge, method, task, rows, size), **how)
            if rows.treated is not None and not reason:
                self._add(task, [*said, rows.treated], partial(self._uplift, method, task, rows), **how)
        self._without_labels(task, rows, drawn)

    def _judge(self, method: Method, task: TaskSpec, rows: Labelled, size: int | None) -> Judged:
        x = self.inputs.rows(method, task, rows.frame)
        assert x is not None  # `has` said so
        return judge(method, task, x, rows.y, rows.users, self.protocol, size)

    def _uplift(self, method: Method, task: TaskSpec, rows: Labelled) -> Judged:
        x = self.inputs.rows(method, task, rows.frame)
        assert x is not None and rows.treated is not None
        return judge_uplift(method, task, x, rows.y, rows.treated, rows.users, self.protocol)

    def _without_labels(self, task: TaskSpec, rows: Labelled, drawn: list[Any]) -> None:
        """Rules of thumb, and the similarity of our embedding to the answers."""
        for name, heuristic in HEURISTICS.items():
            scores = heuristic(self.inputs.population, task, rows.frame) if name in self.wanted else None
            if scores is not None:
                run = partial(judge_scores, name, task, scores, rows.y, rows.users, self.protocol)
                self._add(task, [*drawn, name, scores], run)
        side, vectors = self.answers.opposition(task), self.inputs.embeddings.rows(OURS, task, rows.frame)
        if side is not None and vectors is not None and OURS in self.wanted:
            scores = vectors @ side
            run = partial(judge_scores, OURS, task, scores, rows.y, rows.users, self.protocol, 0)
            self._add(task, [*drawn, "zero-shot", scores], run)

    def _ranking(self, task: TaskSpec) -> None:
        ranked = Ranked.of(task, self.inputs, self.answers, self.protocol)
        self.notes += task.label.notes(self.inputs.population)
        if len(ranked.basket.users) < 4 * (self.protocol.folds.max() + 1):
            self.notes.append(f"{task.name}: only {len(ranked.basket.users)} users have a relevant item; left out")
            return
        basket = ranked.basket
        asked = [basket.catalogue, basket.users, basket.relevant, basket.past]
        for method in (m for m in self.methods if m.ranks):
            if not self.inputs.has(method, task, ranked.frame):
                self.notes.append(_missing(method, task))
                continue
            said = [*asked, method.name, self.inputs.rest_on(method, task, ranked.frame)]
            prepare = partial(self.inputs.prepare, method, task)
            self._add(task, said, partial(ranked.probe, method), prepare=prepare)
        for name, job in ranked.jobs().items():
            if name in self.wanted:
                self._add(task, [*asked, name, *job.rests_on], job.run, long=job.long)


def _missing(method: Method, task: TaskSpec) -> str:
    hidden = f" without {', '.join(task.hides)}" if task.hides else ""
    return f"{method.name}: not every row of {task.name} has an embedding{hidden}; left out there"
