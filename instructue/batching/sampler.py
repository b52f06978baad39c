"""Which triplets each training step takes: fixed by the seed alone, so a resumed run sees the same."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from instructue.config_model import TrainingConfig
from instructue.errors import DataError


@dataclass(frozen=True)
class Plan:
    """examples [steps, users] into histories; triplets [steps, users, instructions] into the triplets table."""

    examples: np.ndarray
    triplets: np.ndarray


def plan_steps(triplets: pl.DataFrame, config: TrainingConfig) -> Plan:
    """Shuffle histories into steps, epoch after epoch; within a history draw triplets without repeating early.

    Raises DataError if fewer histories than one step needs carry triplets.
    """
    rng = np.random.default_rng(config.seed)
    example = triplets["example"].to_numpy()
    order = np.lexsort((rng.random(len(example)), example))
    owners, first, count = np.unique(example[order], return_index=True, return_counts=True)
    if len(owners) < config.users:
        raise DataError(f"{len(owners)} histories have triplets, one step needs {config.users}; raise userqa.triplets")
    needed = config.steps * config.users
    epochs = -(-needed // len(owners))
    drawn = np.concatenate([rng.permutation(len(owners)) for _ in range(epochs)])[:needed]
    visit = np.concatenate([np.full(len(owners), e) for e in range(epochs)])[:needed]
    offset = (visit[:, None] * config.instructions + np.arange(config.instructions)) % count[drawn][:, None]
    rows = order[first[drawn][:, None] + offset]
    shape = (config.steps, config.users)
    return Plan(owners[drawn].reshape(shape), rows.reshape(*shape, config.instructions))
