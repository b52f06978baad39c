"""Each step of the chain as a function (config, paths) -> StageReport. Heavy imports live inside.

Run one with `python -m instructue STAGE`, all with `dvc repro` or from Dagster: the same functions, the same files.
"""

from collections.abc import Callable

from instructue.config import Config
from instructue.paths import Paths
from instructue.report import StageReport

Stage = Callable[[Config, Paths], StageReport]


def base_models(config: Config, paths: Paths) -> StageReport:
    """Language model and text encoder, converted and checked."""
    from instructue.models.bring import bring_base_models

    manifest = bring_base_models(config.base_models, paths.base_models)
    table = [
        {"model": k, "from": f"{v['source']} {v['name']}", "layers": v["layers"], "MB": round(v["bytes"] / 1e6)}
        for k, v in manifest.items()
    ]
    return StageReport(
        "base_models", metrics={"bytes": sum(v["bytes"] for v in manifest.values())}, tables={"models": table}
    )


def sources(config: Config, paths: Paths) -> StageReport:
    """Tidy tables of every source, staged for validation."""
    from instructue.sources.ingest import stage_sources

    return stage_sources(config, paths)


def validation(config: Config, paths: Paths) -> StageReport:
    """Staged tables checked; what passes is published, what fails goes to quarantine with its reason."""
    from instructue.sources.publish import validate_and_publish

    return validate_and_publish(config, paths)


def histories(config: Config, paths: Paths) -> StageReport:
    """As-of histories at every snapshot, and a vector for every distinct event text and value in it."""
    from instructue.sources.ingest import stage_histories

    return stage_histories(config, paths)


def userqa(config: Config, paths: Paths) -> StageReport:
    """(history, instruction, answer) triplets, worded, checked against their facts."""
    from instructue.userqa.generate import build_userqa

    return build_userqa(config, paths)


def model(config: Config, paths: Paths) -> StageReport:
    """The user model, trained jointly; logged to MLflow."""
    from instructue.training.fit import fit

    return fit(config, paths)


def embeddings(config: Config, paths: Paths) -> StageReport:
    """Every user under every task's instruction and under none, and the answers that they are compared with."""
    from instructue.embedding.embed import embed_tasks
    from instructue.evaluation.answers import answers_of
    from instructue.evaluation.population import Population
    from instructue.evaluation.tasks import load_tasks, requests_for
    from instructue.sources.tables import load_tables

    population = Population.of(load_tables(config, paths))
    tasks = load_tasks(config.data.description(), config.evaluation.tasks)
    return embed_tasks(config, paths, requests_for(tasks, population), answers_of(tasks, population))


def studies(config: Config, paths: Paths) -> StageReport:
    """Experiments about claims: does the vector follow the question, what does noise take, what is each loss worth."""
    from instructue.evaluation.studies.run import run_studies

    return run_studies(config, paths)


def evaluation(config: Config, paths: Paths) -> StageReport:
    """All methods on all tasks, with intervals, as a report."""
    from instructue.evaluation.run import evaluate

    return evaluate(config, paths)


STAGES: dict[str, Stage] = {
    stage.__name__: stage
    for stage in (base_models, sources, validation, histories, userqa, model, embeddings, studies, evaluation)
}
