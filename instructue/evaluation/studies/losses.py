"""Joint training against either of its losses alone: the same seed, steps and data, judged on the same draws."""

from instructue.evaluation.results import OURS, Study
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.beside import BY_LIKENESS, ONE_RUN, Beside, beside
from instructue.evaluation.studies.figures import Draws, gain, minus, overall, said, side
from instructue.evaluation.studies.retrain import Trials

JOINT = "joint"
# What is set to zero beside the joint training.
ALONE = {
    "contrastive alone": {"autoregressive_weight": 0.0},
    "autoregressive alone": {"contrastive_weight": 0.0, "opposition_weight": 0.0, "history_weight": 0.0},
}


def losses(bench: Bench, trials: Trials) -> list[Study]:
    """Trains a model per loss alone and judges it against the model of data/model on every yes-or-no task."""
    changes = {name: {f"training.{knob}": value for knob, value in knobs.items()} for name, knobs in ALONE.items()}
    found = beside(bench, trials, JOINT, changes)
    return [_study(found, bench.population.size)] if found else []


def _study(judged: Beside, users: int) -> Study:
    return Study(
        name="losses",
        title="Joint training against either loss alone",
        question="Does training by both losses give a better embedding than training by one of them?",
        answer=f"{answer(judged.auc(OURS))} {without_labels(judged.likeness())}",
        varied="losses trained by",
        rows=judged.rows(users, first_minus=True),
        notes=[
            "Same seed, steps and data; mean over the yes-or-no tasks, linear probe on all labels.",
            BY_LIKENESS,
            "By the autoregressive loss alone nothing trains the projection to the embedding: it stays as drawn.",
            ONE_RUN,
            *judged.notes,
        ],
    )


def without_labels(settings: dict[str, Draws]) -> str:
    """One sentence: joint minus each loss alone where no label is used."""
    parts = [
        f"{gain(overall(minus(settings[JOINT], settings[name])))} against {name}" for name in settings if name != JOINT
    ]
    return (
        f"Ranked by likeness to the answers, without labels: {said(overall(settings[JOINT]))} AUC, {', '.join(parts)}."
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
