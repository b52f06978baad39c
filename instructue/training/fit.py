"""The model stage: data in, a trained bundle and its MLflow run out."""

import hashlib
import json
import logging
from pathlib import Path

import polars as pl
import torch

from instructue.batching.sampler import plan_steps
from instructue.config import Config
from instructue.errors import DataError
from instructue.files import remove, write_json
from instructue.network.checkpoint import save_bundle
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.tables import Tables, load_tables
from instructue.training.batches import Batches, TextVectors
from instructue.training.build import Parts, base_model_digest, build, texts_digest
from instructue.training.curves import draw_curves
from instructue.training.loop import Trainer, train
from instructue.training.tracking import flat, run

log = logging.getLogger(__name__)
CURVES = "training.json"


def fit(config: Config, paths: Paths) -> StageReport:
    """Train on the UserQA triplets and write data/model. A killed run goes on from its last checkpoint."""
    tables = load_tables(config, paths)
    triplets = load_triplets(paths, tables)
    parts = build(config.model, tables, paths)
    batches = make_batches(config, paths, triplets, parts)
    trainer = Trainer(parts.model, config.model.training, parts.dtype)
    hashes = {
        "userqa": _sha256(paths.userqa / "triplets.parquet"),
        "histories": _sha256(paths.histories / "histories.parquet"),
    }
    fingerprint = hashlib.sha256(
        json.dumps([config.model.model_dump(), hashes, base_model_digest(paths)]).encode()
    ).hexdigest()
    checkpoints = paths.cache / "training"
    with run(paths, "model", {f"data.{k}": v for k, v in hashes.items()}) as (mlflow, run_id):
        mlflow.log_params(flat(config.model.model_dump()))

        def on_step(number: int, figures: dict[str, float]) -> None:
            if number % 5 == 0 or number + 1 == len(batches):
                mlflow.log_metrics(figures, step=number)

        train(trainer, batches, checkpoints, fingerprint, on_step)
        settings = {
            "base_model": base_model_digest(paths),
            "texts": texts_digest(tables),
            "network": config.model.network.model_dump(),
            "mlflow_run": run_id,
            "data": hashes,
        }
        fitted = {k: torch.from_numpy(v) for k, v in vars(parts.features.fitted).items()}
        save_bundle(paths.model, parts.model, fitted, settings)
        write_json(paths.model / CURVES, trainer.history)
        draw_curves(trainer.history, paths.model / "curves.png")
        mlflow.log_artifacts(str(paths.model), "model")
    remove(checkpoints)
    return _describe(trainer, paths, triplets, run_id)


def load_triplets(paths: Paths, tables: Tables) -> pl.DataFrame:
    """UserQA's triplets. Raises DataError if absent, or if one does not belong to a training history."""
    path = paths.userqa / "triplets.parquet"
    if not path.is_file():
        raise DataError(f"{path} is not there; run the userqa stage first: python -m instructue userqa")
    triplets = pl.read_parquet(path)
    training = tables.histories.filter(pl.col("split") == "train").select("example", "user", "snapshot")
    strangers = triplets.join(training, on=["example", "user", "snapshot"], how="anti")
    if strangers.height:
        raise DataError(
            f"{path}: {strangers.height} triplets belong to no training history, first {strangers.row(0, named=True)}"
        )
    return triplets


def make_batches(config: Config, paths: Paths, triplets: pl.DataFrame, parts: Parts) -> Batches:
    """The plan of all steps, and the vectors of just those texts that it uses."""
    from instructue.models.text_encoder import TextEncoder

    plan = plan_steps(triplets, config.model.training)
    used = triplets[plan.triplets.ravel()].select("instruction", "answer", "opposite")
    texts = sorted({t for column in used.get_columns() for t in column.unique().drop_nulls()})
    log.info("encoding %d distinct instructions and answers", len(texts))
    encoder = TextEncoder(paths.text_encoder, config.model.training.dtype)
    vectors = TextVectors(texts, encoder.encode(texts))
    return Batches(parts.packer, triplets, plan, vectors, config.model, config.model.training.source_dropout)


def _describe(trainer: Trainer, paths: Paths, triplets: pl.DataFrame, run_id: str) -> StageReport:
    tail = trainer.history[-min(10, len(trainer.history)) :]
    last = {name: sum(row.get(name, 0.0) for row in tail) / len(tail) for name in tail[-1]}
    config = trainer.config
    return StageReport(
        "model",
        rows={"triplets": triplets.height},
        metrics={**last, "triplets_seen": config.steps * config.users * config.instructions},
        plots={"curves": paths.model / "curves.png"},
        links={"mlflow_run": run_id, "mlflow_store": paths.mlflow_uri},
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
