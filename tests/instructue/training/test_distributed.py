"""Several processes learn what one learns; chunks of a step have the whole step's gradient; a dead process ends all."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure, record

from instructue.errors import ConfigError, DataError
from instructue.paths import Paths
from instructue.sources.tables import load_tables
from instructue.training.batches import Batches
from instructue.training.build import build, load_triplets
from instructue.training.devices import device_of
from instructue.training.fit import fit, make_batches
from instructue.training.launch import REPORT, TrainingFailed, in_processes, said_of
from instructue.training.loop import Trainer, train
from tests.instructue.training.rank import STOP

ROOT = Path(__file__).parents[3]
RANK = "tests.instructue.training.rank"
# Three histories for two processes: one has a chunk more than the other.
SMALL = {"users": 3, "steps": 4, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def scene(asked):
    """(config, paths, parts, batches) of a run of four steps in one process, all of a step at once."""
    config, paths = asked
    config = with_training(config, **SMALL)
    tables = load_tables(config, paths)
    triplets = load_triplets(paths, tables)
    parts = build(config.model, tables, paths, triplets["instruction"])
    return config, paths, parts, make_batches(config, paths, triplets, parts)


def with_training(config, **training):
    changes = {f"training.{name}": value for name, value in training.items()}
    return config.model_copy(update={"model": config.model.changed(changes)})


def in_chunks(scene, size: int) -> Batches:
    config, _, parts, whole = scene
    triplets = pl.DataFrame({k: getattr(whole, k) for k in ("instruction", "answer", "opposite", "example")})
    chunked = config.model.changed({"training.micro_batch": size})
    return Batches(parts.packer, triplets, whole.plan, whole.vectors, chunked, 0.1)


def gradients(trainer: Trainer, batch) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """What one step adds to each trained parameter, the temperature among them."""
    figures = trainer.gradients(batch)
    named = [*trainer.model.named_parameters(), ("log_temperature", trainer.log_temperature)]
    found = {name: p.grad.clone() for name, p in named if p.grad is not None}
    trainer.optimizer.zero_grad(set_to_none=True)
    return found, figures


@pytest.mark.parametrize("size", [1, 2])
def test_chunks_have_the_gradient_of_the_whole_step(scene, size):
    config, _, parts, whole = scene
    trainer = Trainer(parts.model, config.model.training, parts.dtype)
    trainer.model.train()
    chunked = in_chunks(scene, size)[1]
    assert [len(chunk.own_BM) for chunk in chunked.chunks] == {1: [1, 1, 1], 2: [2, 1]}[size]
    plain, figures = gradients(trainer, whole[1])
    cached, again = gradients(trainer, chunked)
    assert again == pytest.approx(figures, abs=1e-5)
    assert "autoregressive" in figures and plain.keys() == cached.keys()
    assert {"log_temperature", "answer_head.weight", "text_head.weight"} <= plain.keys()
    assert any("lora" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(cached[name], gradient, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_the_gradient_counts_every_chunks_answers_as_negatives(scene):
    """What accumulating gradients the plain way would give instead: each chunk against its own answers only."""
    config, _, parts, whole = scene
    trainer = Trainer(parts.model, config.model.training, parts.dtype)
    plain, _ = gradients(trainer, whole[1])
    chunked = in_chunks(scene, 1)[1]
    for chunk in chunked.chunks:
        own = torch.zeros(chunk.excluded_NA.shape[1], dtype=torch.bool)
        own[chunk.positive_N] = own[chunk.opposite_N[chunk.opposite_N >= 0]] = True
        chunk.excluded_NA |= ~own
    short, _ = gradients(trainer, chunked)
    assert (short["answer_head.weight"] - plain["answer_head.weight"]).abs().max() > 1e-3


def test_two_processes_learn_what_one_learns_and_resume_exactly_and_end_together(scene, tmp_path, monkeypatch):
    config, paths, _, batches = scene
    tables = load_tables(config, paths)
    said = load_triplets(paths, tables)["instruction"]
    alone = Trainer(build(config.model, tables, paths, said).model, config.model.training, torch.float32)
    train(alone, batches, tmp_path, "one run")
    there = Paths(tmp_path)
    (tmp_path / "data").symlink_to(paths.root / "data")
    there.cache.mkdir()
    texts = sorted(batches.vectors.place, key=batches.vectors.place.__getitem__)
    pl.DataFrame({"text": texts}).write_parquet(there.cache / "texts.parquet")
    np.save(there.cache / "vectors.npy", batches.vectors.vectors)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Starting two processes takes longer than all that they do, so one start shows everything.
    with pytest.raises(TrainingFailed, match="process 1 of 2 was killed by SIGKILL.*lower model.training.micro_batch"):
        in_processes(with_training(config, processes=2, micro_batch=1), there, worker=RANK)
    said = json.loads((there.cache / "processes" / REPORT).read_text())["tables"]
    assert said["history"][: STOP + 1] == said["before"], "the step computed twice should be the same to the digit"
    assert len(said["history"]) == len(alone.history) == SMALL["steps"]
    for together, single in zip(said["history"], alone.history, strict=True):
        assert together == pytest.approx(single, rel=1e-4, abs=1e-4)


def test_the_cause_is_named_not_what_followed_from_it(tmp_path, monkeypatch):
    """Rank 0 loses its connection because rank 1 stopped on an error, or was killed."""

    def failed(rank: int, error: Exception, at: int) -> ProcessFailure:
        path = tmp_path / f"{rank}.json"
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
        with pytest.raises(type(error)):
            record(raising)(error)
        kept = json.loads(path.read_text())
        kept["message"]["extraInfo"]["timestamp"] = at
        path.write_text(json.dumps(kept))
        return ProcessFailure(rank, 100 + rank, 1, str(path))

    def raising(error: Exception) -> None:
        raise error

    lost = failed(0, RuntimeError("connection closed by peer"), 2)
    cause = failed(1, DataError("triplets.parquet: planted"), 1)
    killed = ProcessFailure(1, 101, -11, "<N/A>")
    silent = ProcessFailure(1, 101, 3, "<N/A>")
    assert said_of(ChildFailedError("x", {0: lost, 1: cause}), 2) == (
        "training process 1 of 2 failed and the others were ended: DataError: triplets.parquet: planted"
    )
    assert "process 1 of 2 was killed by SIGSEGV" in said_of(ChildFailedError("x", {0: lost, 1: killed}), 2)
    assert "process 1 of 2 failed" in said_of(ChildFailedError("x", {1: silent}), 2)


def test_more_processes_than_histories_are_refused(asked, monkeypatch):
    config, paths = asked
    with pytest.raises(ConfigError, match="processes 5 share 4 users"):
        with_training(config, processes=5)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ConfigError, match="5 processes share model.training.users: 4"):
        fit(config, paths)


def test_a_gpu_that_is_not_there_is_an_error_with_its_mend(asked, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # on a machine that has one
    assert device_of("auto").type == "cpu"
    with pytest.raises(ConfigError, match="set it to auto or cpu"):
        fit(with_training(asked[0], device="cuda"), asked[1])
