"""Puts together what training and embedding both need: features, packer, network, all from one description."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import torch

from instructue.batching.features import HistoryFeatures
from instructue.batching.packs import MOST_KEPT, Ask, Packer
from instructue.batching.tokens import Fitted
from instructue.config_model import ModelConfig
from instructue.errors import ConfigError, DataError
from instructue.models.bring import MANIFEST
from instructue.models.tokenizer import Words
from instructue.network.checkpoint import load_trainable_state, read_settings, read_weights
from instructue.network.user_model import Shape, UserModel
from instructue.paths import Paths
from instructue.sources.tables import Tables
from instructue.sources.values import dictionary_digest

INSTRUCTIONS, AT_ONCE = 8, 64  # per history of the sample that the evidence is fitted on, and histories at a time
SHAPING = ("batching", "models", "network", "sources/values.py", "training")  # what code shapes a trained model


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


def load_triplets(paths: Paths, tables: Tables) -> pl.DataFrame:
    """UserQA's triplets. Raises DataError if absent, or if one does not belong to a training history."""
    path = paths.userqa / "triplets.parquet"
    if not path.is_file():
        raise DataError(f"{path} is not there; run the userqa stage first: python -m instructue userqa")
    triplets = pl.read_parquet(path)
    training = tables.histories.filter(pl.col("split") == "train").select("example", "user", "snapshot")
    strangers = triplets.join(training, on=["example", "user", "snapshot"], how="anti")
    if strangers.height:
        raise DataError(
            f"{path}: {strangers.height} triplets belong to no training history, first {strangers.row(0, named=True)}"
        )
    return triplets


def build(config: ModelConfig, tables: Tables, paths: Paths, asked: pl.Series) -> Parts:
    """A fresh network, the same for the same seed; idf, map, normaliser and the evidence's directions are fitted on
    training histories, the last under training's instructions, `asked`.

    Raises DataError if there are none of these.
    """
    features = HistoryFeatures(tables, config.network.windows_days, config.network.map_width)
    training = train_examples(tables)
    latest = tables.histories["snapshot"].to_numpy()[training]
    features.fit(training[latest == latest.max()])
    parts = _assemble(config, features, _shape(config, features), paths)
    rng = np.random.default_rng(config.training.seed)
    sample = rng.choice(training, min(512, len(training)), replace=False)
    pooled, _, _ = features.pooled(sample)
    distinct = features.distinct(sample)
    rows = features.frequent(distinct, max(1, config.network.frequent))
    telling = features.tokens_of(distinct, rows[rows >= 0], features.roles.frequent)
    parts.model.encoders.fit_figures(torch.from_numpy(np.concatenate([pooled.figures_NF, telling.figures_NF])))
    parts.model.fit_place(torch.from_numpy(features.fitted.spread_C))
    if config.network.evidence_width:
        if asked.is_empty():
            raise DataError("there are no instructions to fit the evidence under; run the userqa stage first")
        instructions = rng.choice(asked.unique().sort().to_numpy(), (len(sample), INSTRUCTIONS)).tolist()
        parts.model.evidence.fit(*_evidence(parts, config, paths, sample, instructions))
    return parts


def _evidence(
    parts: Parts, config: ModelConfig, paths: Paths, sample: np.ndarray, instructions: list[list[str]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Figures of what is asked [N, C] and of the whole [n, F], of n histories under some instructions each."""
    from instructue.models.text_encoder import TextEncoder

    texts = sorted({text for row in instructions for text in row})
    vectors = dict(zip(texts, TextEncoder.of(paths, config.training.dtype).encode(texts), strict=True))
    figures, whole = [], []
    for start in range(0, len(sample), AT_ONCE):
        rows = instructions[start : start + AT_ONCE]
        ask = Ask(rows, np.stack([[vectors[text] for text in row] for row in rows]), None, 1)
        pack = parts.packer.pack(sample[start : start + AT_ONCE], [ask])
        with torch.no_grad():
            figures.append(parts.model.evidence(pack, pack.groups[0].which_BK).flatten(0, 1))
            whole.append(parts.model.amounts(pack))
    return torch.cat(figures), torch.cat(whole)


def load(folder: Path, config: ModelConfig, tables: Tables, paths: Paths) -> Parts:
    """The network of a bundle. Raises ConfigError if base model or event texts are not those of its training."""
    settings = read_settings(folder)
    now_here = base_model_digests(paths) | {"texts": dictionary_digest(tables.texts, tables.values)}
    for name, now in now_here.items():
        if settings[name] != now:
            what = "dictionary of event texts and their values" if name == "texts" else name.replace("_", " ")
            raise ConfigError(
                f"{folder} was trained with another {what} ({settings[name]:.12}, now {now:.12}); check out that data "
                "version and description, or train again"
            )
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
    torch.manual_seed(config.training.seed)
    words = Words(paths.language_model)
    tokens_of = lru_cache(MOST_KEPT)(words.ids)
    packer = Packer(features, config.network.frequent, config.network.retrieved, tokens_of, words.pad_id, words.end_id)
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
    """Hash of the code that a trained model comes from: of packages and single files."""
    root, digest = Path(__file__).parent.parent, hashlib.sha256()
    files = (f for name in packages for f in ([root / name] if name.endswith(".py") else (root / name).rglob("*.py")))
    for file in sorted(files):
        digest.update(json.dumps(str(file.relative_to(root))).encode() + file.read_bytes())
    return digest.hexdigest()[:32]
