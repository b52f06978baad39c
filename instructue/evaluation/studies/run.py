"""The `studies` stage: the experiments that params.yaml names, on the trained model, as reports/studies.json."""

from collections.abc import Callable

from instructue.config import Config
from instructue.evaluation.results import Study
from instructue.evaluation.studies.ablations import ablations
from instructue.evaluation.studies.bench import Bench
from instructue.evaluation.studies.items import item_by_item
from instructue.evaluation.studies.losses import losses
from instructue.evaluation.studies.neighbours import neighbours
from instructue.evaluation.studies.paraphrases import paraphrases
from instructue.evaluation.studies.retrain import Trials
from instructue.evaluation.studies.robustness import robustness
from instructue.evaluation.studies.stored import write_studies
from instructue.evaluation.studies.taught import taught
from instructue.evaluation.studies.transfer import transfer
from instructue.evaluation.studies.unseen_users import unseen_users
from instructue.paths import Paths
from instructue.report import StageReport

CLAIMS: dict[str, Callable[[Bench, Trials], list[Study]]] = {
    "following": lambda bench, _: [*neighbours(bench), *paraphrases(bench)],
    "robustness": lambda bench, _: robustness(bench),
    "item_by_item": lambda bench, _: item_by_item(bench),
    "losses": losses,
    "ablations": ablations,
    "unseen_users": unseen_users,
    "taught": taught,
    "transfer": transfer,
}

NEEDS = {"item_by_item": "no ranking task with enough users says how one item is asked about (`each`, docs/tasks.md)"}


def run_studies(config: Config, paths: Paths) -> StageReport:
    """Run the claims of studies.run in the order of CLAIMS. Raises DataError if an earlier stage has not run."""
    bench = Bench(config, paths)
    trials = Trials(bench)
    found: list[Study] = []
    notes = []
    for claim, make in CLAIMS.items():
        if claim not in config.studies.run:
            continue
        made = make(bench, trials)
        if not made:
            needs = NEEDS.get(claim, "no task of this data set can be used for it")
            notes.append(f"{claim}: {needs}; left out")
        found += made
    write_studies(paths.studies_report, found)
    return StageReport(
        "studies",
        rows={"studies": len(found), "rows": sum(len(s.rows) for s in found)},
        tables={"answers": [{"study": s.name, "answer": s.answer} for s in found]},
        links={"json": str(paths.studies_report)},
        notes=notes,
    )
