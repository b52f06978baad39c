"""Transfer: a model that another data set taught reads this one, under instructions and sources it never saw."""

from pathlib import Path

from instructue.errors import ConfigError
from instructue.evaluation.results import GENERAL, OURS, Study
from instructue.evaluation.studies import figures
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.figures import Draws, gain, minus, overall, side
from instructue.evaluation.studies.judging import auc, judge_all, judgeable, named
from instructue.evaluation.studies.retrain import Trials
from instructue.evaluation.tasks import requests_for
from instructue.network.checkpoint import load_trainable_state, read_settings, read_weights, trainable_state
from instructue.training.build import build, load_triplets
from instructue.tuning.transplant import transplanted

UNTAUGHT, ELSEWHERE, HERE = "not trained", "trained elsewhere", "trained here"


def transfer(bench: Bench, _: Trials) -> list[Study]:
    """Judges the model of studies.transfer_from on this data set beside its own and an untrained one.

    Raises ConfigError if none is named, DataError or ConfigError if it cannot be read.
    """
    folder = bench.config.studies.transfer_from
    if folder is None:
        raise ConfigError("studies.run names transfer, which needs studies.transfer_from: the other model's folder")
    population = bench.population
    protocol = bench.protocol(population)
    tasks, notes = judgeable(bench.chosen, population, protocol)
    if not tasks:
        return []
    asked, judged = requests_for(tasks, population), {}
    said = load_triplets(bench.paths, bench.tables)["instruction"]
    fresh, moved = (build(bench.config.model, bench.tables, bench.paths, said) for _ in range(2))
    path = Path(folder) if Path(folder).is_absolute() else bench.paths.root / folder
    state, other = read_weights(path)[0], read_settings(path)["shape"]
    load_trainable_state(moved.model, transplanted(state, other, trainable_state(moved.model), moved.model.shape))
    for name, parts in ((UNTAUGHT, fresh), (ELSEWHERE, moved), (HERE, bench.parts)):
        vectors = bench.embed(parts, bench.tables, asked)
        judged[name] = judge_all(named((OURS, GENERAL)), tasks, population, protocol, vectors, population, bench.paths)
    return [_study(judged, population.size, notes)]


def _study(judged: dict, users: int, notes: list[str]) -> Study:
    made = []
    for method in (OURS, GENERAL):
        draws = {name: auc(found, method) for name, found in judged.items()}
        for name, values in draws.items():
            made += figures.rows(values, method, name, "auc", users)
        for other in (UNTAUGHT, HERE):
            gap = minus(draws[ELSEWHERE], draws[other])
            made += figures.rows(gap, method, ELSEWHERE, "auc_difference", users, other)
    return Study(
        name="transfer",
        title="A model that another data set taught",
        question="Does what one data set taught help on another, under instructions never seen?",
        answer=answer({name: auc(found, OURS) for name, found in judged.items()}),
        varied="where it was trained",
        rows=made,
        notes=["Linear probe on this data set's labels; nothing of the network was trained on this data set.", *notes],
    )


def answer(settings: dict[str, Draws]) -> str:
    """One sentence: the model from elsewhere against none and against this data set's own."""
    over, under = (overall(minus(settings[ELSEWHERE], settings[name])) for name in (UNTAUGHT, HERE))
    words = ("it harms", "whether it helps is not shown", "so it helps")[side(over) + 1]
    return (
        f"Trained elsewhere, with the instruction, the model is worth {gain(over)} AUC against no training: {words}; "
        f"against training here {gain(under)}."
    )
