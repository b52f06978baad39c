"""Training: the same seed gives the same losses, a killed run ends where an unbroken one does, labels stay out."""

import polars as pl
import pytest
import torch

from instructue.errors import DataError
from instructue.sources.tables import load_tables
from instructue.training.build import build, load_triplets
from instructue.training.devices import exact
from instructue.training.fit import make_batches
from instructue.training.loop import Trainer, train


def _start(asked):
    config, paths = asked
    tables = load_tables(config, paths)
    triplets = load_triplets(paths, tables)
    parts = build(config.model, tables, paths, triplets["instruction"])
    batches = make_batches(config, paths, triplets, parts)
    return Trainer(parts.model, config.model.training, parts.dtype), batches


@pytest.fixture(scope="module")
def unbroken(asked, tmp_path_factory):
    trainer, batches = _start(asked)
    train(trainer, batches, tmp_path_factory.mktemp("checkpoints"), "one run")
    return trainer


def test_what_was_fitted_is_not_learnt(unbroken, asked):
    start, batches = _start(asked)
    fresh, learnt = start.model.state_dict(), unbroken.model.state_dict()
    for name in ("place_size_C", "evidence.asked.weight", "evidence.asked.bias", "evidence.whole.weight"):
        assert fresh[name].any() and torch.equal(fresh[name], learnt[name]), name
    assert not torch.equal(fresh["head.weight"], learnt["head.weight"])
    spread = torch.from_numpy(batches.packer.features.fitted.spread_C)
    torch.testing.assert_close(fresh["place_size_C"], spread / spread.norm())


def test_every_part_is_finite_and_logged_apart(unbroken, asked):
    assert len(unbroken.history) == asked[0].model.training.steps
    for row in unbroken.history:
        assert {"contrastive", "opposition", "autoregressive", "history", "temperature", "gradient_norm"} <= set(row)
        assert all(torch.isfinite(torch.tensor(v)) for v in row.values())


def test_a_killed_run_resumes_to_the_same_losses_to_the_digit(unbroken, asked, tmp_path):
    class Killed(Exception):
        pass

    def kill(number, _):
        if number == 4:
            raise Killed

    first, batches = _start(asked)
    with pytest.raises(Killed):
        train(first, batches, tmp_path, "one run", kill)
    second, batches = _start(asked)
    steps = []
    train(second, batches, tmp_path, "one run", lambda number, _: steps.append(number))
    assert steps[0] == 4, "it should go on from the checkpoint after step 4"
    assert second.history == unbroken.history


def test_gradients_added_up_by_index_are_the_same_to_the_digit_on_two_threads():
    drawn = torch.Generator().manual_seed(0)
    rows = torch.randint(50, (200_000,), generator=drawn)
    told = torch.randn(200_000, generator=drawn)

    def gradient():
        table = torch.zeros(50, requires_grad=True)
        (table[rows] * told).sum().backward()
        return table.grad

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with exact(torch.device("cpu")):
            first, *others = [gradient() for _ in range(8)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(first, other) for other in others)


def test_a_checkpoint_of_another_run_is_not_taken(asked, unbroken, tmp_path):
    unbroken.save(tmp_path, "another run")
    trainer, _ = _start(asked)
    assert trainer.resume(tmp_path, "one run") == 0
    assert trainer.history == []


def test_frozen_weights_do_not_move_and_trained_ones_do(asked, unbroken):
    fresh, _ = _start(asked)
    before, after = dict(fresh.model.named_parameters()), dict(unbroken.model.named_parameters())
    for name, parameter in before.items():
        moved = not torch.equal(parameter, after[name])
        if not parameter.requires_grad:
            assert not moved, name
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_one_batch_can_be_learnt(asked):
    trainer, batches = _start(asked)
    batch = batches[0]
    first = trainer.step(3, batch)
    for _ in range(12):
        last = trainer.step(3, batch)
    assert last["contrastive"] < 0.6 * first["contrastive"]
    assert last["autoregressive"] < first["autoregressive"]


def test_triplets_of_an_evaluation_history_are_refused(asked, tmp_path):
    config, paths = asked
    tables = load_tables(config, paths)
    stranger = tables.histories.filter(pl.col("split") == "evaluation").row(0, named=True)
    triplets = pl.read_parquet(paths.userqa / "triplets.parquet")
    planted = triplets.with_columns(
        example=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(stranger["example"], pl.UInt32)).otherwise("example")
    )
    other = type(paths)(tmp_path)
    other.userqa.mkdir(parents=True)
    planted.write_parquet(other.userqa / "triplets.parquet")
    with pytest.raises(DataError, match="belong to no training history"):
        load_triplets(other, tables)
