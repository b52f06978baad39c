"""Shared-prefix packing: one pass reads each history once and each instruction once, whatever meets whatever.

The rows of a pass are one stream of tokens without padding: [B histories of P tokens][U distinct instructions, each
of its own length][groups of segments]. A segment belongs to one history and one instruction: its S tokens (what was
retrieved, <USER>, perhaps the answer) see that history, that instruction and themselves causally, nothing else. An
instruction sees only itself, so that it is computed once for all histories; its positions start at P, a segment's
behind its instruction's, so the result equals separate passes of one history, one instruction and one segment.

Legend: B histories, P prefix tokens, U instructions, I longest instruction, K segments a history in a group, S tokens
a segment, N all tokens, H query heads, G key/value heads, R = H / G, d head width.
"""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Up to these lengths plain products are quicker on a processor than the fused kernel; its backward pass is slow.
SHORT, SHORT_LEARNT = 64, 200


@dataclass
class Group:
    """K segments of S tokens behind each history; which_BK numbers each segment's instruction, -1 for none."""

    which_BK: Tensor
    length: int

    @property
    def tokens(self) -> int:
        return self.which_BK.numel() * self.length


@dataclass
class Memory:
    """Keys and values of the histories' tokens by layer, [B, G, P, d] each: what a second pass need not compute."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@dataclass
class Layout:
    """How a stream is made up. lengths_U: tokens of each instruction. remembered: the prefix is not in the stream,
    its keys and values come from a Memory."""

    histories: int
    prefix: int
    lengths_U: Tensor
    groups: list[Group]
    remembered: bool = False

    @staticmethod
    def plain(length: int) -> "Layout":
        """One causal sequence."""
        return Layout(1, length, torch.zeros(0, dtype=torch.int64), [])

    @property
    def history_tokens(self) -> int:
        return 0 if self.remembered else self.histories * self.prefix

    @cached_property
    def instruction_tokens(self) -> int:
        return int(self.lengths_U.sum())

    @cached_property
    def sizes(self) -> list[int]:
        """Tokens of the histories, the instructions and each group, in the stream's order."""
        return [self.history_tokens, self.instruction_tokens, *(group.tokens for group in self.groups)]

    @cached_property
    def there_UI(self) -> Tensor:
        """Which places of the padded instructions hold a token."""
        longest = int(self.lengths_U.max()) if len(self.lengths_U) else 0
        return torch.arange(longest, device=self.lengths_U.device) < self.lengths_U[:, None]

    @cached_property
    def place_I(self) -> Tensor:
        """Each instruction token's place in them, flat."""
        return torch.nonzero(self.there_UI.flatten()).squeeze(-1)

    @cached_property
    def positions(self) -> Tensor:
        """[N] rotary position of each token."""
        device = self.lengths_U.device
        history = torch.arange(self.history_tokens, device=device) % max(self.prefix, 1)
        own_UI = torch.arange(self.there_UI.shape[1], device=device).expand(self.there_UI.shape)
        parts = [history, self.prefix + own_UI[self.there_UI]]
        for group in self.groups:
            start_BK = self.prefix + self._length_of(group)
            parts.append((start_BK[..., None] + torch.arange(group.length, device=device)).flatten())
        return torch.cat(parts)

    def _length_of(self, group: Group) -> Tensor:
        if not len(self.lengths_U):
            return torch.zeros_like(group.which_BK)
        return torch.where(group.which_BK >= 0, self.lengths_U[group.which_BK.clamp_min(0)], 0)

    @cached_property
    def blocked(self) -> list[Tensor]:
        """Per group [B, 1, 1, K, S, I + S]: what a segment's tokens do not see of its instruction and of itself."""
        masks = []
        for group in self.groups:
            (B, K), S, longest = group.which_BK.shape, group.length, self.there_UI.shape[1]
            absent_BKI = torch.arange(longest, device=group.which_BK.device) >= self._length_of(group)[..., None]
            future_SS = _future(S, group.which_BK.device)
            parts = [absent_BKI[:, :, None].expand(B, K, S, longest), future_SS.expand(B, K, S, S)]
            masks.append(torch.cat(parts, dim=-1)[:, None, None])
        return masks


