"""Training: triplets a second, ours and the plain way in its three degrees, and how each grows."""

import numpy as np
import polars as pl

from instructue.batching.sampler import plan_steps
from instructue.config import Config
from instructue.training.batches import Batches
from instructue.training.fit import load_triplets, make_batches
from instructue.training.loop import Trainer
from measure import ours
from measure.clock import in_turn, product, product_flops, ratio
from measure.flops import training_flops
from measure.growth import Row
from measure.setup import Setup


class Training:
    """Runs of both sides: a run makes the batch, goes forward and backward and takes the optimiser's step."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.config = setup, setup.config
        self.triplets = load_triplets(setup.paths, setup.tables)
        self.trainer = Trainer(setup.parts.model, setup.config.model.training, setup.parts.dtype)
        self.sizes = ours.sizes(setup.parts, setup.paths, setup.config.model.network.lora_rank)

    def batches(self, steps: int, triplets: pl.DataFrame | None = None, **changes: int) -> Batches:
        """Batches of a run of `steps`, with `changes` of model.training."""
        training = self.config.model.training.model_copy(update={"steps": steps, **changes})
        # At least one answer of a history carries the next-token loss.
        share = max(training.autoregressive_share, 1 / training.instructions)
        model = self.config.model.model_copy(
            update={"training": training.model_copy(update={"autoregressive_share": share})}
        )
        config: Config = self.config.model_copy(update={"model": model})
        source = self.triplets if triplets is None else triplets
        return make_batches(config, self.setup.paths, source, self.setup.parts)

    def ours(self, batches: Batches, step: int) -> None:
        self.trainer.step(step, batches[step])

    def plain(self, batches: Batches, step: int, users: int, texts) -> None:
        chosen = self.setup.spread(batches.plan.examples[step], users)
        self.setup.plain.train(batches, step, chosen, texts)

    def measure(self, plain_users: int, rounds: int) -> dict[str, float]:
        """The figures of (b), and (c) for training. Every round is the same step, as every step asks other texts."""
        batches, multiply = self.batches(2), product(self.setup.parts.dtype)
        users, count = batches.plan.triplets.shape[1:]
        few = min(plain_users, users)
        self.ours(batches, 0), self.plain(batches, 0, 1, "cached"), multiply()
        runs = {
            "product": multiply,
            "ours": lambda: self.ours(batches, 1),
            "separate": lambda: self.plain(batches, 1, users, "cached"),
            "user": lambda: self.plain(batches, 1, few, "user"),
            "plain": lambda: self.plain(batches, 1, few, "sequence"),
        }
        t = in_turn(runs, rounds)
        median = {name: float(np.median(values)) for name, values in t.items()}
        for name, own in {"ours": users, "separate": users, "user": few, "plain": few}.items():
            rate = own * count / median[name]
            print(f"{name:>10}: {rate:10.2f} triplets per second ({own} users x {count} instructions a step)")
        useful = training_flops(self.sizes, ours.training_work(self.setup.parts, batches, 1))
        executed = ours.executed_flops(lambda: self.ours(batches, 1))
        mine, theirs = median["ours"] / users / count, median["plain"] / few / count
        return {
            "train_vs_plain": ratio(t["plain"], t["ours"], users / few),
            "train_vs_plain_texts_once_a_user": ratio(t["user"], t["ours"], users / few),
            "train_vs_separate": ratio(t["separate"], t["ours"]),
            "train_vs_plain_with_filling_the_cache": theirs / (mine + self._filling()),
            "train_triplets_a_second": users * count / median["ours"],
            "train_useful_gflop_a_triplet": useful / users / count / 1e9,
            "train_executed_over_useful": executed / useful,
            "gemm_share_train": ratio(t["product"], t["ours"], min(useful, executed) / product_flops()),
        }

    def _filling(self) -> float:
        """Seconds per triplet of the configured run that encoding every text once takes."""
        plan = plan_steps(self.triplets, self.config.model.training)
        used = self.triplets[plan.triplets.ravel()].select("instruction", "answer", "opposite")
        texts = pl.concat(used.get_columns()).drop_nulls().n_unique() + self.setup.tables.texts.height
        return texts / self.setup.texts_a_second / plan.triplets.size

    def grow(self, rounds: int) -> list[Row]:
        """Cost per triplet over users a step, instructions and events."""
        training = self.config.model.training
        rows = [self._row("users", n, self.batches(1, users=n), n == 2, rounds) for n in (2, 4, 8, 16, 32)]
        counts = (2, 4, 8, 16)
        rows += [
            self._row("instructions", n, self.batches(1, instructions=n), n <= training.instructions, rounds)
            for n in counts
        ]
        owners = self.triplets["example"].unique(maintain_order=True).to_numpy()
        owners = owners[np.argsort(self.setup.events[owners], kind="stable")]
        for quarter in np.array_split(owners, 4):
            batches = self.batches(1, self.triplets.filter(pl.col("example").is_in(quarter.tolist())))
            value = round(self.setup.events[batches.plan.examples[0]].mean())
            rows.append(self._row("events", value, batches, True, rounds))
        return rows

    def _row(self, axis: str, value: int, batches: Batches, with_plain: bool, rounds: int) -> Row:
        users, count = batches.plan.triplets.shape[1:]
        runs = {
            "product": product(self.setup.parts.dtype),
            "ours": lambda: self.ours(batches, 0),
            "separate": lambda: self.plain(batches, 0, users, "cached"),
        }
        t = in_turn(runs, rounds)
        each = {name: 1000 * float(np.median(times)) / users / count for name, times in t.items()}
        plain = None
        if with_plain:
            few = 2 if axis == "users" else 1
            once = in_turn({"plain": lambda: self.plain(batches, 0, few, "sequence")}, 1)["plain"][0]
            plain = 1000 * once / few / count
        useful = training_flops(self.sizes, ours.training_work(self.setup.parts, batches, 0))
        share = ratio(t["product"], t["ours"], useful / product_flops())
        return Row(axis, value, each["ours"], each["separate"], plain, share)
