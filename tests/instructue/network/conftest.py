"""Small language models, drawn at random."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def language(tmp_path_factory) -> Callable[[str], Path]:
    """A family as transformers names it -> folder of a model of two small layers, its biases and norms drawn too."""
    import transformers

    settings: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 50,
        "num_hidden_layers": 2,
    }

    @cache
    def made(family: str) -> Path:
        torch.manual_seed(0)
        model = getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, f"{family}Config")(**settings))
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                torch.nn.init.normal_(parameter, mean=1.0)
        folder = tmp_path_factory.mktemp(family)
        model.save_pretrained(folder)
        return folder

    return made
