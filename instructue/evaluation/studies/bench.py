"""What all studies stand on: the tables, the trained model, who is judged, and embedding of any histories by it."""

import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from instructue.batching.features import HistoryFeatures
from instructue.config import Config
from instructue.config_model import ModelConfig
from instructue.embedding.embed import embed_answers, embed_jobs, make_jobs
from instructue.evaluation.answers import Answers, answers_of
from instructue.evaluation.population import Population
from instructue.evaluation.protocol import Protocol
from instructue.evaluation.results import GENERAL, OURS
from instructue.evaluation.tasks import TaskSpec, load_tasks
from instructue.evaluation.vectors import Embeddings
from instructue.models.text_encoder import TextEncoder
from instructue.paths import Paths
from instructue.sources.events import stable_sample
from instructue.sources.tables import Tables, load_tables
from instructue.training.build import Parts, load


@dataclass
class Bench:
    """Everything is read when it is first asked for. `known` grows: the text vector of each instruction."""

    config: Config
    paths: Paths

    def __post_init__(self) -> None:
        self.known: dict[str, np.ndarray] = {}

    @cached_property
    def tables(self) -> Tables:
        return load_tables(self.config, self.paths)

    @cached_property
    def population(self) -> Population:
        """All users of the evaluation snapshot."""
        return Population.of(self.tables)

    @cached_property
    def tasks(self) -> list[TaskSpec]:
        """All tasks of the data set; they balance the folds too."""
        return load_tasks(self.config.data.description())

    @cached_property
    def chosen(self) -> list[TaskSpec]:
        """The tasks that the evaluation runs, which are those that have published embeddings."""
        only = self.config.evaluation.tasks
        return [task for task in self.tasks if not only or task.name in only]

    @cached_property
    def parts(self) -> Parts:
        """The trained model of data/model."""
        return load(self.paths.model, self.config.model, self.tables, self.paths)

    def told(self, vectors: np.ndarray) -> np.ndarray:
        """[..., told] what the language model writes of vectors [..., dim]; the rest is the history's place on the map
        and the evidence."""
        model = self.parts.model
        return vectors @ model.turn_EE.numpy().T[:, : model.shape.told_width]

    @cached_property
    def embeddings(self) -> Embeddings:
        """What the embeddings stage left."""
        return Embeddings.read(self.paths, self.population)

    @cached_property
    def encoder(self) -> TextEncoder:
        return TextEncoder.of(self.paths)

    @cached_property
    def sample(self) -> Population:
        """The studies' users: studies.users of the population, chosen by a stable hash."""
        return among(self.population, stable_sample(self.population.users, self.config.studies.users))

    def protocol(self, population: Population) -> Protocol:
        return Protocol.draw(self.config.evaluation, population, self.tasks)

    @cached_property
    def said(self) -> pl.DataFrame:
        """The answers of the yes-or-no tasks: see answers_of."""
        return answers_of([task for task in self.chosen if task.family != "recommendation"], self.population)

    def answers(self, parts: Parts) -> Answers:
        """The same with vectors by this model."""
        return Answers(embed_answers(parts, self.encoder, self.said))

    def encode(self, texts: list[str]) -> None:
        """Make sure that these instructions' text vectors are known."""
        if missing := sorted(set(texts) - self.known.keys()):
            self.known |= dict(zip(missing, self.encoder.encode(missing), strict=True))

    def embed(
        self,
        parts: Parts,
        tables: Tables,
        requests: pl.DataFrame,
        model: ModelConfig | None = None,
        batch: int | None = None,
    ) -> pl.DataFrame:
        """Embed requests (user, task, context, instruction, hides) and their users in general, as embed.embed does.

        model: what `parts` are of, where it is not the project's. batch: users per pass, where not as in params.yaml.

        Returns user, task, context, method (instructue or instructue_general), vector.
        """
        self.encode(requests["instruction"].unique().to_list())
        at = tables.histories.with_row_index("position").filter(pl.col("split") == "evaluation")
        rows = requests.join(at.select("user", "position"), on="user").with_row_index("request")
        jobs = make_jobs(rows, batch or self.config.embeddings.batch_users)
        config = self.config if model is None else self.config.model_copy(update={"model": model})
        return pl.concat(embed_jobs(parts, config, rows, jobs, self.known, OURS, GENERAL))

    def published(self, requests: pl.DataFrame) -> pl.DataFrame | None:
        """The trained model's vectors as the embeddings stage left them; None unless all requests are there."""
        table = self.embeddings.table.filter(pl.col("method").is_in([OURS, GENERAL]))
        table = table.filter(pl.col("user").is_in(requests["user"].unique().implode()))
        key = ["user", "task", "context"]
        missing = requests.join(table.filter(pl.col("method") == OURS), on=key, how="anti")
        return None if missing.height else table.drop("snapshot", strict=False)

    def on(self, tables: Tables) -> Parts:
        """The trained model reading other histories of the same texts; what was fitted in training stays."""
        network = self.config.model.network
        features = HistoryFeatures(tables, network.windows_days, network.map_width)
        features.fitted = self.parts.features.fitted
        packer = copy.copy(self.parts.packer)
        packer.features = features
        return Parts(features, packer, self.parts.model, self.parts.dtype)


def among(population: Population, users: pl.Series) -> Population:
    """The same population without all others."""
    tables = population.tables
    histories = population.histories.filter(pl.col("user").is_in(users.implode()))
    return Population.of(replace(tables, histories=histories))
