"""A training process of test_distributed.py, in place of instructue.training.worker: `-m ... FOLDER ROOT`.

Trains on the text vectors that the test left in FOLDER, stops as if killed, goes on from the checkpoint.
$RANK_FAULT makes rank 1 fail at once instead: "kill" or "raise".
"""

import os
import signal
import sys
import time
from pathlib import Path

from instructue.errors import DataError
from instructue.report import StageReport
from instructue.training.launch import CONFIG, leave_report

STOP = 2  # the step after which the first attempt stops


class Stopped(Exception):
    pass


def fail(how: str) -> None:
    from torch.distributed.elastic.multiprocessing.errors import record

    def refuse() -> None:
        raise DataError("triplets.parquet: planted")

    if os.environ["RANK"] == "1":
        record(refuse)() if how == "raise" else os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # what the others do: wait; torchrun has to end them


def attempt(config, paths, ranks, folder: Path, on_step):
    import numpy as np
    import polars as pl

    from instructue.batching.sampler import plan_steps
    from instructue.sources.tables import load_tables
    from instructue.training.batches import Batches, TextVectors
    from instructue.training.build import build
    from instructue.training.fit import load_triplets
    from instructue.training.loop import Trainer, train

    tables = load_tables(config, paths)
    parts = build(config.model, tables, paths)
    triplets = load_triplets(paths, tables)
    texts = pl.read_parquet(folder / "texts.parquet")["text"].to_list()
    vectors = TextVectors(texts, ranks.from_first(lambda: np.load(folder / "vectors.npy")))
    plan = plan_steps(triplets, config.model.training)
    batches = Batches(parts.packer, triplets, plan, vectors, config.model, 0.1, ranks)
    trainer = Trainer(parts.model, config.model.training, parts.dtype, ranks)
    train(trainer, batches, folder / "checkpoints", "one run", on_step)
    return trainer.history


def main(folder: Path, root: Path) -> None:
    if fault := os.environ.get("RANK_FAULT"):
        fail(fault)
    from instructue.config import Config
    from instructue.paths import Paths
    from instructue.training.distributed import joined

    config = Config.model_validate_json((folder / CONFIG).read_text())
    seen: list[dict] = []

    def stop(number: int, figures: dict) -> None:
        seen.append(figures)
        if number == STOP:
            raise Stopped

    with joined(config.model.training) as ranks:
        try:
            attempt(config, Paths(root), ranks, folder.parent, stop)
        except Stopped:
            history = attempt(config, Paths(root), ranks, folder.parent, None)
        if ranks.first:
            leave_report(folder, StageReport("model", tables={"history": history, "before": seen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
