"""The training loop: steps, loss parts kept apart, checkpoints that a killed run resumes from exactly.

docs/training.md says what a step does, in one process and in several.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from instructue.batching.ahead import ahead
from instructue.config_model import TrainingConfig
from instructue.files import replacing
from instructue.network.checkpoint import load_trainable_state, trainable_state
from instructue.network.user_model import UserModel
from instructue.progress import track
from instructue.training import losses
from instructue.training.batches import Batch, Batches, Chunk
from instructue.training.devices import exact, moved
from instructue.training.distributed import ALONE, Ranks
from instructue.training.grad_cache import Cached
from instructue.training.optim import make_optimizer, set_rates

CLIP = 1.0


@dataclass
class Trainer:
    """Holds what changes while training. history: one dict of figures a step, from the very first step on.

    The model moves to the ranks' device, and back when `train` ends.
    """

    model: UserModel
    config: TrainingConfig
    dtype: torch.dtype
    ranks: Ranks = ALONE
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model.to(self.ranks.device)
        start = torch.tensor([self.config.temperature], device=self.ranks.device)
        self.log_temperature = torch.nn.Parameter(start.log())
        self.optimizer = make_optimizer(self.model, self.log_temperature, self.config)
        self.trained = [p for g in self.optimizer.param_groups for p in g["params"]]

    def step(self, number: int, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns its figures."""
        self.model.train()
        factor = set_rates(self.optimizer, number, self.config.steps)
        with exact(self.ranks.device):
            figures = self.gradients(batch)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return figures | {"gradient_norm": norm.item(), "rate": factor}

    def gradients(self, batch: Batch) -> dict[str, float]:
        """Add the gradient of the whole step to every trained parameter, the same in all processes.

        Returns the loss, its parts unweighted, and two figures of quality; of the whole step too.
        """
        ranks = self.ranks
        counts = torch.stack([_counts(chunk) for chunk in batch.chunks]).to(ranks.device)
        batch = moved(batch, ranks.device)
        step = ranks.add(counts.sum(0))
        answers = Cached(self.model.embed_answers, batch.answers_AV, ranks)
        texts = Cached(self.model.embed_texts, batch.texts_MV, ranks)
        figures: dict[str, torch.Tensor] = {}
        for chunk, count in zip(batch.chunks, counts, strict=True):
            parts = self._parts(chunk, answers.all, texts.all, _shares(count, step))
            loss = sum(weight * parts[name] for name, weight in self._weights().items() if name in parts)
            assert isinstance(loss, torch.Tensor)
            loss.backward()
            for name, value in (parts | {"loss": loss}).items():
                figures[name] = figures[name] + value.detach() if name in figures else value.detach()
        answers.backward()
        texts.backward()
        ranks.add_gradients(self.trained)
        values = ranks.add(torch.stack([v.reshape(()) for v in figures.values()])).tolist()
        temperature = losses.temperature_of(self.log_temperature).item()
        return dict(zip(figures, values, strict=True)) | {"temperature": temperature}

    def _weights(self) -> dict[str, float]:
        config = self.config
        return {
            "contrastive": config.contrastive_weight,
            "opposition": config.opposition_weight,
            "autoregressive": config.autoregressive_weight,
            "history": config.history_weight,
        }

    def _parts(
        self, chunk: Chunk, answers_AE: torch.Tensor, texts_ME: torch.Tensor, shares: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What one chunk adds to each of the step's means: its own mean, times its share of what is averaged over."""
        device = self.ranks.device
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            output = self.model(chunk.pack, with_answers=self.config.autoregressive_weight > 0)
        general_BE = output.embeddings[0][:, 0].float()
        users_NE = torch.cat([e.flatten(0, 1) for e in output.embeddings[1:]]).float()
        temperature = losses.temperature_of(self.log_temperature)
        at = partial(losses.nested, self.config.matryoshka)
        parts = {
            "contrastive": at(
                losses.contrastive, users_NE, answers_AE, chunk.positive_N, chunk.excluded_NA, temperature
            ),
            "opposition": at(losses.opposition, users_NE, answers_AE, chunk.positive_N, chunk.opposite_N, temperature),
            "history": at(losses.own_texts, general_BE, texts_ME, chunk.own_BM, chunk.known_BM, temperature),
        }
        if output.answer_states_TD is not None:
            words_XD = self.model.backbone.words_XD
            parts["autoregressive"] = losses.autoregressive(output.answer_states_TD, words_XD, output.answer_targets_T)
        with torch.no_grad():
            parts["right_over_opposite"] = _right_share(users_NE, answers_AE, chunk)
        return {name: value * shares[name] for name, value in parts.items()}

    def save(self, folder: Path, fingerprint: str) -> None:
        """Checkpoint: weights, optimiser state, figures so far. Written whole or not at all."""
        tensors = {f"weight.{k}": v for k, v in trainable_state(self.model).items()}
        tensors["log_temperature"] = self.log_temperature.detach()
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v.float().reshape(-1) if v.ndim == 0 else v for k, v in state.items()}
        names = sorted({k for row in self.history for k in row})
        tensors["history"] = torch.tensor(
            [[row.get(n, float("nan")) for n in names] for row in self.history], dtype=torch.float64
        )
        with replacing(folder / "checkpoint.safetensors") as temporary:
            save_file(tensors, str(temporary), {"fingerprint": fingerprint, "names": ",".join(names)})

    def resume(self, folder: Path, fingerprint: str) -> int:
        """Go on from a checkpoint of the same run, if there is one; returns the number of steps already done."""
        from safetensors import safe_open

        path = folder / "checkpoint.safetensors"
        if not path.is_file():
            return 0
        with safe_open(str(path), "pt") as file:
            meta = file.metadata() or {}
        if meta.get("fingerprint") != fingerprint:
            return 0
        tensors = load_file(str(path))
        load_trainable_state(
            self.model, {k.removeprefix("weight."): v for k, v in tensors.items() if k.startswith("weight.")}
        )
        with torch.no_grad():
            self.log_temperature.copy_(tensors["log_temperature"])
        state = self.optimizer.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                state["state"].setdefault(int(index), {})[name] = value[0] if name == "step" else value
        self.optimizer.load_state_dict(state)
        names = meta["names"].split(",")
        rows = tensors["history"].tolist()
        self.history = [{n: v for n, v in zip(names, row, strict=True) if v == v} for row in rows]
        return len(self.history)


