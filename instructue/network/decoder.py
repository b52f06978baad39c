"""A decoder of the Llama family, read from a folder of transformers': its first layers, frozen, with LoRA beside them.

Modules and weights are named as in transformers and peft, so that either reads what the other wrote, and LoRA is drawn
as peft draws it. Neither library is imported: that takes longer than reading the weights. What is computed is
`instructue.network.fused`. LoRA: Hu et al. 2021 (arXiv 2106.09685); RoPE: arXiv 2104.09864.

Legend: N tokens, X those that ask, D model width, O of what comes out of a linear layer, H query heads, G key/value
heads, d head width, L places, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from instructue.errors import ConfigError, DataError
from instructue.files import read_json
from instructue.network.fused import Weights, adapted, fed_forward, fed_forward_added, normed, rotated
from instructue.network.packing import Layout, Memory, packed_attention

FAMILY = ("llama", "mistral", "qwen2", "qwen3")
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
SCALE = 2.0  # of LoRA's update: alpha is twice the rank
STRETCHED = ("linear", "llama3", "yarn")  # rules for places that ask nothing about the whole they stand in
_MEND = "fetch the language model again"

Angles = tuple[Tensor, Tensor]  # cosines and sines, [N, d]
Read = Callable[[str], Tensor | None]  # a weight by its name, None if the file has none of it


@dataclass(frozen=True)
class Settings:
    """What config.json says of a decoder, as far as its computation rests on it."""

    family: str
    layers: int
    width: int
    heads: int
    groups: int  # of heads that share keys and values
    head_width: int
    eps: float

    @staticmethod
    def of(folder: Path) -> "Settings":
        """Raises ConfigError for a model of another family, DataError for a file without what is needed."""
        said = _said(folder)
        family, act = said.get("model_type"), said.get("hidden_act", "silu")
        if family not in FAMILY or act != "silu":
            raise ConfigError(
                f"the language model is of type {family} with {act}, whose layers are not known here; set "
                f"base_models.language to one of type {', '.join(FAMILY)} with silu"
            )
        try:
            layers, width, heads = said["num_hidden_layers"], said["hidden_size"], said["num_attention_heads"]
            groups = said.get("num_key_value_heads") or heads
            return Settings(
                family, layers, width, heads, groups, said.get("head_dim") or width // heads, said["rms_norm_eps"]
            )
        except KeyError as error:
            raise DataError(f"{folder / 'config.json'} has no {error}; {_MEND}") from error


class Linear(nn.Module):
    """A frozen matrix with a LoRA update. Where nothing can be learnt (inference mode) the two are added up, once."""

    def __init__(self, weight_OD: Tensor, bias_O: Tensor | None, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_OD, requires_grad=False)
        self.bias = None if bias_O is None else nn.Parameter(bias_O, requires_grad=False)
        wide, narrow = weight_OD.shape
        self.lora_A, self.lora_B = nn.Linear(narrow, rank, bias=False), nn.Linear(rank, wide, bias=False)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=5**0.5)
        nn.init.zeros_(self.lora_B.weight)
        self.lora_A.weight.data = self.lora_A.weight.data.to(weight_OD.dtype).float()  # peft draws in the base's type
        self._added: tuple[tuple, Tensor] | None = None

    @property
    def weights(self) -> Weights:
        return Weights(self.weight, self.lora_A.weight, self.lora_B.weight)

    @property
    def added(self) -> Tensor:
        """[O, D] the weight with the update added, made once and kept until `train` or until others are put in place.

        Fused optimisers change weights in place without a trace: whoever learns calls `train` first.
        """
        _, A_RD, B_OR = self.weights
        made_of = tuple(x for part in (A_RD, B_OR) for x in (part._version, part.data_ptr()))
        if self._added is None or self._added[0] != made_of:
            self._added = made_of, self.weights.added(SCALE)
        return self._added[1]

    def train(self, mode: bool = True) -> "Linear":
        """As torch's; the sum is forgotten where the update is learnt on."""
        if mode:
            self._added = None
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            return F.linear(x, self.added, self.bias)
        return adapted(x, self.bias, SCALE, self.weights)


