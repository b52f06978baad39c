"""One thing of the model changed at a time: what each choice is worth, on the same data, seed and steps."""

from instructue.evaluation.results import OURS, Study
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.beside import BY_LIKENESS, ONE_RUN, Beside, beside
from instructue.evaluation.studies.figures import gain, overall, side
from instructue.evaluation.studies.retrain import Trials

AS_IT_IS = "as in params.yaml"


def ablations(bench: Bench, trials: Trials) -> list[Study]:
    """Trains a model per entry of studies.ablations and judges it against the model of data/model."""
    found = beside(bench, trials, AS_IT_IS, bench.config.studies.ablations)
    return [_study(found, bench.population.size)] if found else []


def _study(judged: Beside, users: int) -> Study:
    return Study(
        name="ablations",
        title="One choice of the model changed at a time",
        question="What is each choice worth?",
        answer=answer(judged),
        varied="what is changed",
        rows=judged.rows(users, first_minus=False),
        notes=[
            "Same seed, steps and data; mean over the yes-or-no tasks, linear probe on all labels; differences to the "
            "model as it is.",
            BY_LIKENESS,
            ONE_RUN,
            *judged.notes,
        ],
    )


def answer(judged: Beside) -> str:
    """One sentence: which changes lose, which gain, which make no difference that can be told."""
    gaps = {name: overall(judged.gap(OURS, name, AS_IT_IS)) for name in judged.judged if name != AS_IT_IS}
    parts = []
    for sign, words in ((-1, "loses"), (1, "gains")):
        named = [f"{name} ({gain(draws)})" for name, draws in gaps.items() if side(draws) == sign]
        if named:
            parts.append(f"what {words} AUC: {', '.join(named)}")
    level = [name for name, draws in gaps.items() if side(draws) == 0]
    if level:
        parts.append(f"no difference shown: {', '.join(level)}")
    return f"With the instruction, {'; '.join(parts)}." if parts else "Nothing was changed."
