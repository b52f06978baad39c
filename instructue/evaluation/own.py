"""`python -m instructue evaluate`: a team's own tasks, or one task and method, under the same protocol and report."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from instructue.config import Config
from instructue.errors import ConfigError, DataError
from instructue.evaluation.answers import Answers, answers_of
from instructue.evaluation.cache import digest, key_of
from instructue.evaluation.population import Population
from instructue.evaluation.report.write import write_reports
from instructue.evaluation.results import GENERAL, UNTRAINED
from instructue.evaluation.run import Judgement, assess, describe, with_external
from instructue.evaluation.tasks import TaskSpec, load_tasks, read_tasks, requests_for
from instructue.evaluation.vectors import Embeddings
from instructue.files import replacing
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.ingest import write_table
from instructue.sources.tables import load_tables

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What the command line asked for; empty lists mean all. `file`: a team's own tasks instead of the data set's."""

    file: Path | None = None
    tasks: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    def stem(self, paths: Paths) -> Path:
        """Where the report goes: never over the stage's own, which DVC follows."""
        named = [self.file.stem.removesuffix(".tasks")] if self.file else []
        return paths.reports / "-".join(["evaluation", *named, *self.tasks, *self.methods, *([] if named else ["own"])])


def evaluate_own(config: Config, paths: Paths, wish: Wish) -> StageReport:
    """Judge what is wished, embedding what is missing, and write the report to reports/evaluation-....

    Raises ConfigError for unknown tasks or methods, DataError for a method without vectors, and as the stages do.
    """
    population = Population.of(load_tables(config, paths))
    tasks = wished_tasks(config, population, wish)
    embeddings, answers = Embeddings.read(paths, population), Answers.read(paths)
    if wish.file is not None:
        embeddings, answers = embedded(config, paths, population, tasks, embeddings)
    if UNTRAINED in wish.methods and UNTRAINED not in embeddings.table["method"]:
        raise DataError(
            f"method {UNTRAINED} has no vectors in {paths.embeddings}; set embeddings.untrained: true in "
            f"{paths.params.name} and run the embeddings stage again: python -m instructue embeddings"
        )
    embeddings, others = with_external(embeddings, config, paths, population)
    results = assess(config, paths, Judgement(population, tasks, embeddings, answers, wish.methods, others))
    stem = wish.stem(paths)
    write_reports(results, stem)
    return describe(results, stem, {})


def wished_tasks(config: Config, population: Population, wish: Wish) -> list[TaskSpec]:
    """Raises ConfigError for a name that no task has."""
    if wish.file is None:
        return load_tasks(config.data.description(), wish.tasks or config.evaluation.tasks)
    tasks = read_tasks(wish.file, population.tables.dataset)
    if missing := sorted(set(wish.tasks) - {task.name for task in tasks}):
        raise ConfigError(f"{wish.file} has no task {', '.join(missing)}; it has {[task.name for task in tasks]}")
    return [task for task in tasks if not wish.tasks or task.name in wish.tasks]


def embedded(
    config: Config, paths: Paths, population: Population, tasks: list[TaskSpec], stage: Embeddings
) -> tuple[Embeddings, Answers]:
    """Embeddings and answers of a team's own tasks, kept for the next time under the model's and the tasks' version.

    General vectors, which depend on no task, are those of the stage.
    """
    from instructue.embedding.embed import embed

    asked, said = requests_for(tasks, population), answers_of(tasks, population)
    rows = asked.select("user", "task", "context", "instruction", pl.col("hides").list.join(",")).rows()
    model = [digest(paths.weights), digest(paths.histories / "histories.parquet"), config.embeddings.untrained]
    folder = paths.cache / "evaluation" / "embeddings" / key_of(model, rows, said.rows())
    if not folder.is_dir():
        log.info("embedding %d (user, instruction) pairs that no stage has embedded", asked.height)
        users, answers = embed(config, paths, asked, said)
        with replacing(folder) as temporary:
            temporary.mkdir(parents=True)
            write_table(users, temporary / "embeddings.parquet")
            write_table(answers, temporary / "answers.parquet")
    users = pl.read_parquet(folder / "embeddings.parquet")
    general = (pl.col("method") == GENERAL) & (pl.col("task") == "")
    everybody = stage.table.filter(general)
    users = pl.concat([users.filter(~general), everybody.select(users.columns)])
    return Embeddings.of(users, population, str(folder)), Answers(pl.read_parquet(folder / "answers.parquet"))