class Norm(nn.Module):
    """RMSNorm with a frozen weight."""

    def __init__(self, weight_D: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(weight_D, requires_grad=False), eps

    def forward(self, x: Tensor) -> Tensor:
        return normed(x, self.weight, self.eps)


class Attention(nn.Module):
    """Attention over a packed stream; of the rows `read_X` alone where it is given."""

    def __init__(self, read: Read, number: int, settings: Settings, rank: int) -> None:
        super().__init__()
        own, biased = f"layers.{number}.self_attn.", settings.family == "qwen2"
        self.number, self.head_width = number, settings.head_width
        self.q_proj = _linear(read, own + "q_proj", rank, settings.heads * self.head_width, biased)
        self.k_proj = _linear(read, own + "k_proj", rank, settings.groups * self.head_width, biased)
        self.v_proj = _linear(read, own + "v_proj", rank, settings.groups * self.head_width, biased)
        self.o_proj = _linear(read, own + "o_proj", rank, settings.width)
        self.q_norm, self.k_norm = nn.Identity(), nn.Identity()
        if settings.family == "qwen3":  # it alone norms each head
            self.q_norm = Norm(_there(read, own + "q_norm.weight"), settings.eps)
            self.k_norm = Norm(_there(read, own + "k_norm.weight"), settings.eps)

    def forward(
        self, x_ND: Tensor, angles: Angles, layout: Layout, memory: Memory | None, read_X: Tensor | None
    ) -> Tensor:
        asks_XD, *asks = (x if read_X is None else x.index_select(0, read_X) for x in (x_ND, *angles))
        parts = (self.q_proj, asks_XD), (self.k_proj, x_ND), (self.v_proj, x_ND)
        q_XHd, k_NGd, v_NGd = (part(rows).unflatten(-1, (-1, self.head_width)) for part, rows in parts)
        q_XHd, k_NGd = rotated(self.q_norm(q_XHd), *asks), rotated(self.k_norm(k_NGd), *angles)
        streams = (x.transpose(0, 1) for x in (q_XHd, k_NGd, v_NGd))
        scale = self.head_width**-0.5
        out_XHd = packed_attention(*streams, layout, scale, memory, self.number, read_X is not None)
        return self.o_proj(out_XHd.flatten(1))


class FeedForward(nn.Module):
    """The gated feed-forward part."""

    def __init__(self, read: Read, number: int, rank: int) -> None:
        super().__init__()
        own = f"layers.{number}.mlp."
        self.gate_proj = _linear(read, own + "gate_proj", rank)
        self.up_proj, self.down_proj = _linear(read, own + "up_proj", rank), _linear(read, own + "down_proj", rank)

    def forward(self, x: Tensor) -> Tensor:
        gate, up, down = parts = self.gate_proj, self.up_proj, self.down_proj
        if any(part.bias is not None for part in parts):
            return down(F.silu(gate(x)) * up(x))
        if torch.is_inference_mode_enabled():
            return fed_forward_added(x, gate.added, up.added, down.added)
        return fed_forward(x, SCALE, gate.weights, up.weights, down.weights)


class Layer(nn.Module):
    """One layer; of the rows `read_X` alone where it is given."""

    def __init__(self, read: Read, number: int, settings: Settings, rank: int) -> None:
        super().__init__()
        own = f"layers.{number}."
        self.self_attn, self.mlp = Attention(read, number, settings, rank), FeedForward(read, number, rank)
        self.input_layernorm = Norm(_there(read, own + "input_layernorm.weight"), settings.eps)
        self.post_attention_layernorm = Norm(_there(read, own + "post_attention_layernorm.weight"), settings.eps)

    def forward(
        self, x_ND: Tensor, angles: Angles, layout: Layout, memory: Memory | None, read_X: Tensor | None = None
    ) -> Tensor:
        seen_XD = self.self_attn(self.input_layernorm(x_ND), angles, layout, memory, read_X)
        x_XD = (x_ND if read_X is None else x_ND.index_select(0, read_X)) + seen_XD
        return x_XD + self.mlp(self.post_attention_layernorm(x_XD))


class Rotary(nn.Module):
    """Angles of places, [L, d] cosines and sines in the given type."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        super().__init__()
        frequencies, self.scale = _frequencies(folder, settings)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, places_L: Tensor, dtype: torch.dtype) -> Angles:
        half = torch.outer(places_L.float(), self.frequencies)
        angles_Ld = torch.cat([half, half], dim=-1)
        cos_Ld, sin_Ld = angles_Ld.cos() * self.scale, angles_Ld.sin() * self.scale
        return cos_Ld.to(dtype), sin_Ld.to(dtype)


class Decoder(nn.Module):
    """embed_tokens, the first `layers` layers, the final norm, and the head's weight, in one type."""

    def __init__(self, folder: Path, layers: int, rank: int, dtype: torch.dtype) -> None:
        """Raises ConfigError (another family, more layers than there are) or DataError (damaged)."""
        super().__init__()
        settings = Settings.of(folder)
        if layers > settings.layers:
            raise ConfigError(
                f"model.network.layers is {layers}, but the language model has {settings.layers}; lower it"
            )
        read = _reader(folder, dtype)
        self.width = settings.width
        self.embed_tokens = nn.Embedding.from_pretrained(_there(read, "embed_tokens.weight"), freeze=True)
        self.layers = nn.ModuleList([Layer(read, number, settings, rank) for number in range(layers)])
        self.norm = Norm(_there(read, "norm.weight"), settings.eps)
        self.rotary = Rotary(folder, settings)
        head_VD = None if _said(folder).get("tie_word_embeddings") else read("lm_head.weight")
        self.head_VD = self.embed_tokens.weight if head_VD is None else nn.Parameter(head_VD, requires_grad=False)


def _said(folder: Path) -> dict[str, Any]:
    return read_json(folder / "config.json", _MEND)


def _reader(folder: Path, dtype: torch.dtype) -> Read:
    """Reads weights by name from the folder's safetensors; only those asked for are read at all."""
    files = {name: file for file in sorted(folder.glob("*.safetensors")) for name in _names(file)}
    if not files:
        raise DataError(f"{folder} holds no weights (*.safetensors); {_MEND}")

    def read(name: str) -> Tensor | None:
        name = name if name in files else f"model.{name}"
        if name not in files:
            return None
        with safe_open(files[name], framework="pt") as file:
            return file.get_tensor(name).to(dtype, copy=True)  # else it would be the mapped file itself

    return read


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as opened:
            return list(opened.keys())
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file} cannot be read ({error}); {_MEND}") from error


