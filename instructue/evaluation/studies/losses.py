"""Joint training against either of its losses alone: the same seed, steps and data, judged on the same draws."""

from instructue.evaluation.judged import Judged
from instructue.evaluation.results import GENERAL, OURS, Study
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.figures import Draws, gain, minus, overall, rows, side
from instructue.evaluation.studies.judging import auc, judge_all, judgeable, named
from instructue.evaluation.studies.retrain import Trial, Trials, changed
from instructue.evaluation.tasks import requests_for

JOINT = "joint"
# What is set to zero beside the joint training.
ALONE = {
    "contrastive alone": {"autoregressive_weight": 0.0},
    "autoregressive alone": {"contrastive_weight": 0.0, "opposition_weight": 0.0, "history_weight": 0.0},
}


def losses(bench: Bench, trials: Trials) -> list[Study]:
    """Trains a model per loss alone and judges it against the model of data/model on every yes-or-no task."""
    population, config = bench.population, bench.config
    protocol = bench.protocol(population)
    tasks, notes = judgeable(bench.chosen, population, protocol)
    if not tasks:
        return []
    asked = requests_for(tasks, population)
    vectors = {JOINT: bench.embed(bench.parts, bench.tables, asked)}
    for name, weights in ALONE.items():
        vectors[name] = trials.vectors(Trial(name.replace(" ", "_"), changed(config.model, **weights)), asked)
    judged = {
        name: judge_all(named((OURS, GENERAL)), tasks, population, protocol, found, population, bench.paths)
        for name, found in vectors.items()
    }
    return [_study(judged, population.size, notes)]


def _study(judged: dict[str, dict[tuple[str, str], Judged]], users: int, notes: list[str]) -> Study:
    found = {method: {name: auc(j, method) for name, j in judged.items()} for method in (OURS, GENERAL)}
    made = []
    for method, settings in found.items():
        for name, draws in settings.items():
            made += rows(draws, method, name, "auc", users)
            if name != JOINT:
                made += rows(minus(settings[JOINT], draws), method, JOINT, "auc_difference", users, name)
    return Study(
        name="losses",
        title="Joint training against either loss alone",
        question="Does training by both losses give a better embedding than training by one of them?",
        answer=answer(found[OURS]),
        varied="losses trained by",
        rows=made,
        notes=[
            "Same seed, steps and data; mean over the yes-or-no tasks, linear probe on all labels.",
            "By the autoregressive loss alone nothing trains the projection to the embedding: it stays as drawn.",
            "One training run each: the intervals are over users and do not hold what another seed would change.",
            *notes,
        ],
    )


def answer(settings: dict[str, Draws]) -> str:
    """One sentence: joint minus each loss alone, and what follows."""
    by = {name: overall(minus(settings[JOINT], settings[name])) for name in settings if name != JOINT}
    parts = [f"{gain(draws)} AUC against {name}" for name, draws in by.items()]
    sides = [side(draws) for draws in by.values()]
    if all(s > 0 for s in sides):
        held = "so both losses are worth having"
    elif any(s < 0 for s in sides):
        worse = " and ".join(name for name, s in zip(by, sides, strict=True) if s < 0)
        held = f"so the claim does not hold: joint training is behind {worse}"
    else:
        level = " and ".join(name for name, s in zip(by, sides, strict=True) if s == 0)
        held = f"so an advantage over {level} is not shown"
    return f"Training by both losses is worth {' and '.join(parts)} with the instruction, {held}."
