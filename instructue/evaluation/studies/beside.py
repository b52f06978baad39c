"""The model of data/model beside models trained anew with something changed, on every yes-or-no task."""

from dataclasses import dataclass
from typing import Any

from instructue.evaluation.judged import Judged
from instructue.evaluation.population import Population
from instructue.evaluation.prediction import judge_scores
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.results import GENERAL, OURS, StudyRow
from instructue.evaluation.studies import figures
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.figures import Draws
from instructue.evaluation.studies.judging import auc, judge_all, judgeable, labels_of, named
from instructue.evaluation.studies.retrain import Made, Trial, Trials
from instructue.evaluation.tasks import TaskSpec, requests_for
from instructue.evaluation.vectors import Embeddings

ONE_RUN = "One training run each: the intervals are over users and do not hold what another seed would change."


UNLABELLED = "auc_without_labels"
BY_LIKENESS = "Without labels, a row is scored by how much nearer its vector lies to the task's yes than to its no."


@dataclass(frozen=True)
class Beside:
    """setting -> (task, method) -> how it did; the first setting is the model of data/model. unlabelled: setting ->
    (task, ours) -> the same without labels."""

    judged: dict[str, dict[tuple[str, str], Judged]]
    unlabelled: dict[str, dict[tuple[str, str], Judged]]
    notes: list[str]

    def auc(self, method: str) -> dict[str, Draws]:
        """A method's AUC by setting and task, with all draws."""
        return {name: auc(found, method) for name, found in self.judged.items()}

    def likeness(self) -> dict[str, Draws]:
        """Ours without labels: AUC by setting and task, with all draws."""
        return {name: auc(found, OURS) for name, found in self.unlabelled.items()}

    def rows(self, users: int, *, first_minus: bool) -> list[StudyRow]:
        """Every setting's AUC, with and without the instruction and without labels, and differences to the first
        setting: the first minus the other, or the other way round."""
        made = []
        kinds = [
            (OURS, "auc", self.auc(OURS)),
            (GENERAL, "auc", self.auc(GENERAL)),
            (OURS, UNLABELLED, self.likeness()),
        ]
        for method, metric, settings in kinds:
            first = next(iter(settings))
            for name, draws in settings.items():
                made += figures.rows(draws, method, name, metric, users)
                if name != first:
                    one, other = (first, name) if first_minus else (name, first)
                    gap = figures.minus(settings[one], settings[other])
                    made += figures.rows(gap, method, one, f"{metric}_difference", users, other)
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
    made = {first: Made(bench.embed(bench.parts, bench.tables, asked), bench.answers(bench.parts))}
    for name, changed in changes.items():
        made[name] = trials.made(Trial(name.replace(" ", "_"), config.model.changed(changed)), asked)
    methods = named((OURS, GENERAL))
    judged = {
        name: judge_all(methods, tasks, population, protocol, found.vectors, population, bench.paths)
        for name, found in made.items()
    }
    unlabelled = {name: _by_likeness(found, tasks, population, protocol) for name, found in made.items()}
    return Beside(judged, unlabelled, notes)


def _by_likeness(
    made: Made, tasks: list[TaskSpec], population: Population, protocol: Protocol
) -> dict[tuple[str, str], Judged]:
    """(task, ours) -> how the vectors rank by their likeness to the task's answers, no label used."""
    embeddings, found = Embeddings.of(made.vectors, population), {}
    for task in tasks:
        rows, y, users = labels_of(task, population)
        side, x = made.answers.opposition(task), embeddings.rows(OURS, task, rows)
        assert side is not None and x is not None, f"{task.name}: a trial embeds every row and both answers"
        found[task.name, OURS] = judge_scores(OURS, task, x @ side, y, users, protocol, 0)
    return found
