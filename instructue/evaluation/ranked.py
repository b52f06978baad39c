"""One ranking task and every way to rank its items: probes, counts, neighbours and factors, texts, two stages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from instructue.evaluation.answers import Answers
from instructue.evaluation.baselines import items, learners
from instructue.evaluation.baselines.collaborative import RANKERS, Settings, rankings
from instructue.evaluation.baselines.two_stage import Evidence, judge_two_stage
from instructue.evaluation.inputs import Inputs
from instructue.evaluation.judged import Judged
from instructue.evaluation.methods import SCORER, SIMILARITY, Method
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.recommendation import Basket, judge_adoption, judge_probe, judge_rankings, judge_scorer
from instructue.evaluation.results import OURS
from instructue.evaluation.rules import Items
from instructue.evaluation.tasks import TaskSpec

CANDIDATES_FROM = ("item_knn", "ease", "als")  # rankings that the two-stage ranker draws on


@dataclass(frozen=True)
class Way:
    """One way to rank, and what it rests on beside the basket."""

    run: Callable[[], Judged]
    rests_on: tuple[Any, ...] = ()
    long: bool = False


@dataclass
class Ranked:
    """A ranking task's basket with what its jobs share: a ranking is made once, whichever job asks for it first."""

    task: TaskSpec
    basket: Basket
    frame: pl.DataFrame
    inputs: Inputs
    answers: Answers
    protocol: Protocol
    _made: dict[str, Settings] = field(default_factory=dict)
    _locks: dict[str, Lock] = field(default_factory=dict)

    @classmethod
    def of(cls, task: TaskSpec, inputs: Inputs, answers: Answers, protocol: Protocol) -> "Ranked":
        basket, frame = Basket.of(task, inputs.population), task.label.labels(inputs.population)
        return cls(task, basket, frame, inputs, answers, protocol)

    def probe(self, method: Method) -> Judged:
        """A ridge probe on the method's features."""
        x = self.inputs.rows(method, self.task, self.frame)
        assert x is not None  # the plan asked whether it has all rows
        return judge_probe(method, self.task, x, self.basket, self.protocol)

    def jobs(self) -> dict[str, Way]:
        """Every further way by its name."""
        own = (self.basket.everyone,)
        found = {name: Way(partial(self._by_settings, name), own) for name in self._counted()}
        found |= {name: Way(partial(self._by_settings, name), own, long=True) for name in RANKERS}
        if self.task.ranking.new_only:
            found["adoption_rate"] = Way(partial(judge_adoption, self.task, self.basket, self.protocol))
        x = self.inputs.embeddings.rows(OURS, self.task, self.frame)
        if isinstance(self.task.label, Items):
            found["two_stage"] = Way(partial(self._two_stage, "two_stage", {}), own, long=True)
            if x is not None:
                run = partial(self._two_stage, "two_stage_with_instructue", {OURS: x})
                found["two_stage_with_instructue"] = Way(run, (*own, x), long=True)
        texts = self.answers.items(self.task, self.basket.catalogue)
        return found if x is None or texts is None else found | self._by_text(x, *texts)

    def _counted(self) -> list[str]:
        """Rankings that only count the past. Of items that may not be had again, nobody has a past."""
        if self.task.ranking.new_only:
            return ["popularity"]
        faded = ["recency", "recent_frequency"] if isinstance(self.task.label, Items) else []
        return ["popularity", "own_frequency", *faded]

    def _by_settings(self, name: str) -> Judged:
        return judge_rankings(name, self.task, self._settings(name), self.basket, self.protocol)

    def _by_text(self, x: np.ndarray, vectors: np.ndarray, texts: np.ndarray) -> dict[str, Way]:
        """Users and items by their texts: without any label, and by a light scorer."""
        task, basket, protocol = self.task, self.basket, self.protocol
        similar = partial(judge_rankings, SIMILARITY, task, {"": x @ vectors.T}, basket, protocol)
        scorer = partial(judge_scorer, SCORER, task, x, texts, basket, protocol)
        return {SIMILARITY: Way(similar, (x, vectors)), SCORER: Way(scorer, (x, texts), long=True)}

    def _two_stage(self, name: str, embeddings: dict[str, np.ndarray]) -> Judged:
        fixed = dict(self._settings("windows"))
        fixed = {"days since": fixed.pop("since")} | fixed
        fixed["fading"] = self._settings("recent_frequency")["half-life 91 days"]
        evidence = Evidence(fixed, {ranker: self._settings(ranker) for ranker in CANDIDATES_FROM}, embeddings)
        return judge_two_stage(name, self.task, self.basket, evidence, self.protocol)

    def _settings(self, name: str) -> Settings:
        """Score matrices [users of the basket, items] by setting; one thread makes them, others wait."""
        with self._locks.setdefault(name, Lock()):
            if name not in self._made:
                made = self._rank(name)
                self._made[name] = {setting: scores[self.basket.users] for setting, scores in made.items()}
            return self._made[name]

    def _rank(self, name: str) -> Settings:
        """For the whole population, so that neighbours and factors are learnt from all."""
        everyone, rule = self.basket.everyone, self.task.label
        if name in RANKERS:
            return rankings(name, everyone)
        if name == "popularity":
            return {"": learners.popularity(everyone)}
        if name == "own_frequency":
            return {"": learners.own_frequency(everyone)}
        assert isinstance(rule, Items)  # `jobs` offers the rest for no other rule
        if name == "recency":
            return {"": items.recency(rule, self.inputs.population, self.basket.catalogue)}
        counted = {"windows": items.windows, "recent_frequency": items.recent_frequency}
        return counted[name](rule, self.inputs.population, self.basket.catalogue)
