"""Models trained in memory for a comparison: same data, seed and steps, one thing changed; their vectors are kept."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from instructue.config_model import ModelConfig
from instructue.evaluation.answers import Answers
from instructue.evaluation.cache import digest, key_of
from instructue.evaluation.studies.bench import Bench
from instructue.files import remove, replacing
from instructue.models.bring import MANIFEST
from instructue.sources.ingest import write_table
from instructue.sources.tables import VECTORS, Tables
from instructue.training.batches import Batches
from instructue.training.build import SHAPING, Parts, build, code, load_triplets
from instructue.training.distributed import alone
from instructue.training.fit import make_batches
from instructue.training.loop import Trainer, train
from instructue.userqa.schema import WORDINGS

LEFT_OUT = "left_out"  # split of the histories that a trial does not learn from
EMBEDDING = (*SHAPING, "embedding")  # what code shapes a trial's vectors


@dataclass(frozen=True)
class Trial:
    """A training run: `model` as in params.yaml but for what is tried, and the users that it never sees.

    said_as: what it learns from instead of the stage's triplets, made from them row by row.
    """

    name: str
    model: ModelConfig
    without: pl.Series | None = None
    said_as: Callable[[pl.DataFrame], pl.DataFrame] | None = None

    def tables(self, tables: Tables) -> Tables:
        """The tables as this trial learns from them; histories keep their row numbers, which triplets name."""
        if self.without is None:
            return tables
        gone = pl.col("user").is_in(self.without.implode()) & (pl.col("split") == "train")
        split = pl.when(gone).then(pl.lit(LEFT_OUT)).otherwise("split")
        return replace(tables, histories=tables.histories.with_columns(split=split))


@dataclass(frozen=True)
class Made:
    """vectors: user, task, context, method, vector, as Bench.embed gives them; answers: the yes-or-no tasks' own."""

    vectors: pl.DataFrame
    answers: Answers


class Trials:
    """Runs trials one after another. Two that see the same triplets under the same plan share the text vectors."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.folder = bench, bench.paths.cache / "studies"
        self._batches: dict[str, Batches] = {}

    def vectors(self, trial: Trial, requests: pl.DataFrame) -> pl.DataFrame:
        """Embeddings of the requests by the trial's model: those kept from before, or trained and embedded now.

        A killed run goes on: from the last checkpoint in training, and past every trial that was finished.
        """
        return self._kept(trial, requests, answers=False)[0]

    def made(self, trial: Trial, requests: pl.DataFrame) -> Made:
        """The same and the yes-or-no tasks' answers by the trial's model."""
        vectors, answers = self._kept(trial, requests, answers=True)
        return Made(vectors, Answers(answers))

    def _kept(self, trial: Trial, requests: pl.DataFrame, *, answers: bool) -> list[pl.DataFrame]:
        bench, key = self.bench, self._key(trial, requests, self.bench.said.write_csv() if answers else "")
        paths = [self.folder / f"{trial.name}-{key}{end}.parquet" for end in ("", "-answers")[: 1 + answers]]
        if not all(path.is_file() for path in paths):
            parts = self._train(trial, key)
            made = [bench.embed(parts, bench.tables, requests, trial.model)]
            made += [bench.answers(parts).table] if answers else []
            for table, path in zip(made, paths, strict=True):
                write_table_at(table, path)
            remove(self.folder / f"training-{key}")
        return [pl.read_parquet(path) for path in paths]

    def _train(self, trial: Trial, key: str) -> Parts:
        bench, tables = self.bench, trial.tables(self.bench.tables)
        triplets = load_triplets(bench.paths, bench.tables)
        if trial.without is not None:
            triplets = triplets.filter(~pl.col("user").is_in(trial.without.implode()))
        if trial.said_as is not None:
            triplets = trial.said_as(triplets)
        parts = build(trial.model, tables, bench.paths, triplets["instruction"])
        trainer = Trainer(parts.model, trial.model.training, parts.dtype, alone(trial.model.training))
        train(trainer, self._steps(trial, triplets, parts), self.folder / f"training-{key}", key)
        return parts

    def _steps(self, trial: Trial, triplets: pl.DataFrame, parts: Parts) -> Batches:
        config = trial.model
        drawn = ("steps", "users", "instructions", "seed")  # what fixes which triplets are learnt from
        same = key_of(*(getattr(config.training, name) for name in drawn), triplets["example"].to_numpy())
        same += "" if trial.said_as is None else trial.name
        if same not in self._batches:
            whole = self.bench.config.model_copy(update={"model": config})
            self._batches[same] = make_batches(whole, self.bench.paths, triplets, parts)
        first = self._batches[same]
        return Batches(parts.packer, triplets, first.plan, first.vectors, config, config.training.source_dropout)

    def _key(self, trial: Trial, requests: pl.DataFrame, said: str = "") -> str:
        paths = self.bench.paths
        files = [paths.userqa / "triplets.parquet", paths.histories / "histories.parquet", paths.base_models / MANIFEST]
        files.append(paths.histories / VECTORS)
        files += [paths.table(s.name) for s in self.bench.tables.dataset.sources] + [paths.texts()]
        asked = requests.with_columns(pl.col("hides").list.join(",")).write_csv().encode()
        without = [] if trial.without is None else trial.without.to_list()
        without += [] if trial.said_as is None else [digest(paths.userqa / WORDINGS)]
        return key_of(trial.model.model_dump(), without, [digest(f) for f in files], code(EMBEDDING), asked, said)


def write_table_at(table: pl.DataFrame, path: Path) -> None:
    """Write Parquet whole or not at all, its folder made if need be."""
    with replacing(path) as temporary:
        write_table(table, temporary)