def packed_attention(
    q_HNd: Tensor, k_GNd: Tensor, v_GNd: Tensor, layout: Layout, scale: float, memory: Memory | None = None, layer=0
) -> Tensor:
    """Attention of a stream; returns [N, H, d]. Exact: equals attention of separate sequences.

    A memory is filled where the stream holds the histories, and read where layout.remembered.
    """
    queries, keys, values = (x.split(layout.sizes, dim=1) for x in (q_HNd, k_GNd, v_GNd))
    parts = []
    if layout.remembered:
        assert memory is not None, "a layout without histories needs the memory of a pass that read them"
        k_BGPd, v_BGPd = memory.layers[layer]
    else:
        B, P = layout.histories, layout.prefix
        q_BHPd, k_BGPd, v_BGPd = (x[0].unflatten(1, (B, P)).transpose(0, 1) for x in (queries, keys, values))
        parts.append(_causal(q_BHPd, k_BGPd, v_BGPd, scale).flatten(0, 1))
        if memory is not None:
            memory.layers.append((k_BGPd, v_BGPd))
    k_UGId, v_UGId = None, None
    if layout.instruction_tokens:
        q_UHId, k_UGId, v_UGId = (_padded(x[1], layout) for x in (queries, keys, values))
        parts.append(_causal(q_UHId, k_UGId, v_UGId, scale).flatten(0, 1).index_select(0, layout.place_I))
    for number, group in enumerate(layout.groups):
        own = (x[2 + number] for x in (queries, keys, values))
        parts.append(_segments(*own, k_BGPd, v_BGPd, k_UGId, v_UGId, group, layout.blocked[number], scale))
    return torch.cat(parts)


def _padded(x_HNd: Tensor, layout: Layout) -> Tensor:
    """[U, H, I, d]: the instructions' tokens, each instruction's from place 0 on."""
    H, _, d = x_HNd.shape
    U, longest = layout.there_UI.shape
    return (
        x_HNd.new_zeros(H, U * longest, d).index_copy(1, layout.place_I, x_HNd).view(H, U, longest, d).transpose(0, 1)
    )


def _causal(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """[rows, heads, length, d] -> [rows, length, heads, d]."""
    rows, H, L, d = q.shape
    if (SHORT_LEARNT if torch.is_grad_enabled() else SHORT) < L:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True).transpose(1, 2)
    G = k.shape[1]
    scores = ((q * scale).reshape(rows, G, -1, d) @ k.transpose(-1, -2)).view(rows, H, L, L)
    weights = torch.softmax(scores.masked_fill_(_future(L, q.device), float("-inf")), dim=-1, dtype=torch.float32)
    return (weights.to(v.dtype).view(rows, G, -1, L) @ v).view(rows, H, L, d).transpose(1, 2)


@lru_cache(8)
def _future(length: int, device: torch.device) -> Tensor:
    """[length, length]: what a place does not see."""
    with torch.inference_mode(False):  # a tensor of inference mode could never be learnt through
        return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


def _segments(
    q_HNd: Tensor,
    k_GNd: Tensor,
    v_GNd: Tensor,
    k_BGPd: Tensor,
    v_BGPd: Tensor,
    k_UGId: Tensor | None,
    v_UGId: Tensor | None,
    group: Group,
    blocked: Tensor,
    scale: float,
) -> Tensor:
    """One group's tokens -> [B * K * S, H, d]."""
    (B, K), S = group.which_BK.shape, group.length
    G, P, d = k_BGPd.shape[1:]
    R = q_HNd.shape[0] // G
    q_BGRKSd = (q_HNd * scale).view(G, R, B, K, S, d).permute(2, 0, 1, 3, 4, 5)
    # All segments' queries meet the shared history in one product per head: it is never copied per segment.
    to_history = (q_BGRKSd.reshape(B, G, R * K * S, d) @ k_BGPd.transpose(-1, -2)).view(B, G, R, K, S, P)
    k_BGKJd, v_BGKJd = (
        _beside(own.view(G, B, K, S, d).permute(1, 0, 2, 3, 4), said, group)
        for own, said in ((k_GNd, k_UGId), (v_GNd, v_UGId))
    )
    J = k_BGKJd.shape[3]
    q_BGKRSd = q_BGRKSd.transpose(2, 3).reshape(B, G, K, R * S, d)
    to_own = (q_BGKRSd @ k_BGKJd.transpose(-1, -2)).view(B, G, K, R, S, J).transpose(2, 3)
    scores = torch.cat([to_history, to_own.masked_fill(blocked[..., -J:], float("-inf"))], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v_GNd.dtype)
    from_history = (weights[..., :P].reshape(B, G, R * K * S, P) @ v_BGPd).view(B, G, R, K, S, d)
    own_weights = weights[..., P:].transpose(2, 3).reshape(B, G, K, R * S, J)
    from_own = (own_weights @ v_BGKJd).view(B, G, K, R, S, d).transpose(2, 3)
    # [B, G, R, K, S, d] -> tokens first, heads in the order of the language model's (g, r).
    return (from_history + from_own).permute(0, 3, 4, 1, 2, 5).reshape(B * K * S, G * R, d)


def _beside(own_BGKSd: Tensor, said_UGId: Tensor | None, group: Group) -> Tensor:
    """Each segment's instruction in front of its own tokens; their own alone where no segment has an instruction."""
    if said_UGId is None or not bool((group.which_BK >= 0).any()):
        return own_BGKSd
    said_BGKId = said_UGId[group.which_BK.clamp_min(0)].transpose(1, 2)
    return torch.cat([said_BGKId, own_BGKSd], dim=3)
