"""A model on disk: config.json, model.safetensors (all but the frozen language model) and nothing else needed.

The frozen language model is named by checksum, not copied; a bundle refuses to load on another one.
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from instructue.errors import ConfigError, DataError
from instructue.files import replacing, write_json
from instructue.network.user_model import Shape, UserModel
from instructue.paths import WEIGHTS

# 6: only values that templates show; 5: evidence by attributes' values too, a map of two views; 4: parts at their own
# sizes, turned; 3: evidence by the text encoder's similarity as it is; 2: instructions are read once for all histories
FORMAT = 6
SETTINGS = "config.json"
FITTED = "fitted."


def trainable_state(model: UserModel) -> dict[str, torch.Tensor]:
    """Everything that is not the frozen language model, by stable names."""
    own = {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    lora = {f"lora.{k}": v for k, v in model.backbone.lora_state().items()}
    return {k: v.detach().float().contiguous().clone() for k, v in (own | lora).items()}


def load_trainable_state(model: UserModel, state: dict[str, torch.Tensor]) -> None:
    """Put back what trainable_state gave. Raises ConfigError if names or sizes do not fit."""
    own = {k: v for k, v in state.items() if not k.startswith("lora.")}
    wanted = {k: v.shape for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    if wanted != {k: v.shape for k, v in own.items()}:
        odd = sorted(set(wanted.items()) ^ {(k, v.shape) for k, v in own.items()})[:3]
        raise ConfigError(f"the checkpoint's weights do not fit this network: {odd}")
    model.load_state_dict(own, strict=False)
    model.backbone.load_lora_state({k.removeprefix("lora."): v for k, v in state.items() if k.startswith("lora.")})


def save_bundle(folder: Path, model: UserModel, fitted: dict[str, torch.Tensor], settings: dict) -> None:
    """Write a bundle atomically: weights, arrays `fitted` before training, `settings` beside the shape."""
    with replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        kept = {FITTED + k: v.float().contiguous() for k, v in fitted.items()}
        save_file(trainable_state(model) | kept, str(temporary / WEIGHTS))
        write_json(temporary / SETTINGS, {"format": FORMAT, "shape": asdict(model.shape), **settings})


def read_settings(folder: Path) -> dict:
    """config.json of a bundle, with its shape as a Shape. Raises DataError or ConfigError saying what is wrong."""
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings["format"] > FORMAT:
            raise ConfigError(
                f"{folder} was written by a newer version (format {settings['format']}, known {FORMAT}); upgrade"
            )
        if settings["format"] < FORMAT:
            raise ConfigError(
                f"{folder} was written by an older version (format {settings['format']}, known {FORMAT}), whose "
                "network is no longer read; train again"
            )
        settings["shape"] = Shape(**settings["shape"])
    except FileNotFoundError:
        raise DataError(f"{folder} is no model bundle: it has no {SETTINGS}; run the model stage first") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged or foreign: {error}") from error
    return settings


def read_weights(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """(weights, fitted arrays) of a bundle. Raises DataError if the file is damaged."""
    try:
        state = load_file(str(folder / WEIGHTS))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{folder / WEIGHTS} is damaged: {error}; train again or fetch it again") from error
    fitted = {k.removeprefix(FITTED): state.pop(k) for k in list(state) if k.startswith(FITTED)}
    return state, fitted
