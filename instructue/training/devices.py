"""Where training computes, and the one place that moves a batch there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

import torch
from torch.utils import deterministic as settings

from instructue.errors import ConfigError

T = TypeVar("T")


def device_of(name: str) -> torch.device:
    """model.training.device as a device. Raises ConfigError if a GPU is asked for and none is there."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("model.training.device is cuda, but PyTorch finds no GPU here; set it to auto or cpu")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """On a processor every sum in one order, whatever the threads: two runs are the same to the digit.

    Gradients added up by index have no order of their own otherwise.
    """
    before, filled = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    if device.type == "cpu":
        settings.fill_uninitialized_memory = False  # only shows what is read unset; costs a pass over new memory
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(before)


def moved(thing: T, device: torch.device) -> T:
    """A tensor on `device`; a dataclass or a list of such with all its tensors there, whatever its fields."""
    if isinstance(thing, torch.Tensor):
        return thing.to(device, non_blocking=True)
    if isinstance(thing, list):
        return [moved(item, device) for item in thing]  # type: ignore[return-value]
    if is_dataclass(thing) and not isinstance(thing, type):
        return replace(thing, **{f.name: moved(getattr(thing, f.name), device) for f in fields(thing) if f.init})
    return thing
