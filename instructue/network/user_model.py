"""The user model: soft tokens of a history, the language model, the hidden state of <USER>, its embedding.

Legend: B histories, P prefix slots, K segments, Q retrieved slots, I token slots, S sources, N soft tokens,
D model width, A answers, V text vector width, E embedding width.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructue.batching.packs import Pack, Segments
from instructue.network.backbone import Backbone
from instructue.network.event_encoder import SourceEncoders
from instructue.network.packing import Layout

ENCODER_WIDTH = 256


@dataclass(frozen=True)
class Shape:
    """All that a checkpoint must agree on to be loaded: sizes and the roles of the soft tokens."""

    sources: int
    event_sources: int
    windows: int
    attributes: int
    frequent: int
    features: int
    text_width: int
    map_width: int
    dim: int
    layers: int
    lora_rank: int

    @property
    def roles(self) -> int:
        return self.windows + 4

    @property
    def prefix(self) -> int:
        return self.attributes + self.event_sources * self.windows + self.frequent


@dataclass
class Output:
    """embeddings: per group [B, K, E], unit length. answer_logits, answer_targets: rows asked for, or None."""

    embeddings: list[Tensor]
    answer_logits: Tensor | None
    answer_targets: Tensor | None


class UserModel(nn.Module):
    """Instruction-aware user embedding (after arXiv 2510.11016): encoders, adapters, language model, heads."""

    def __init__(self, shape: Shape, language_model: Path, dtype: torch.dtype) -> None:
        super().__init__()
        self.shape = shape
        self.backbone = Backbone(language_model, shape.layers, shape.lora_rank, dtype)
        D, rms = self.backbone.width, self.backbone.embedding_rms
        self.encoders = SourceEncoders(
            shape.sources, shape.text_width + shape.map_width, shape.features, shape.roles, ENCODER_WIDTH, D, rms
        )
        # A learnt mark for each prefix slot that has no event, and one for a retrieved slot: absence is information.
        self.missing_PD = nn.Parameter(torch.randn(shape.prefix, D) * rms)
        self.none_found_D = nn.Parameter(torch.randn(D) * rms)
        self.user_D = nn.Parameter(torch.randn(D) * rms)
        self.summary = nn.Linear(D * shape.event_sources + shape.map_width, D)
        self.head = nn.Linear(D, shape.dim - shape.map_width, bias=False)
        self.map_head = nn.Linear(shape.map_width, shape.map_width, bias=False)
        nn.init.eye_(self.map_head.weight)
        self.answer_head = nn.Linear(shape.text_width, shape.dim, bias=False)
        self.text_head = nn.Linear(shape.text_width, shape.dim, bias=False)

    def forward(self, pack: Pack, *, with_answers: bool = False) -> Output:
        soft_ND = self.encoders(pack.vectors_NV, pack.figures_NF, pack.source_N, pack.role_N)
        prefix_BPD = _place(soft_ND, pack.prefix_BP, self.missing_PD)
        start_BD = self._user_start(soft_ND, pack)
        groups_BKSD = [self._embed_segments(soft_ND, g, start_BD) for g in pack.groups]
        layout = Layout(self.shape.prefix, tuple((g.shape[1], g.shape[2]) for g in groups_BKSD))
        packed_BLD = torch.cat([prefix_BPD, *(g.flatten(1, 2) for g in groups_BKSD)], dim=1)
        hidden_BLD = self.backbone(packed_BLD, layout)
        embeddings, states, targets = [], [], []
        for (K, S), at, group in zip(layout.groups, layout.starts(), pack.groups, strict=True):
            hidden_BKSD = hidden_BLD[:, at : at + K * S].unflatten(1, (K, S))
            place_BK = group.user_BK + group.retrieved_BKQ.shape[2]
            user_BKD = hidden_BKSD.gather(2, place_BK[..., None, None].expand(-1, -1, 1, hidden_BKSD.shape[-1]))[
                :, :, 0
            ]
            embeddings.append(self._embedding(user_BKD, pack.place_BC))
            if with_answers and (group.target_BKI >= 0).any():
                asked = group.target_BKI >= 0
                states.append(hidden_BKSD[:, :, group.retrieved_BKQ.shape[2] :][asked])
                targets.append(group.target_BKI[asked])
        logits = self.backbone.logits(torch.cat(states)) if states else None
        return Output(embeddings, logits, torch.cat(targets) if targets else None)

    def _embedding(self, user_BKD: Tensor, place_BC: Tensor) -> Tensor:
        """<USER>'s hidden state beside the history's place on the map, each at equal length, together at unit length.

        The place passes the language model by: what no question in training asked about stays readable.
        In float32, as rounding the sum would drown its small components.
        """
        with torch.autocast(user_BKD.device.type, enabled=False):
            told_BKH = F.normalize(self.head(user_BKD.float()), dim=-1)
            if not self.shape.map_width:
                return told_BKH
            place_BC = F.normalize(self.map_head(place_BC), dim=-1)
            return torch.cat([told_BKH, place_BC[:, None].expand(-1, told_BKH.shape[1], -1)], dim=-1) * 0.5**0.5

    def _user_start(self, soft_ND: Tensor, pack: Pack) -> Tensor:
        """<USER> starts from a summary of the whole history, so that its residual stream carries it through."""
        whole_BSD = _place(
            soft_ND,
            pack.whole_BS[:, : self.shape.event_sources],
            torch.zeros(1, soft_ND.shape[1], device=soft_ND.device),
        )
        return self.user_D + self.summary(torch.cat([whole_BSD.flatten(1), pack.place_BC.to(whole_BSD.dtype)], dim=1))

    def _embed_segments(self, soft_ND: Tensor, group: Segments, start_BD: Tensor) -> Tensor:
        tokens_BKID = self.backbone.embed(group.ids_BKI).to(soft_ND.dtype)
        width = group.ids_BKI.shape[2]
        is_user = torch.arange(width, device=soft_ND.device) == group.user_BK[..., None]
        tokens_BKID = torch.where(is_user[..., None], start_BD[:, None, None], tokens_BKID)
        if group.retrieved_BKQ.shape[2] == 0:
            return tokens_BKID
        retrieved_BKQD = _place(soft_ND, group.retrieved_BKQ, self.none_found_D)
        return torch.cat([retrieved_BKQD, tokens_BKID], dim=2)

    def embed_answers(self, vectors_AV: Tensor) -> Tensor:
        """Text vectors of answers -> [A, E], unit length, in the users' space."""
        return F.normalize(self.answer_head(vectors_AV), dim=-1)

    def embed_texts(self, vectors_AV: Tensor) -> Tensor:
        """Text vectors of events -> [A, E], unit length, for the general embedding's loss."""
        return F.normalize(self.text_head(vectors_AV), dim=-1)


def _place(soft_ND: Tensor, index: Tensor, otherwise: Tensor) -> Tensor:
    """Rows of soft_ND at `index`, and `otherwise` (broadcast) where it is -1."""
    found = soft_ND[index.clamp_min(0)]
    return torch.where((index >= 0)[..., None], found, otherwise.to(soft_ND.dtype))
