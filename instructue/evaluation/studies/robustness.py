"""How much each method loses when irrelevant events are mixed into the histories, and whether asking protects."""

from collections.abc import Callable
from dataclasses import replace

from instructue.evaluation.population import Population
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.report.names import method_title
from instructue.evaluation.results import GENERAL, OURS, Study, StudyRow
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.figures import Draws, gain, minus, overall, rows, said, side, verdict
from instructue.evaluation.studies.judging import auc, judge_all, judgeable, named
from instructue.evaluation.studies.noise import KINDS, noisy
from instructue.evaluation.tasks import TaskSpec, requests_for

FIRST = 3  # tasks taken where studies.tasks names none
METHODS = (OURS, GENERAL, "mean_text", "tfidf_lr", "aggregates_lightgbm")
Curves = dict[float, dict[str, Draws]]  # share of noise -> method -> AUC by task


def robustness(bench: Bench) -> list[Study]:
    """One study per kind of noise, on studies.tasks and studies.users; probes and draws as in the evaluation."""
    config, sample = bench.config.studies, bench.sample
    drawn = bench.protocol(sample)
    # One draw of folds: every setting is judged on the same, and each further draw costs as much again.
    protocol = replace(drawn, folds=drawn.folds[:1], inner=drawn.inner[:1])
    chosen = [task for task in bench.tasks if task.name in config.tasks]
    if not config.tasks:
        chosen = [task for task in bench.chosen if task.family != "recommendation"][:FIRST]
    tasks, notes = judgeable(chosen, sample, protocol)
    if missing := sorted(set(config.tasks) - {task.name for task in bench.tasks}):
        notes.append(f"studies.tasks names {', '.join(missing)}, which the data set does not have")
    if not tasks:
        return []
    shares = sorted({0.0, *config.noise})
    clean: dict[str, Draws] = {}

    def measured(kind: str, share: float) -> dict[str, Draws]:
        if share or not clean:  # no noise is the same for every kind
            found = _auc(bench, tasks, sample, protocol, kind, share)
            if share:
                return found
            clean.update(found)
        return clean

    return [_study(kind, _curves(shares, kind, measured), sample.size, notes) for kind in KINDS]


def _curves(shares: list[float], kind: str, measured: Callable[[str, float], dict[str, Draws]]) -> Curves:
    return {share: measured(kind, share) for share in shares}


def _auc(
    bench: Bench, tasks: list[TaskSpec], sample: Population, protocol: Protocol, kind: str, share: float
) -> dict[str, Draws]:
    tables = noisy(bench.population, sample.users, kind, share, bench.config.studies.seed)
    histories, asked = Population.of(tables), requests_for(tasks, sample)
    # Without noise these are the published vectors, if the embeddings stage made them for these tasks.
    vectors = None if share else bench.published(asked)
    vectors = bench.embed(bench.on(tables), tables, asked) if vectors is None else vectors
    judged = judge_all(named(METHODS), tasks, sample, protocol, vectors, histories, bench.paths)
    return {method: auc(judged, method) for method in METHODS}


def _study(kind: str, curves: Curves, users: int, notes: list[str]) -> Study:
    return Study(
        name=f"robustness_{kind}",
        title=f"Irrelevant events: {KINDS[kind]}",
        question=f"What does AUC lose when a share of every history is {KINDS[kind]}, and does asking protect?",
        answer=answer(curves, kind),
        varied="share of irrelevant events",
        rows=study_rows(curves, users),
        notes=[
            "Noise is in the histories that probes learn from as in those that they score; our model was trained "
            "without any, while TF-IDF and aggregates are made anew from the noisy histories.",
            "Tasks, users and folds (one draw) are its own, so without noise AUC is not that of the main table.",
            *notes,
        ],
    )


def study_rows(curves: Curves, users: int) -> list[StudyRow]:
    """AUC by share, then its loss against no noise, then what the instruction adds at each share, all paired."""
    found, clean = [], curves[0.0]
    for share, methods in curves.items():
        for method, draws in methods.items():
            found += rows(draws, method, share, "auc", users)
            if share:
                found += rows(minus(draws, clean[method]), method, share, "auc_change", users, "no noise")
        found += rows(minus(methods[OURS], methods[GENERAL]), OURS, share, "auc_difference", users, GENERAL)
        if share:
            found += rows(_protection(curves, share), OURS, share, "auc_difference_change", users, "no noise")
    return found


def _protection(curves: Curves, share: float) -> Draws:
    """How much more the instruction is worth under noise than without: above zero, it protects."""
    with_noise, clean = curves[share], curves[0.0]
    return minus(minus(with_noise[OURS], with_noise[GENERAL]), minus(clean[OURS], clean[GENERAL]))


def _elsewhere(curves: Curves, most: float) -> str:
    """What is decided at other shares than the most: said too, as one share alone may mislead."""
    changes = {share: overall(_protection(curves, share)) for share in curves if 0 < share < most}
    decided = {share: draws for share, draws in changes.items() if side(draws)}
    return "".join(f", though at {share:.0%} it changes by {gain(draws)}" for share, draws in decided.items())


def answer(curves: Curves, kind: str) -> str:
    """One sentence from the most noise: what ours loses, whether the instruction protects, and who loses least."""
    share = max(curves)
    if not share:
        return f"No noise was added, so AUC stays at {said(overall(curves[0.0][OURS]))}."
    lost = {name: overall(draws) - overall(curves[0.0][name]) for name, draws in curves[share].items()}
    kept = overall(minus(curves[share][OURS], curves[share][GENERAL]))
    before = overall(minus(curves[0.0][OURS], curves[0.0][GENERAL]))
    change = overall(_protection(curves, share))
    protects = verdict(
        change,
        (
            "so the instruction does not protect against this noise, its advantage shrinks",
            "so protection by the instruction is not shown",
            "so the instruction protects against this noise",
        ),
    )
    least = max(lost, key=lambda name: float(lost[name][0]))
    steadiest = "ours with instruction" if least == OURS else method_title(least)
    return (
        f"With {share:.0%} of each history being {KINDS[kind]}, AUC changes by {gain(lost[OURS])} with the instruction "
        f"and by {gain(lost[GENERAL])} without; the instruction's advantage goes from {gain(before)} to {gain(kept)}, "
        f"a change of {gain(change)}, {protects}{_elsewhere(curves, share)}; "
        f"the least is lost by {steadiest}: {gain(lost[least])}."
    )