def train(
    trainer: Trainer,
    batches: Batches,
    checkpoints: Path,
    fingerprint: str,
    on_step: Callable[[int, dict], None] | None = None,
) -> None:
    """Run the plan to its end, from the last checkpoint of the same run if there is one."""
    done = trainer.resume(checkpoints, fingerprint)
    trainer.ranks.agree(done, "the step to go on from")
    numbers = range(done, len(batches))
    said = "training" if not done else f"training on from step {done}"
    for number, batch in track(ahead(batches.__getitem__, numbers), said, len(numbers)):
        figures = trainer.step(number, batch)
        trainer.history.append(figures)
        if on_step:
            on_step(number, figures)
        if trainer.ranks.first and (number + 1) % trainer.config.checkpoint_every == 0 and number + 1 < len(batches):
            trainer.save(checkpoints, fingerprint)
    trainer.model.to("cpu")  # where all that reads histories feeds it


def _counts(chunk: Chunk) -> torch.Tensor:
    """What a chunk's means are taken over: rows, rows with an opposite, histories, tokens of answers."""
    tokens = sum(int((group.target_BKJ >= 0).sum()) for group in chunk.pack.groups)
    opposed = int((chunk.opposite_N >= 0).sum())
    return chunk.positive_N.new_tensor([len(chunk.positive_N), opposed, len(chunk.own_BM), tokens])


def _shares(count: torch.Tensor, step: torch.Tensor) -> dict[str, torch.Tensor]:
    """A chunk's share of the step in each mean; 1 where it is all of it. Where the step has none, that of its rows."""
    share = torch.where(step > 0, count / step.clamp_min(1), count[0] / step[0])
    rows, opposed, histories, tokens = share.unbind()
    return {
        "contrastive": rows,
        "opposition": opposed,
        "right_over_opposite": opposed,
        "history": histories,
        "autoregressive": tokens,
    }


def _right_share(users_NE: torch.Tensor, answers_AE: torch.Tensor, chunk: Chunk) -> torch.Tensor:
    rows = chunk.opposite_N >= 0
    if not rows.any():
        return users_NE.new_tensor(0.5)
    users = users_NE[rows]
    right = (users * answers_AE[chunk.positive_N[rows]]).sum(-1)
    return (right > (users * answers_AE[chunk.opposite_N[rows]]).sum(-1)).float().mean()
