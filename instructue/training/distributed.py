"""Several processes training one model: each takes its part of a step's histories; what they find is added up.

Started by torchrun, which tells each process its rank and their number. gloo between processors, nccl between GPUs.
A single process is the same with nothing to add.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from instructue.config_model import TrainingConfig
from instructue.errors import ConfigError
from instructue.training.devices import device_of

# One waits for the other while rank 0 encodes texts or writes; a dead one is noticed by torchrun, not by this.
PATIENCE = timedelta(hours=1)


def started_by_torchrun() -> bool:
    """Whether torchrun started this process, alone or among others."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@dataclass(frozen=True)
class Ranks:
    """This process among `world` that share each step."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this process writes checkpoints, the MLflow run and the model for all."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """This process's share of `count` things: neighbours, shares differ by one at most."""
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, to the bit the same in each; written into `tensor`, which is returned."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def join(self, part: Tensor, count: int) -> Tensor:
        """All processes' parts of `count` rows, in order, without gradient."""
        if self.world == 1:
            return part.detach()
        # Parts may differ by a row, which a gather would not take; zeros add nothing.
        whole = part.new_zeros(count, *part.shape[1:])
        whole[self.part(count)] = part.detach()
        return self.add(whole)

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Each parameter's gradient summed over all processes, in one message. None stays None if it is so in all."""
        if self.world == 1:
            return
        parameters = list(parameters)
        there = torch.tensor([float(p.grad is not None) for p in parameters], device=self.device)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        whole = self.add(torch.cat([g.reshape(-1).float() for g in grads] + [there]))
        *sums, there = whole.split([p.numel() for p in parameters] + [len(parameters)])
        for parameter, total, count in zip(parameters, sums, there.tolist(), strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype) if count else None

    def from_first(self, make: Callable[[], np.ndarray]) -> np.ndarray:
        """What `make` gives in the first process, in all of them: made once, not by each."""
        if self.world == 1:
            return make()
        made = [make() if self.first else None]
        dist.broadcast_object_list(made, device=self.device)
        assert made[0] is not None
        return made[0]

    def agree(self, number: int, what: str) -> None:
        """Raises ConfigError unless `number` is the same in all processes; rather than let them drift apart."""
        everyones = torch.zeros(self.world, dtype=torch.long, device=self.device)
        everyones[self.rank] = number
        if len(found := set(self.add(everyones).tolist())) > 1:
            raise ConfigError(f"the processes disagree on {what}: {sorted(found)}; they need one common project folder")


ALONE = Ranks()


def alone(config: TrainingConfig) -> Ranks:
    """One process, on the device that the configuration asks for."""
    return Ranks(device=device_of(config.device))


@contextmanager
def joined(config: TrainingConfig) -> Iterator[Ranks]:
    """This process as torchrun started it; alone if it did not. Raises ConfigError if it cannot take part."""
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if world == 1:
        yield alone(config)
        return
    device = device_of(config.device)
    if world > config.users:
        raise ConfigError(
            f"{world} processes share model.training.users: {config.users} a step; raise it or start fewer"
        )
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"process {local} has no GPU of its own, there are {torch.cuda.device_count()}; "
                "start as many processes as there are GPUs, or set model.training.device: cpu"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    yield Ranks(rank, world, device)
    dist.destroy_process_group()  # not after an error: it could wait for processes that are gone
