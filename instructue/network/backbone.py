"""The language model with LoRA, run over packed streams.

Works for decoders of the Llama family (SmolLM2 is one), whose layers are `instructue.network.decoder`.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructue.errors import ConfigError
from instructue.network.decoder import Decoder
from instructue.network.packing import Layout, Memory

PEFT = "base_model.model."  # what peft puts before a decoder's own names


class Backbone(nn.Module):
    """First `layers` layers of a pretrained causal language model, frozen but for LoRA.

    forward(embedded_ND, layout) -> hidden_XD after the final norm, of the tokens that are read (layout.read_X; all of
    them where layout.all_read). `embed` looks tokens up; `logits` applies the language-model head to hidden states.
    """

    def __init__(self, folder: Path, layers: int, lora_rank: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = Decoder(folder, layers, lora_rank, dtype)
        self.width = self.model.width
        self.embedding_rms = self.model.embed_tokens.weight.float().pow(2).mean().sqrt().item()

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids of any shape -> their embeddings."""
        return self.model.embed_tokens(tokens)

    def forward(self, embedded_ND: Tensor, layout: Layout, memory: Memory | None = None) -> Tensor:
        x_ND, positions = embedded_ND, layout.positions.to(embedded_ND.device)
        # Few places differ: their angles are computed once.
        places = torch.arange(int(positions.max()) + 1, device=x_ND.device)
        cos_Nd, sin_Nd = (one.index_select(0, positions) for one in self.model.rotary(places, x_ND.dtype))
        *layers, last = self.model.layers
        for layer in layers:
            x_ND = layer(x_ND, (cos_Nd, sin_Nd), layout, memory)
        # The last layer makes of most tokens keys and values alone.
        read_X = None if layout.all_read else layout.read_X
        return self.model.norm(last(x_ND, (cos_Nd, sin_Nd), layout, memory, read_X))

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """[N, X] of every token of the vocabulary."""
        return F.linear(hidden_ND, self.words_XD)

    @property
    def words_XD(self) -> Tensor:
        """The head's frozen weight: a hidden state's product with a token's row is its logit."""
        return self.model.head_VD

    def lora_state(self) -> dict[str, Tensor]:
        """The LoRA weights alone, by peft's names."""
        return {PEFT + name: value for name, value in self.state_dict().items() if "lora_" in name}

    def load_lora_state(self, state: dict[str, Tensor]) -> None:
        """Put LoRA weights back; raises ConfigError if a name is missing or unknown."""
        if (wanted := set(self.lora_state())) != set(state):
            missing, unknown = sorted(wanted - set(state))[:3], sorted(set(state) - wanted)[:3]
            raise ConfigError(f"LoRA weights do not fit: missing {missing}, unknown {unknown}")
        self.load_state_dict({name.removeprefix(PEFT): value for name, value in state.items()}, strict=False)
