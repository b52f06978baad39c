"""The language model with LoRA, run over packed streams. The only module that imports peft.

Works for decoders of the Llama family in transformers (SmolLM2 is one): embed_tokens, layers, rotary_emb, norm,
lm_head; their layers' parts are `instructue.network.fused`. LoRA: Hu et al. 2021 (arXiv 2106.09685).
"""

from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from instructue.errors import ConfigError
from instructue.network.fused import adapted, attended, fed_forward, normed
from instructue.network.packing import Layout, Memory

FAMILY = ("llama", "mistral", "qwen2", "qwen3")
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Backbone(nn.Module):
    """First `layers` layers of a pretrained causal language model, frozen but for LoRA.

    forward(embedded_ND, layout) -> hidden_XD after the final norm, of the tokens that are read (layout.read_X; all of
    them where layout.all_read). `embed` looks tokens up; `logits` applies the language-model head to hidden states.
    """

    def __init__(self, folder: Path, layers: int, lora_rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        import peft
        from transformers import AutoConfig, AutoModelForCausalLM

        settings = AutoConfig.from_pretrained(folder)
        if settings.model_type not in FAMILY or getattr(settings, "hidden_act", "") != "silu":
            raise ConfigError(
                f"the language model is of type {settings.model_type}, whose layers are not known here; set "
                f"base_models.language to one of type {', '.join(FAMILY)} with silu"
            )
        if layers > (available := settings.num_hidden_layers):
            raise ConfigError(f"model.network.layers is {layers}, but the language model has {available}; lower it")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, num_hidden_layers=layers)
        self.embedding_rms = model.get_input_embeddings().weight.float().pow(2).mean().sqrt().item()
        lora = peft.LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules=LORA_TARGETS, lora_dropout=0.0)
        self.peft = peft.get_peft_model(model, lora)
        for module in self.peft.modules():
            if isinstance(module, peft.tuners.lora.Linear):
                module.forward, module.merged_weight = MethodType(adapted, module), None
            elif hasattr(module, "variance_epsilon"):  # RMSNorm as the Llama family has it
                module.forward = MethodType(normed, module)
            elif hasattr(module, "q_proj"):
                module.forward = MethodType(attended, module)
            elif hasattr(module, "gate_proj") and module.gate_proj.base_layer.bias is None:
                module.forward = MethodType(fed_forward, module)
        self.width: int = model.config.hidden_size

    def train(self, mode: bool = True) -> "Backbone":
        """As torch's; weights that LoRA was added to are forgotten where it is learnt on."""
        if mode:
            for module in self.peft.modules():
                if hasattr(module, "merged_weight"):
                    module.merged_weight = None
        return super().train(mode)

    @property
    def _causal(self):
        return self.peft.base_model.model

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids of any shape -> their embeddings."""
        return self._causal.model.embed_tokens(tokens)

    def forward(self, embedded_ND: Tensor, layout: Layout, memory: Memory | None = None) -> Tensor:
        decoder = self._causal.model
        x_ND, positions = embedded_ND, layout.positions.to(embedded_ND.device)
        # Few places differ: their angles are computed once.
        each = torch.arange(int(positions.max()) + 1, device=x_ND.device)[None]
        angles = tuple(one[0].index_select(0, positions) for one in decoder.rotary_emb(x_ND[None], each))
        *layers, last = decoder.layers
        for layer in layers:
            x_ND = _layer(layer, x_ND, angles, layout, memory)
        return decoder.norm(_layer(last, x_ND, angles, layout, memory, None if layout.all_read else layout.read_X))

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """[N, X] of every token of the vocabulary."""
        return self._causal.lm_head(hidden_ND)

    @property
    def words_XD(self) -> Tensor:
        """The head's frozen weight: a hidden state's product with a token's row is its logit."""
        return self._causal.lm_head.weight

    def lora_state(self) -> dict[str, Tensor]:
        """The LoRA weights alone, by peft's names."""
        import peft

        return peft.get_peft_model_state_dict(self.peft)

    def load_lora_state(self, state: dict[str, Tensor]) -> None:
        """Put LoRA weights back; raises ConfigError if a name is missing or unknown."""
        import peft

        if (wanted := set(self.lora_state())) != set(state):
            missing, unknown = sorted(wanted - set(state))[:3], sorted(set(state) - wanted)[:3]
            raise ConfigError(f"LoRA weights do not fit: missing {missing}, unknown {unknown}")
        peft.set_peft_model_state_dict(self.peft, state)


def _layer(
    layer: Any,
    x_ND: Tensor,
    angles: tuple[Tensor, ...],
    layout: Layout,
    memory: Memory | None,
    read_X: Tensor | None = None,
) -> Tensor:
    """A decoder's layer of the Llama family; of the rows `read_X` alone where it is given."""
    seen_XD = layer.self_attn(layer.input_layernorm(x_ND), angles, layout, memory, read_X)
    x_XD = (x_ND if read_X is None else x_ND.index_select(0, read_X)) + seen_XD
    return x_XD + layer.mlp(layer.post_attention_layernorm(x_XD))
