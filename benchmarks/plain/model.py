"""The user model run the plain way: transformers' own forward over padded sequences, with a mask and positions.

The same network with the same weights: the language model is loaded anew (peft, attention `sdpa`) and given the
LoRA weights of ours, the small parts are copies. Where code of this kind has a choice, the quicker one is taken: all in
the configured dtype, no float32 copies by peft, the language model's head only where an answer's token is asked. It
has no evidence beside the language model: those numbers stay zero and cost it nothing.
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructue.network.decoder import LORA_TARGETS
from instructue.network.user_model import TOLD, UserModel
from plain.sequences import Sequences

SMALL = ["encoders", "summary", "head", "answer_head", "text_head"]
MARKS = ["turn_EE", "place_size_C", "missing_PD", "none_found_D", "user_D"]


class PlainModel(nn.Module):
    """forward(sequences) -> (embeddings_NE unit length, answer logits or None, their targets or None)."""

    def __init__(self, ours: UserModel, folder: Path, dtype: torch.dtype) -> None:
        super().__init__()
        import peft
        from transformers import AutoModelForCausalLM

        self.shape, self.dtype = ours.shape, dtype
        layers, rank = ours.shape.layers, ours.shape.lora_rank
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, num_hidden_layers=layers, attn_implementation="sdpa"
        )
        lora = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_TARGETS, lora_dropout=0.0)
        # Named as in ours, so that the optimiser gives it the same rate.
        self.backbone = peft.get_peft_model(model, lora)
        for module in self.backbone.modules():
            if hasattr(module, "cast_input_dtype_enabled"):
                module.cast_input_dtype_enabled = False
        peft.set_peft_model_state_dict(self.backbone, ours.backbone.lora_state())
        for name in (*SMALL, *MARKS):
            setattr(self, name, copy.deepcopy(getattr(ours, name)))

    @property
    def causal(self):
        return self.backbone.base_model.model

    def forward(self, s: Sequences) -> tuple[Tensor, Tensor | None, Tensor | None]:
        soft_XD = self.encoders(s.vectors, s.figures, s.source, s.role)
        whole_NSD = _place(soft_XD, s.whole_NS, torch.zeros_like(self.user_D))
        start_ND = self.user_D + self.summary(torch.cat([whole_NSD.flatten(1), s.place_NC.to(whole_NSD.dtype)], 1))
        prefix_NPD = _place(soft_XD, s.prefix_NP, self.missing_PD)
        retrieved_NQD = _place(soft_XD, s.retrieved_NQ, self.none_found_D)
        tokens_NID = self.causal.model.embed_tokens(s.ids_NI)
        is_user = torch.arange(s.ids_NI.shape[1]) == s.user_N[:, None]
        tokens_NID = torch.where(is_user[..., None], start_ND[:, None].to(tokens_NID.dtype), tokens_NID)
        parts = [prefix_NPD, retrieved_NQD, tokens_NID]
        N, P, Q = len(s.ids_NI), s.prefix_NP.shape[1], s.retrieved_NQ.shape[1]
        mask_NL = torch.cat([torch.ones(N, P, dtype=torch.bool), s.asked_N[:, None].expand(-1, Q), s.used_NI], 1)
        hidden_NLD = self.causal.model(
            inputs_embeds=torch.cat([p.to(self.dtype) for p in parts], 1),
            attention_mask=mask_NL.long(),
            position_ids=(mask_NL.long().cumsum(1) - 1).clamp_min(0),
            use_cache=False,
        ).last_hidden_state
        embeddings_NE = self._embedding(hidden_NLD[torch.arange(N), P + Q + s.user_N], s.place_NC)
        asked_NI = s.target_NI >= 0
        if not asked_NI.any():
            return embeddings_NE, None, None
        return embeddings_NE, self.causal.lm_head(hidden_NLD[:, P + Q :][asked_NI]), s.target_NI[asked_NI]

    def _embedding(self, user_ND: Tensor, place_NC: Tensor) -> Tensor:
        with torch.autocast(user_ND.device.type, enabled=False):
            parts = [TOLD * F.normalize(self.head(user_ND.float()), dim=-1)]
            if self.shape.map_width:
                parts.append(place_NC * self.place_size_C)
            missing = self.shape.dim - sum(part.shape[-1] for part in parts)
            joined_NE = torch.cat([*parts, parts[0].new_zeros(len(user_ND), missing)], -1)
            return F.normalize(joined_NE, dim=-1) @ self.turn_EE

    def embed_answers(self, vectors_AV: Tensor) -> Tensor:
        return F.normalize(self.answer_head(vectors_AV), dim=-1)

    def embed_texts(self, vectors_AV: Tensor) -> Tensor:
        return F.normalize(self.text_head(vectors_AV), dim=-1)


def _place(soft_XD: Tensor, index: Tensor, otherwise: Tensor) -> Tensor:
    """Soft tokens at `index`, and `otherwise` where it is -1."""
    return torch.where((index >= 0)[..., None], soft_XD[index.clamp_min(0)], otherwise.to(soft_XD.dtype))
