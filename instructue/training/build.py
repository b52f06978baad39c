"""Puts together what training and embedding both need: features, packer, network, all from one description."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch

from instructue.batching.features import HistoryFeatures
from instructue.batching.packs import MOST_KEPT, Packer
from instructue.batching.tokens import Fitted
from instructue.config_model import ModelConfig
from instructue.errors import ConfigError
from instructue.models.bring import MANIFEST
from instructue.network.checkpoint import load_trainable_state, read_settings, read_weights
from instructue.network.user_model import Shape, UserModel
from instructue.paths import Paths
from instructue.sources.tables import Tables

SHAPING = ("batching", "models", "network", "training")  # packages whose code shapes a trained model


@dataclass
class Parts:
    """A network and the machinery that feeds it."""

    features: HistoryFeatures
    packer: Packer
    model: UserModel
    dtype: torch.dtype


def train_examples(tables: Tables) -> np.ndarray:
    """Row numbers of the training histories; normalisers and vocabularies are fitted on these only."""
    return np.flatnonzero((tables.histories["split"] == "train").to_numpy())


def build(config: ModelConfig, tables: Tables, paths: Paths) -> Parts:
    """A fresh network, the same for the same seed; idf, map and normaliser fitted on training histories."""
    features = HistoryFeatures(tables, config.network.windows_days, config.network.map_width)
    training = train_examples(tables)
    latest = tables.histories["snapshot"].to_numpy()[training]
    features.fit(training[latest == latest.max()])
    parts = _assemble(config, features, _shape(config, features), paths)
    sample = np.random.default_rng(config.training.seed).choice(training, min(512, len(training)), replace=False)
    pooled, _, _ = features.pooled(sample)
    distinct = features.distinct(sample)
    rows = features.frequent(distinct, max(1, config.network.frequent))
    telling = features.tokens_of(distinct, rows[rows >= 0], features.roles.frequent)
    parts.model.encoders.fit_figures(torch.from_numpy(np.concatenate([pooled.figures_NF, telling.figures_NF])))
    return parts


def load(folder: Path, config: ModelConfig, tables: Tables, paths: Paths) -> Parts:
    """The network of a bundle. Raises ConfigError if base model or event texts are not those of its training."""
    settings = read_settings(folder)
    now_here = base_model_digests(paths) | {"texts": texts_digest(tables)}
    for name, now in now_here.items():
        if settings[name] != now:
            what = name.replace("_", " ")
            raise ConfigError(f"{folder} is of another {what} ({settings[name]:.12}, now {now:.12}); train again")
    features = HistoryFeatures(tables, config.network.windows_days, config.network.map_width)
    shape = _shape(config, features)
    if shape != settings["shape"]:
        raise ConfigError(f"{folder} has shape {settings['shape']}, params.yaml asks for {shape}; train again")
    parts = _assemble(config, features, shape, paths)
    weights, fitted = read_weights(folder)
    features.fitted = Fitted(**{k: v.numpy() for k, v in fitted.items()})
    load_trainable_state(parts.model, weights)
    return parts


def _shape(config: ModelConfig, features: HistoryFeatures) -> Shape:
    network = config.network
    return Shape(
        sources=len(features.names),
        event_sources=len(features.events),
        windows=len(network.windows_days),
        attributes=sum(features.slots),
        frequent=network.frequent,
        features=features.width,
        text_width=features.vectors.shape[1],
        map_width=network.map_width,
        evidence_width=network.evidence_width,
        dim=network.dim,
        layers=network.layers,
        lora_rank=network.lora_rank,
        matryoshka=tuple(config.training.matryoshka),
    )


def _assemble(config: ModelConfig, features: HistoryFeatures, shape: Shape, paths: Paths) -> Parts:
    from transformers import AutoTokenizer

    torch.manual_seed(config.training.seed)
    tokenizer = AutoTokenizer.from_pretrained(paths.language_model)

    @lru_cache(MOST_KEPT)
    def tokens_of(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    end = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    packer = Packer(features, config.network.frequent, config.network.retrieved, tokens_of, pad, end)
    dtype = getattr(torch, config.training.dtype)
    return Parts(features, packer, UserModel(shape, paths.language_model, dtype), dtype)


def base_model_digests(paths: Paths) -> dict[str, str]:
    """What names the frozen language model and the text encoder in a bundle."""
    manifest = json.loads((paths.base_models / MANIFEST).read_text())
    named = {"base_model": "language", "text_encoder": "text_encoder"}
    sums = {name: json.dumps(manifest[part]["sha256"], sort_keys=True) for name, part in named.items()}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sums.items()}


@cache
def code(packages: tuple[str, ...] = SHAPING) -> str:
    """Hash of the code that a trained model comes from."""
    root, digest = Path(__file__).parent.parent, hashlib.sha256()
    for file in sorted(f for name in packages for f in (root / name).rglob("*.py")):
        digest.update(json.dumps(str(file.relative_to(root))).encode() + file.read_bytes())
    return digest.hexdigest()[:32]


def texts_digest(tables: Tables) -> str:
    """What names the dictionary of event texts in a bundle."""
    return hashlib.sha256("\n".join(tables.texts["text"].to_list()).encode()).hexdigest()
