"""BERT with mean pooling, as all-MiniLM-L6-v2 is: what sentence-transformers computes, without what it imports.

Importing sentence-transformers and transformers' models takes longer than reading these weights and encoding a first
text. Other encoders go through the library. BERT: arXiv 1810.04805; mean pooling: Sentence-BERT (arXiv 1908.10084).

Legend: B texts, L tokens of each, D width.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from instructue.models.tokenizer import read_tokenizer

PARTS = [["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]]
# What files may say (or leave out) for the library to compute what is computed here.
PLAIN: dict[str, dict[str, Any]] = {
    "config.json": {"hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False},
    "config_sentence_transformers.json": {"default_prompt_name": None, "truncate_dim": None},
    "sentence_bert_config.json": {"do_lower_case": False},
    "tokenizer_config.json": {
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "truncation_side": "right",
        **{f"{mark}_token": f"[{mark.upper()}]" for mark in ("cls", "sep", "unk", "pad", "mask")},
    },
}
# transformers makes a BERT's tokenizer of its vocabulary and tokenizer_config.json; tokenizer.json must say the same.
UNCASED = {
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    },
}


class Bert:
    """Texts of equally many tokens in, vectors out; `lengths` says how many tokens a text has."""

    def __init__(self, folder: Path, dtype: str) -> None:
        said = _read(folder / "config.json")
        self.width: int = said["hidden_size"]
        self.heads, self.layers = said["num_attention_heads"], said["num_hidden_layers"]
        self.eps = said.get("layer_norm_eps", 1e-12)
        state = load_file(folder / "model.safetensors")
        self.weights = {k: v.to(getattr(torch, dtype)) for k, v in state.items() if v.is_floating_point()}
        self.tokenizer = read_tokenizer(folder, _read(folder / "sentence_bert_config.json")["max_seq_length"])

    @staticmethod
    def knows(folder: Path) -> bool:
        """Whether a sentence-transformers folder holds nothing but what is computed here."""
        parts = [str(part.get("type", "")).split(".")[-1] for part in _read(folder / "modules.json")]
        if parts not in PARTS or not (folder / "model.safetensors").is_file():
            return False
        said = {name: _read(folder / name) for name in PLAIN}
        own = said["sentence_bert_config.json"]
        pooling = _read(folder / "1_Pooling" / "config.json")
        modes = {k for k, on in pooling.items() if k.startswith("pooling_mode") and on}
        return (
            said["config.json"].get("model_type") == "bert"
            and all(said[name].get(k, v) == v for name, plain in PLAIN.items() for k, v in plain.items())
            and set(own) <= {"max_seq_length", "do_lower_case"}
            and bool(own.get("max_seq_length"))
            and modes == {"pooling_mode_mean_tokens"}
            and _uncased(_read(folder / "tokenizer.json"))
            and _named_plainly(folder / "model.safetensors")
        )

    def lengths(self, texts: list[str]) -> list[int]:
        return [len(read.ids) for read in self.tokenizer.encode_batch(texts)]

    def encode(self, texts: list[str]) -> np.ndarray:
        """[B, D] float32 of texts of equally many tokens."""
        with torch.inference_mode():
            ids_BL = torch.tensor([read.ids for read in self.tokenizer.encode_batch(texts)])
            x_BLD = self._embedded(ids_BL)
            for number in range(self.layers):
                x_BLD = self._layer(x_BLD, f"encoder.layer.{number}.")
            mean_BD = (x_BLD.float().sum(1) / x_BLD.shape[1]).to(x_BLD.dtype)
            return F.normalize(mean_BD, dim=1).float().numpy()

    def _embedded(self, ids_BL: Tensor) -> Tensor:
        names = ("word", "position", "token_type")
        words, places, kinds = (self.weights[f"embeddings.{name}_embeddings.weight"] for name in names)
        x_BLD = F.embedding(ids_BL, words) + kinds[0] + places[: ids_BL.shape[1]]
        return self._normed(x_BLD, "embeddings.")

    def _layer(self, x_BLD: Tensor, own: str) -> Tensor:
        query, key, value = (
            self._linear(x_BLD, f"{own}attention.self.{name}").unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        seen_BLD = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        x_BLD = self._normed(self._linear(seen_BLD, own + "attention.output.dense") + x_BLD, own + "attention.output.")
        inner = F.gelu(self._linear(x_BLD, own + "intermediate.dense"))
        return self._normed(self._linear(inner, own + "output.dense") + x_BLD, own + "output.")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _normed(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}LayerNorm.weight"], self.weights[f"{name}LayerNorm.bias"]
        return F.layer_norm(x, (self.width,), weight, bias, self.eps)


def _uncased(said: dict[str, Any]) -> bool:
    """Whether tokenizer.json holds the tokenizer that transformers makes of an uncased BERT."""
    if not said:
        return False
    model = {k: v for k, v in said["model"].items() if k != "vocab"}
    template = [mark["id"] for step in (said["post_processor"] or {}).get("single", []) for mark in step.values()]
    added = {token["content"] for token in said["added_tokens"]}
    return (
        {"normalizer": said["normalizer"], "pre_tokenizer": said["pre_tokenizer"], "model": model} == UNCASED
        and template == ["[CLS]", "A", "[SEP]"]
        and added <= {"[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]"}
    )


def _named_plainly(file: Path) -> bool:
    """Whether weights bear the names of transformers' BertModel; older and larger models have others."""
    with safe_open(file, framework="pt") as opened:
        return {"embeddings.word_embeddings.weight", "embeddings.LayerNorm.weight"} <= set(opened.keys())


def _read(file: Path) -> Any:
    """A JSON file's content, {} where there is none."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
