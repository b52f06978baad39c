"""Shared-prefix packing: one pass reads each history once and each instruction once, whatever meets whatever.

The rows of a pass are one stream of tokens without padding: [B histories of P tokens][U distinct instructions, each
of its own length][groups of segments]. A segment belongs to one history and one instruction: its S tokens (what was
retrieved, <USER>, perhaps the answer) see that history, that instruction and themselves causally, nothing else. An
instruction sees only itself, so that it is computed once for all histories; its positions start at P, a segment's
behind its instruction's, so the result equals separate passes of one history, one instruction and one segment.

What the last layer makes is read from <USER> on alone. Of all other tokens it makes keys and values, and nothing else.

Legend: B histories, P prefix tokens, U instructions, I longest instruction, K segments a history in a group, S tokens
a segment, L of them that ask (all, or those read), N all tokens, X those that ask, H query heads, G key/value heads,
R = H / G, d head width.
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
    """K segments of S tokens behind each history; which_BK numbers each segment's instruction, -1 for none. Nobody
    reads what the last layer makes of the first `unread` of them."""

    which_BK: Tensor
    length: int
    unread: int = 0

    @property
    def tokens(self) -> int:
        return self.which_BK.numel() * self.length

    @property
    def read(self) -> int:
        return self.length - self.unread


@dataclass
class Memory:
    """Keys and values of the histories' tokens by layer, [B, G, P, d] each: what a second pass need not compute."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)


@dataclass
class Layout:
    """How a stream is made up. lengths_U: tokens of each instruction. remembered: the prefix is not in the stream,
    its keys and values come from a Memory. all_read: the last layer makes every token's state, read or not."""

    histories: int
    prefix: int
    lengths_U: Tensor
    groups: list[Group]
    remembered: bool = False
    all_read: bool = False

    @staticmethod
    def plain(length: int) -> "Layout":
        """One causal sequence."""
        return Layout(1, length, torch.zeros(0, dtype=torch.int64), [], all_read=True)

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
    def read_sizes(self) -> list[int]:
        """Tokens of each group whose last hidden state is read."""
        return [group.which_BK.numel() * group.read for group in self.groups]

    @cached_property
    def read_X(self) -> Tensor:
        """Their places in the stream."""
        places = torch.arange(sum(self.sizes), device=self.lengths_U.device).split(self.sizes)[2:]
        return torch.cat(
            [p.view(-1, g.length)[:, g.unread :].flatten() for p, g in zip(places, self.groups, strict=True)]
        )

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
    q_HXd: Tensor,
    k_GNd: Tensor,
    v_GNd: Tensor,
    layout: Layout,
    scale: float,
    memory: Memory | None = None,
    layer: int = 0,
    read: bool = False,
) -> Tensor:
    """Attention of a stream; returns [X, H, d]. Exact: equals attention of separate sequences.

    A memory is filled where the stream holds the histories, and read where layout.remembered. read: queries are of
    layout.read_X alone, else of all tokens.
    """
    keys, values = (x.split(layout.sizes, dim=1) for x in (k_GNd, v_GNd))
    queries = q_HXd.split([0, 0, *layout.read_sizes] if read else layout.sizes, dim=1)
    parts = []
    if layout.remembered:
        assert memory is not None, "a layout without histories needs the memory of a pass that read them"
        k_BGPd, v_BGPd = memory.layers[layer]
    else:
        k_BGPd, v_BGPd = (_rows(x[0], layout) for x in (keys, values))
        if not read:
            parts.append(_causal(_rows(queries[0], layout), k_BGPd, v_BGPd, scale).flatten(0, 1))
        if memory is not None:
            memory.layers.append((k_BGPd, v_BGPd))
    k_UGId, v_UGId = None, None
    if layout.instruction_tokens:
        k_UGId, v_UGId = (_padded(x[1], layout) for x in (keys, values))
        if not read:
            said = _causal(_padded(queries[1], layout), k_UGId, v_UGId, scale)
            parts.append(said.flatten(0, 1).index_select(0, layout.place_I))
    for number, (group, blocked) in enumerate(zip(layout.groups, layout.blocked, strict=True), 2):
        own = queries[number], keys[number], values[number]
        hidden = blocked[..., group.unread :, :] if read else blocked
        parts.append(_segments(*own, k_BGPd, v_BGPd, k_UGId, v_UGId, group, hidden, scale))
    return torch.cat(parts)


def _rows(x_HNd: Tensor, layout: Layout) -> Tensor:
    """[B, H, P, d]: the histories' tokens."""
    return x_HNd.unflatten(1, (layout.histories, layout.prefix)).transpose(0, 1)


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
    q_HXd: Tensor,
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
    """One group's tokens that ask, the last L of each segment -> [B * K * L, H, d]; blocked [B, 1, 1, K, L, I + S]."""
    (B, K), S, L = group.which_BK.shape, group.length, blocked.shape[-2]
    G, P, d = k_BGPd.shape[1:]
    R = q_HXd.shape[0] // G
    q_BGRKLd = (q_HXd * scale).view(G, R, B, K, L, d).permute(2, 0, 1, 3, 4, 5)
    # All segments' queries meet the shared history in one product per head: it is never copied per segment.
    to_history = (q_BGRKLd.reshape(B, G, R * K * L, d) @ k_BGPd.transpose(-1, -2)).view(B, G, R, K, L, P)
    k_BGKJd, v_BGKJd = (
        _beside(own.view(G, B, K, S, d).permute(1, 0, 2, 3, 4), said, group)
        for own, said in ((k_GNd, k_UGId), (v_GNd, v_UGId))
    )
    J = k_BGKJd.shape[3]
    q_BGKRLd = q_BGRKLd.transpose(2, 3).reshape(B, G, K, R * L, d)
    to_own = (q_BGKRLd @ k_BGKJd.transpose(-1, -2)).view(B, G, K, R, L, J).transpose(2, 3)
    scores = torch.cat([to_history, to_own.masked_fill(blocked[..., -J:], float("-inf"))], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v_GNd.dtype)
    from_history = (weights[..., :P].reshape(B, G, R * K * L, P) @ v_BGPd).view(B, G, R, K, L, d)
    own_weights = weights[..., P:].transpose(2, 3).reshape(B, G, K, R * L, J)
    from_own = (own_weights @ v_BGKJd).view(B, G, K, R, L, d).transpose(2, 3)
    # [B, G, R, K, L, d] -> tokens first, heads in the order of the language model's (g, r).
    return (from_history + from_own).permute(0, 3, 4, 1, 2, 5).reshape(B * K * L, G * R, d)


def _beside(own_BGKSd: Tensor, said_UGId: Tensor | None, group: Group) -> Tensor:
    """Each segment's instruction in front of its own tokens; their own alone where no segment has an instruction."""
    if said_UGId is None or not bool((group.which_BK >= 0).any()):
        return own_BGKSd
    said_BGKId = said_UGId[group.which_BK.clamp_min(0)].transpose(1, 2)
    return torch.cat([said_BGKId, own_BGKSd], dim=3)
