"""The language model with LoRA, run over packed streams. The only module that imports peft.

Works for any decoder of the Llama family in transformers (SmolLM2, Llama, Qwen2): embed_tokens, layers,
rotary_emb, norm, lm_head. LoRA: Hu et al. 2021 (arXiv 2106.09685).
"""

from pathlib import Path
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructue.errors import ConfigError
from instructue.network.packing import Layout, Memory, packed_attention

ATTENTION = "instructue_packed"
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _attend(module, query, key, value, attention_mask, scaling, dropout=0.0, *, layout: Layout, memory=None, **_):
    attended = packed_attention(query[0], key[0], value[0], layout, scaling, memory, module.layer_idx)
    return attended[None], None


def _fused(self, x: Tensor) -> Tensor:
    """peft's LoRA product without its copies: what is added and scaled is added and scaled inside one product.

    Where nothing can be learnt (inference mode), the update is added to the weights once and kept.
    """
    down, up = (part["default"].weight for part in (self.lora_A, self.lora_B))
    if torch.is_inference_mode_enabled():
        made_of = (down._version, up._version, down.device)
        if self.merged_weight is None or self.merged_weight[0] != made_of:
            update = self.scaling["default"] * (up.float() @ down.float())
            weight = self.base_layer.weight
            self.merged_weight = made_of, (weight.float() + update).to(weight.dtype)
        return F.linear(x, self.merged_weight[1], self.base_layer.bias)
    base = self.base_layer(x)
    added = torch.addmm(base.flatten(0, -2), F.linear(x, down).flatten(0, -2), up.T, alpha=self.scaling["default"])
    return added.view(base.shape)


class Backbone(nn.Module):
    """First `layers` layers of a pretrained causal language model, frozen but for LoRA.

    forward(embedded_ND, layout) -> hidden_ND after the final norm. `embed` looks tokens up; `logits` applies
    the language-model head to chosen hidden states.
    """

    def __init__(self, folder: Path, layers: int, lora_rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        import peft
        from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

        AttentionInterface.register(ATTENTION, _attend)
        available = AutoConfig.from_pretrained(folder).num_hidden_layers
        if layers > available:
            raise ConfigError(f"model.network.layers is {layers}, but the language model has {available}; lower it")
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, num_hidden_layers=layers, attn_implementation=ATTENTION
        )
        self.embedding_rms = model.get_input_embeddings().weight.float().pow(2).mean().sqrt().item()
        lora = peft.LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules=LORA_TARGETS, lora_dropout=0.0)
        self.peft = peft.get_peft_model(model, lora)
        for module in self.peft.modules():
            if isinstance(module, peft.tuners.lora.Linear):
                module.forward, module.merged_weight = MethodType(_fused, module), None
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
        hidden = embedded_ND[None]
        positions = layout.positions.to(hidden.device)[None]
        rotary = decoder.rotary_emb(hidden, positions)
        for layer in decoder.layers:
            hidden = layer(
                hidden,
                attention_mask=None,
                position_ids=positions,
                position_embeddings=rotary,
                layout=layout,
                memory=memory,
            )
        return decoder.norm(hidden)[0]

    def logits(self, hidden_ND: Tensor) -> Tensor:
        return self._causal.lm_head(hidden_ND)

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
