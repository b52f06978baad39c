"""Transfer to users that training never saw: what the embedding is worth to them."""

from instructue.evaluation.judged import Judged
from instructue.evaluation.results import GENERAL, OURS, Study
from instructue.evaluation.studies.bench import Bench, among
from instructue.evaluation.studies.figures import gain, minus, overall, rows, said, verdict
from instructue.evaluation.studies.judging import auc, judge_all, judgeable, named
from instructue.evaluation.studies.retrain import Trial, Trials
from instructue.evaluation.tasks import requests_for
from instructue.sources.events import stable_sample

SEEN, UNSEEN = "trained on them too", "trained without them"


def unseen_users(bench: Bench, trials: Trials) -> list[Study]:
    """Trains without half of the users, and judges it on that half against the model that saw all."""
    everyone = bench.population.users
    without = stable_sample(everyone, len(everyone) // 2, bench.config.studies.seed).sort()
    half = among(bench.population, without)
    protocol = bench.protocol(half)
    tasks, notes = judgeable(bench.chosen, half, protocol)
    if not tasks:
        return []
    asked = requests_for(tasks, half)
    vectors = {
        SEEN: bench.embed(bench.parts, bench.tables, asked),
        UNSEEN: trials.vectors(Trial("unseen_users", bench.config.model, without), asked),
    }
    judged = {
        name: judge_all(named((OURS, GENERAL)), tasks, half, protocol, found, half, bench.paths)
        for name, found in vectors.items()
    }
    return [_study(judged, half.size, notes)]


def _study(judged: dict[str, dict[tuple[str, str], Judged]], users: int, notes: list[str]) -> Study:
    made = []
    for method in (OURS, GENERAL):
        for name, found in judged.items():
            made += rows(auc(found, method), method, name, "auc", users)
        lost = minus(auc(judged[UNSEEN], method), auc(judged[SEEN], method))
        made += rows(lost, method, UNSEEN, "auc_difference", users, SEEN)
    alone = overall(auc(judged[UNSEEN], OURS))
    change = overall(minus(auc(judged[UNSEEN], OURS), auc(judged[SEEN], OURS)))
    held = verdict(
        change,
        (
            "so users whom training never saw are served worse",
            "so a loss for users whom training never saw is not shown",
            "so users whom training never saw are served no worse",
        ),
    )
    return Study(
        name="unseen_users",
        title="Users that training never saw",
        question="Does the embedding serve users of whom training saw neither history nor question?",
        answer=f"On users left out of training AUC is {said(alone)} with the instruction, {gain(change)} against the "
        f"model that was trained on them too, {held}.",
        varied="what training saw of the users judged",
        rows=made,
        notes=[
            "Half of the users, chosen by a stable hash, left out of everything fitted: normalisers, map and network. "
            "Both models saw as many histories in as many steps. Probes learn and are judged on the left-out half.",
            *notes,
        ],
    )
