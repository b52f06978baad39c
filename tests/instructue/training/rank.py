"""A training process of test_distributed.py, in place of instructue.training.worker: `-m ... FOLDER ROOT`.

Trains on the text vectors that the test left beside FOLDER, stops after a step, goes on from the checkpoint to the end,
says in a report how it went. Then rank 1 is killed while rank 0 waits for it.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from instructue.report import StageReport
from instructue.training.launch import CONFIG, leave_report

STOP = 2  # the step after which the first attempt stops


class Stopped(Exception):
    pass


def prepare(config, paths, ranks, folder: Path):
    """The network and the batches of this process."""
    import numpy as np
    import polars as pl

    from instructue.batching.sampler import plan_steps
    from instructue.sources.tables import load_tables
    from instructue.training.batches import Batches, TextVectors
    from instructue.training.build import build, load_triplets

    tables = load_tables(config, paths)
    triplets = load_triplets(paths, tables)
    parts = build(config.model, tables, paths, triplets["instruction"])
    texts = pl.read_parquet(folder / "texts.parquet")["text"].to_list()
    vectors = TextVectors(texts, ranks.from_first(lambda: np.load(folder / "vectors.npy")))
    plan = plan_steps(triplets, config.model.training)
    return parts, Batches(parts.packer, triplets, plan, vectors, config.model, 0.1, ranks)


def main(folder: Path, root: Path) -> None:
    from instructue.config import Config
    from instructue.paths import Paths
    from instructue.training.distributed import joined
    from instructue.training.loop import Trainer, train

    config = Config.model_validate_json((folder / CONFIG).read_text())
    seen: list[dict] = []

    def stop(number: int, figures: dict) -> None:
        seen.append(figures)
        if number == STOP:
            raise Stopped

    with joined(config.model.training) as ranks:
        parts, batches = prepare(config, Paths(root), ranks, folder.parent)
        for on_step in (stop, None):
            # The second one starts from other weights than a fresh process would: all must come from the checkpoint.
            trainer = Trainer(parts.model, config.model.training, parts.dtype, ranks)
            with contextlib.suppress(Stopped):
                train(trainer, batches, folder.parent / "checkpoints", "one run", on_step)
        history = trainer.history
        if ranks.first:
            leave_report(folder, StageReport("model", tables={"history": history, "before": seen}))
        ranks.agree(0, "that the report is written")
        if not ranks.first:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # torchrun has to end this one


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
