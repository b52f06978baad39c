"""The model stage: data in, a trained bundle and its MLflow run out."""

import dataclasses
import hashlib
import json
import logging
from contextlib import nullcontext

import polars as pl
import torch

from instructue.batching.sampler import plan_steps
from instructue.config import Config
from instructue.config_model import ModelConfig
from instructue.files import remove, sha256, write_json
from instructue.network.checkpoint import save_bundle
from instructue.paths import Paths
from instructue.report import StageReport
from instructue.sources.tables import load_tables
from instructue.sources.values import dictionary_digest
from instructue.training.batches import Batches, TextVectors
from instructue.training.build import Parts, base_model_digests, build, code, load_triplets
from instructue.training.curves import draw_curves
from instructue.training.distributed import ALONE, Ranks, joined, started_by_torchrun
from instructue.training.launch import in_processes
from instructue.training.loop import Trainer, train
from instructue.training.tracking import MODEL, flat, run

log = logging.getLogger(__name__)
CURVES = "training.json"


def fit(config: Config, paths: Paths) -> StageReport:
    """Train on the UserQA triplets and write data/model. A killed run goes on from its last checkpoint.

    In model.training.processes processes, or in as many as torchrun has started this in.
    """
    if config.model.training.processes > 1 and not started_by_torchrun():
        return in_processes(config, paths)
    with joined(config.model.training) as ranks:
        return _fit(config, paths, ranks)


def _fit(config: Config, paths: Paths, ranks: Ranks) -> StageReport:
    tables = load_tables(config, paths)
    triplets = load_triplets(paths, tables)
    parts = build(config.model, tables, paths, triplets["instruction"])
    batches = make_batches(config, paths, triplets, parts, ranks)
    trainer = Trainer(parts.model, config.model.training, parts.dtype, ranks)
    hashes = {
        "userqa": sha256(paths.userqa / "triplets.parquet"),
        "histories": sha256(paths.histories / "histories.parquet"),
    }
    checkpoints, fingerprint = paths.cache / "training", _fingerprint(config.model, hashes, paths)
    tags = {f"data.{k}": v for k, v in hashes.items()}
    with run(paths, "model", tags) if ranks.first else nullcontext((None, "")) as (mlflow, run_id):

        def on_step(number: int, figures: dict[str, float]) -> None:
            if mlflow and (number % 5 == 0 or number + 1 == len(batches)):
                mlflow.log_metrics(figures, step=number)

        if mlflow:
            mlflow.log_params(flat(config.model.model_dump()))
        train(trainer, batches, checkpoints, fingerprint, on_step)
        if mlflow:
            settings = {
                **base_model_digests(paths),
                "texts": dictionary_digest(tables.texts, tables.values),
                **config.model.model_dump(),
                "data": hashes,
            }
            held = parts.features.fitted
            fitted = {field.name: torch.from_numpy(getattr(held, field.name)) for field in dataclasses.fields(held)}
            save_bundle(paths.model, parts.model, fitted, settings)
            write_json(paths.model / CURVES, trainer.history)
            draw_curves(trainer.history, paths.model / "curves.png")
            # The run is found by the weights, not they by the run: the same data and code leave the same bytes.
            mlflow.set_tag(MODEL, sha256(paths.weights))
            mlflow.log_artifacts(str(paths.model), "model")
            remove(checkpoints)
    return _describe(trainer, paths, triplets, run_id)


def _fingerprint(model: ModelConfig, hashes: dict[str, str], paths: Paths) -> str:
    """What a checkpoint must be of to go on from it. How a step is computed may differ: its result is the same."""
    shaping = model.model_dump(exclude={"training": {"micro_batch", "processes", "device"}})
    return hashlib.sha256(json.dumps([shaping, hashes, base_model_digests(paths), code()]).encode()).hexdigest()


def make_batches(config: Config, paths: Paths, triplets: pl.DataFrame, parts: Parts, ranks: Ranks = ALONE) -> Batches:
    """The plan of all steps, and the vectors of just those texts that it uses."""
    from instructue.models.text_encoder import TextEncoder

    plan = plan_steps(triplets, config.model.training)
    used = triplets[plan.triplets.ravel()].select("instruction", "answer", "opposite")
    texts = sorted({t for column in used.get_columns() for t in column.unique().drop_nulls()})
    log.info("encoding %d distinct instructions and answers", len(texts))
    made = ranks.from_first(lambda: TextEncoder.of(paths, config.model.training.dtype).encode(texts, progress=True))
    vectors = TextVectors(texts, made)
    return Batches(parts.packer, triplets, plan, vectors, config.model, config.model.training.source_dropout, ranks)


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
