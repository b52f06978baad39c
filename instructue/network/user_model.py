"""The user model: soft tokens of a history, the language model, the hidden state of <USER>, its embedding.

Legend: B histories, P prefix slots, U distinct instructions, K segments, Q retrieved slots, J answer tokens,
S sources, N soft tokens, D model width, A answers, V text vector width, E embedding width, C evidence figures,
F figures of the whole history.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructue.batching.packs import Pack, Segments
from instructue.batching.tokens import Roles
from instructue.network.backbone import Backbone
from instructue.network.event_encoder import SourceEncoders
from instructue.network.evidence import Evidence
from instructue.network.mixing import even_rotation
from instructue.network.packing import Group, Layout, Memory

ENCODER_WIDTH = 256
TOLD = 1.0  # length of what <USER> says, where the place on the map has a root mean square of 1


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
    evidence_width: int
    dim: int
    layers: int
    lora_rank: int
    matryoshka: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "matryoshka", tuple(self.matryoshka))  # JSON knows lists alone

    @property
    def told_width(self) -> int:
        return self.dim - self.map_width - self.evidence_width

    @property
    def roles(self) -> int:
        return Roles(self.windows).count

    @property
    def prefix(self) -> int:
        return self.attributes + self.event_sources * self.windows + self.frequent


@dataclass
class Output:
    """embeddings: per group [B, K, E], unit length. answer_states_TD, answer_targets_T: hidden states that say the
    next of T answer tokens, and these tokens; None where none was asked for."""

    embeddings: list[Tensor]
    answer_states_TD: Tensor | None
    answer_targets_T: Tensor | None


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
        self.head = nn.Linear(D, shape.told_width, bias=False)
        self.register_buffer("turn_EE", even_rotation(shape.dim), persistent=False)
        self.register_buffer("place_size_C", torch.ones(shape.map_width))
        whole = shape.event_sources * (1 + shape.windows) * shape.features
        self.evidence = Evidence(shape.event_sources, whole, shape.evidence_width, D)
        self.answer_head = nn.Linear(shape.text_width, shape.dim, bias=False)
        self.text_head = nn.Linear(shape.text_width, shape.dim, bias=False)

    @torch.no_grad()
    def fit_place(self, spread_C: Tensor) -> None:
        """Give the map's directions the sizes they have among training histories, which a pack's places have lost.

        As the evidence's, they are not learnt further, which blurred them (docs/experiments.md).
        """
        self.place_size_C.copy_(spread_C / spread_C.norm().clamp_min(1e-6))

    def forward(self, pack: Pack, *, with_answers: bool = False, memory: Memory | None = None) -> Output:
        """Embeddings of every segment. An empty `memory` is filled with what the histories' tokens left in every
        layer; a filled one stands in for them, so that further instructions cost only themselves."""
        soft_ND = self.soft_tokens(pack) if pack.soft_ND is None else pack.soft_ND
        remembered = memory is not None and bool(memory.layers)
        start_BD = self._user_start(soft_ND, pack)
        figures = [self.evidence(pack, group.which_BK) for group in pack.groups]
        groups_BKSD = [self._segments(soft_ND, *g, start_BD) for g in zip(pack.groups, figures, strict=True)]
        pairs = zip(pack.groups, groups_BKSD, strict=True)
        groups = [Group(g.which_BK, x.shape[2], unread=g.retrieved_BKQ.shape[2]) for g, x in pairs]
        layout = Layout(len(start_BD), self.shape.prefix, pack.length_U, groups, remembered)
        said_ID = self._said(pack).to(soft_ND.dtype)
        prefix = [] if remembered else [_place(soft_ND, pack.prefix_BP, self.missing_PD).flatten(0, 1)]
        stream_ND = torch.cat([*prefix, said_ID, *(x.flatten(0, 2) for x in groups_BKSD)])
        hidden = self.backbone(stream_ND, layout, memory).split(layout.read_sizes)
        whole_BF = self.amounts(pack)
        embeddings, states, targets = [], [], []
        for group, figure, part in zip(pack.groups, figures, hidden, strict=True):
            # From <USER> on: its own state first, then those of the answer's tokens.
            said_BKJD = part.unflatten(0, (*group.which_BK.shape, -1))
            embeddings.append(self._embedding(said_BKJD[:, :, 0], pack.place_BC, figure, whole_BF))
            if with_answers and (asked := group.target_BKJ >= 0).any():
                states.append(said_BKJD[asked])
                targets.append(group.target_BKJ[asked])
        return Output(embeddings, *((torch.cat(states), torch.cat(targets)) if states else (None, None)))

    def soft_tokens(self, pack: Pack) -> Tensor:
        """[N, D] the pack's soft tokens, which no instruction enters: what pack.soft_ND may hold."""
        return self.encoders(pack.vectors_NV, pack.figures_NF, pack.source_N, pack.role_N)

    def _said(self, pack: Pack) -> Tensor:
        """[I, D] embeddings of the instructions' tokens, or what a learnt prompt has in their place."""
        said_ID = self.backbone.embed(pack.ids_I)
        if not pack.prompts:
            return said_ID
        said = enumerate(said_ID.split(pack.length_U.tolist()))
        return torch.cat([pack.prompts.get(number, words_ID) for number, words_ID in said])

    def _embedding(self, user_BKD: Tensor, place_BC: Tensor, figure_BKC: Tensor, whole_BF: Tensor) -> Tensor:
        """<USER>'s hidden state beside the history's place on the map and the evidence for what is asked, at unit
        length and turned.

        Place and evidence pass the language model by: what no question in training asked about stays readable, and
        how much and how lately stays a number. Every direction keeps the size it has among histories, and the turn
        gives every column a like share of all: a probe that scales columns then still shrinks the weak directions
        first. In float32, as rounding the sum would drown small components.
        """
        with torch.autocast(user_BKD.device.type, enabled=False):
            parts = [TOLD * F.normalize(self.head(user_BKD.float()), dim=-1)]
            if self.shape.map_width:
                parts.append((place_BC * self.place_size_C)[:, None].expand(-1, user_BKD.shape[1], -1))
            if self.shape.evidence_width:
                parts.append(self.evidence.embedded(figure_BKC, whole_BF))
            return F.normalize(torch.cat(parts, dim=-1), dim=-1) @ self.turn_EE

    def amounts(self, pack: Pack) -> Tensor:
        """[B, F] figures of the whole history by source and of every window, normalised, 0 where there is none."""
        S, W = self.shape.event_sources, self.shape.windows
        window_BSW = pack.prefix_BP[:, self.shape.attributes : self.shape.attributes + S * W]
        places = torch.cat([pack.whole_BS[:, :S], window_BSW], dim=1)
        figures_NF = self.encoders.normalised(pack.figures_NF)
        return _place(figures_NF, places, torch.zeros(1, device=figures_NF.device)).flatten(1)

    def _user_start(self, soft_ND: Tensor, pack: Pack) -> Tensor:
        """<USER> starts from a summary of the whole history, so that its residual stream carries it through."""
        whole_BSD = _place(
            soft_ND,
            pack.whole_BS[:, : self.shape.event_sources],
            torch.zeros(1, soft_ND.shape[1], device=soft_ND.device),
        )
        return self.user_D + self.summary(torch.cat([whole_BSD.flatten(1), pack.place_BC.to(whole_BSD.dtype)], dim=1))

    def _segments(self, soft_ND: Tensor, group: Segments, figure_BKC: Tensor, start_BD: Tensor) -> Tensor:
        """[B, K, Q + 1 + J, D]: what was retrieved, <USER>, the answer."""
        retrieved_BKQD = _place(soft_ND, group.retrieved_BKQ, self.none_found_D)
        user_BKD = start_BD[:, None] + self.evidence.told(figure_BKC)
        answer_BKJD = self.backbone.embed(group.answer_BKJ).to(soft_ND.dtype)
        return torch.cat([retrieved_BKQD, user_BKD[:, :, None].to(soft_ND.dtype), answer_BKJD], dim=2)

    def embed_answers(self, vectors_AV: Tensor) -> Tensor:
        """Text vectors of answers -> [A, E], unit length, in the users' space."""
        return F.normalize(self.answer_head(vectors_AV), dim=-1)

    def embed_texts(self, vectors_AV: Tensor) -> Tensor:
        """Text vectors of events -> [A, E], unit length, for the general embedding's loss."""
        return F.normalize(self.text_head(vectors_AV), dim=-1)


def _place(soft_ND: Tensor, index: Tensor, otherwise: Tensor) -> Tensor:
    """Rows of soft_ND at `index`, and `otherwise` (broadcast) where it is -1."""
    # index_select's gradient adds whole rows, which indexing's does number by number.
    found = soft_ND.index_select(0, index.clamp_min(0).flatten()).unflatten(0, index.shape)
    return torch.where((index >= 0)[..., None], found, otherwise.to(soft_ND.dtype))