def _there(read: Read, name: str) -> Tensor:
    found = read(name)
    if found is None:
        raise DataError(f"the language model's weights have no {name}; {_MEND}")
    return found


def _linear(read: Read, name: str, rank: int, rows: int | None = None, biased: bool = False) -> Linear:
    """rows: as many as config.json says; biased: it must have a bias, else it may."""
    weight_OD = _there(read, name + ".weight")
    if rows not in (None, len(weight_OD)):
        raise DataError(f"{name} of the language model has {len(weight_OD)} rows, by its config.json {rows}; {_MEND}")
    return Linear(weight_OD, (partial(_there, read) if biased else read)(name + ".bias"), rank)


def _frequencies(folder: Path, settings: Settings) -> tuple[Tensor, float]:
    """[d / 2] what a place is multiplied by, and the scale of cosines and sines.

    Raises ConfigError for a rule that is not known, or by which a vector would rest on how long others' histories are.
    """
    said = _said(folder)
    rope = said.get("rope_parameters") or said.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind not in ("default", *STRETCHED):
        raise ConfigError(
            f"the language model's places are stretched by {kind!r}, which is not known here; set base_models.language "
            f"to one without stretched places or with {', '.join(STRETCHED)}"
        )
    if kind != "default":
        from transformers import AutoConfig
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        return ROPE_INIT_FUNCTIONS[kind](AutoConfig.from_pretrained(folder), torch.device("cpu"))
    theta = rope.get("rope_theta", said.get("rope_theta", 10000.0))
    steps = torch.arange(0, settings.head_width, 2, dtype=torch.int64).float()
    return 1.0 / theta ** (steps / settings.head_width), 1.0
