"""AdamW in two groups (pretrained-side LoRA, new parts) under one warm-up and cosine schedule."""

import math

import torch

from instructue.config_model import TrainingConfig
from instructue.network.user_model import UserModel

WARM_UP_SHARE = 0.06
FLOOR = 0.1


def make_optimizer(model: UserModel, log_temperature: torch.nn.Parameter, config: TrainingConfig) -> torch.optim.AdamW:
    """LoRA at learning_rate, everything new at adapter_learning_rate; vectors and scalars without decay."""
    groups: dict[tuple[float, float], list] = {}
    named = [*model.named_parameters(), ("log_temperature", log_temperature)]
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate if name.startswith("backbone.") else config.adapter_learning_rate
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), p in groups.items()],
        betas=(0.9, 0.98),
        fused=True,
    )


def set_rates(optimizer: torch.optim.Optimizer, step: int, steps: int) -> float:
    """Set every group's rate for this step; returns the factor applied to the peaks."""
    warm = max(1, round(WARM_UP_SHARE * steps))
    if step < warm:
        factor = (step + 1) / warm
    else:
        share = (step - warm) / max(1, steps - warm)
        factor = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return factor
