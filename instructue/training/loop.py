"""The training loop: steps, loss parts kept apart, checkpoints that a killed run resumes from exactly."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from instructue.config import TrainingConfig
from instructue.files import replacing
from instructue.network.checkpoint import load_trainable_state, trainable_state
from instructue.network.user_model import UserModel
from instructue.progress import track
from instructue.training import losses
from instructue.training.batches import Batch, Batches
from instructue.training.optim import make_optimizer, set_rates

CLIP = 1.0


@dataclass
class Trainer:
    """Holds what changes while training. history: one dict of figures a step, from the very first step on."""

    model: UserModel
    config: TrainingConfig
    dtype: torch.dtype
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log_temperature = torch.nn.Parameter(torch.tensor([self.config.temperature]).log())
        self.optimizer = make_optimizer(self.model, self.log_temperature, self.config)

    def parts(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Each loss part of one batch, unweighted, and two figures of quality."""
        config = self.config
        with torch.autocast("cpu", dtype=self.dtype, enabled=self.dtype != torch.float32):
            output = self.model(batch.pack, with_answers=config.autoregressive_weight > 0)
        general_BE = output.embeddings[0][:, 0].float()
        users_NE = torch.cat([e.flatten(0, 1) for e in output.embeddings[1:]]).float()
        answers_AE = self.model.embed_answers(batch.answers_AV)
        temperature = losses.temperature_of(self.log_temperature)
        at = partial(losses.nested, config.matryoshka)
        parts = {
            "contrastive": at(
                losses.contrastive, users_NE, answers_AE, batch.positive_N, batch.excluded_NA, temperature
            ),
            "opposition": at(losses.opposition, users_NE, answers_AE, batch.positive_N, batch.opposite_N, temperature),
            "history": at(
                losses.own_texts,
                general_BE,
                self.model.embed_texts(batch.texts_MV),
                batch.own_BM,
                batch.known_BM,
                temperature,
            ),
        }
        if output.answer_logits is not None:
            parts["autoregressive"] = losses.autoregressive(output.answer_logits, output.answer_targets)
        with torch.no_grad():
            parts["right_over_opposite"] = _right_share(users_NE, answers_AE, batch)
            parts["temperature"] = temperature.detach()
        return parts

    def step(self, number: int, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns its figures."""
        config = self.config
        self.model.train()
        factor = set_rates(self.optimizer, number, config.steps)
        parts = self.parts(batch)
        weights = {
            "contrastive": config.contrastive_weight,
            "opposition": config.opposition_weight,
            "autoregressive": config.autoregressive_weight,
            "history": config.history_weight,
        }
        loss = sum(weight * parts[name] for name, weight in weights.items() if name in parts)
        loss.backward()
        trained = [p for g in self.optimizer.param_groups for p in g["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {k: v.item() for k, v in parts.items()} | {
            "loss": loss.item(),
            "gradient_norm": norm.item(),
            "rate": factor,
        }

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
    for number in track(range(done, len(batches)), "training" if not done else f"training on from step {done}"):
        figures = trainer.step(number, batches[number])
        trainer.history.append(figures)
        if on_step:
            on_step(number, figures)
        if (number + 1) % trainer.config.checkpoint_every == 0 and number + 1 < len(batches):
            trainer.save(checkpoints, fingerprint)


def _right_share(users_NE: torch.Tensor, answers_AE: torch.Tensor, batch: Batch) -> torch.Tensor:
    rows = batch.opposite_N >= 0
    if not rows.any():
        return torch.tensor(0.5)
    users = users_NE[rows]
    right = (users * answers_AE[batch.positive_N[rows]]).sum(-1)
    return (right > (users * answers_AE[batch.opposite_N[rows]]).sum(-1)).float().mean()
