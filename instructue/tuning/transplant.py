"""What one data set taught a network, moved into the network of another data set with other sources.

What does not hang on the sources moves as it is: LoRA, the heads and the answers' projection. An encoder of this data
set starts as the mean of the other's encoders of its kind (event or attribute source), column by column of the figures
that every source has. The map, the evidence's directions, the normalisers and the marks of empty slots stay this data
set's.
"""

import torch
from torch import Tensor

from instructue.batching.features import AMOUNTS, BASE_FEATURES
from instructue.network.evidence import SHARPNESS
from instructue.network.user_model import Shape

# Fitted on the data set itself, or counted by its own sources and slots.
BY_SOURCE = ("summary.weight", "evidence.start.weight")
OWN = ("encoders.mean_F", "encoders.std_F", "missing_PD", "place_size_C", "evidence.asked.", "evidence.whole.")


def transplanted(state: dict[str, Tensor], other: Shape, own: dict[str, Tensor], shape: Shape) -> dict[str, Tensor]:
    """The tensors `own` of a fresh network of `shape`, taught by `state`, a network of shape `other`, where both hold
    the same thing."""
    taught = {}
    for name, fresh in own.items():
        made = None if name.startswith(OWN) else _made(name, state, other, shape)
        taught[name] = made if made is not None and made.shape == fresh.shape else fresh
        if made is not None and name.endswith("figures.weight"):
            taught[name] = fresh.clone()
            taught[name][:, :BASE_FEATURES] = made[:, :BASE_FEATURES]
    return taught


def _made(name: str, state: dict[str, Tensor], other: Shape, shape: Shape) -> Tensor | None:
    if name.startswith("encoders."):
        return _from_sources(name, state, other, shape)
    if name in BY_SOURCE:
        return _by_source(name, state[name], other, shape)
    return state.get(name)


def _from_sources(name: str, state: dict[str, Tensor], other: Shape, shape: Shape) -> Tensor | None:
    """The mean over the other's encoders (or adapters) of the same kind as the one that `name` belongs to."""
    _, kind, number, *rest = name.split(".")
    event = int(number) < shape.event_sources
    same = range(other.event_sources) if event else range(other.event_sources, other.sources)
    found = [state[".".join(("encoders", kind, str(source), *rest))] for source in same]
    return torch.stack(found).mean(0) if found else None


def _by_source(name: str, weight: Tensor, other: Shape, shape: Shape) -> Tensor | None:
    """Weights that read every event source: each source's become the mean over the other's sources."""
    if name == "summary.weight":
        if other.map_width != shape.map_width:
            return None
        read, map_ = weight[:, : -shape.map_width or None], weight[:, weight.shape[1] - shape.map_width :]
        mean = read.unflatten(1, (other.event_sources, -1)).mean(1)
        return torch.cat([mean.repeat(1, shape.event_sources), map_], dim=1)
    mean = weight.unflatten(1, (len(SHARPNESS), other.event_sources, AMOUNTS)).mean(2, keepdim=True)
    return mean.expand(-1, -1, shape.event_sources, -1).flatten(1)
