"""The model of data/model beside models trained anew with something changed, on every yes-or-no task."""

from dataclasses import dataclass
from typing import Any

from instructue.evaluation.judged import Judged
from instructue.evaluation.results import GENERAL, OURS, StudyRow
from instructue.evaluation.studies import figures
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.figures import Draws
from instructue.evaluation.studies.judging import auc, judge_all, judgeable, named
from instructue.evaluation.studies.retrain import Trial, Trials
from instructue.evaluation.tasks import requests_for

ONE_RUN = "One training run each: the intervals are over users and do not hold what another seed would change."


@dataclass(frozen=True)
class Beside:
    """setting -> (task, method) -> how it did; the first setting is the model of data/model."""

    judged: dict[str, dict[tuple[str, str], Judged]]
    notes: list[str]

    def auc(self, method: str) -> dict[str, Draws]:
        """A method's AUC by setting and task, with all draws."""
        return {name: auc(found, method) for name, found in self.judged.items()}

    def rows(self, users: int, *, first_minus: bool) -> list[StudyRow]:
        """Every setting's AUC, with and without the instruction, and differences to the first setting: the first minus
        the other, or the other way round."""
        made = []
        for method in (OURS, GENERAL):
            settings = self.auc(method)
            first = next(iter(settings))
            for name, draws in settings.items():
                made += figures.rows(draws, method, name, "auc", users)
                if name != first:
                    pair = (first, name) if first_minus else (name, first)
                    made += figures.rows(self.gap(method, *pair), method, pair[0], "auc_difference", users, pair[1])
        return made

    def gap(self, method: str, one: str, other: str) -> Draws:
        """One setting's AUC minus another's, by task, on the same draws."""
        settings = self.auc(method)
        return figures.minus(settings[one], settings[other])


def beside(bench: Bench, trials: Trials, first: str, changes: dict[str, dict[str, Any]]) -> Beside | None:
    """Train a model per named set of changes (as "network.layers") and judge all; None if no task can be judged.

    The data, seed and plan of the steps stay those of the model of data/model, called `first`.
    """
    population, config = bench.population, bench.config
    protocol = bench.protocol(population)
    tasks, notes = judgeable(bench.chosen, population, protocol)
    if not tasks:
        return None
    asked = requests_for(tasks, population)
    vectors = {first: bench.embed(bench.parts, bench.tables, asked)}
    for name, changed in changes.items():
        vectors[name] = trials.vectors(Trial(name.replace(" ", "_"), config.model.changed(changed)), asked)
    methods = named((OURS, GENERAL))
    judged = {
        name: judge_all(methods, tasks, population, protocol, found, population, bench.paths)
        for name, found in vectors.items()
    }
    return Beside(judged, notes)
