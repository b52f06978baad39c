"""Shared-prefix packing: one pass computes a history once and any number of segments behind it.

A packed row is [prefix P][segments of group 1][segments of group 2]...; a group is K segments of the same
padded length S. Every segment sees the whole prefix and itself causally, never another segment, and its
positions start at P, so the result equals separate passes of [prefix][segment]. Padding stands at a
segment's end, where causality keeps it out of everything before it: no mask is ever materialised.

Legend: B rows, H query heads, G key/value heads, R = H / G, L packed length, d head width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Lengths of a packed row: the prefix, then per group (segments, padded length)."""

    prefix: int
    groups: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        return self.prefix + sum(k * s for k, s in self.groups)

    def positions(self) -> Tensor:
        """[L] rotary position of each place."""
        parts = [torch.arange(self.prefix)]
        parts += [(self.prefix + torch.arange(s)).repeat(k) for k, s in self.groups]
        return torch.cat(parts)

    def starts(self) -> list[int]:
        """Where each group begins in the packed row."""
        out, at = [], self.prefix
        for k, s in self.groups:
            out.append(at)
            at += k * s
        return out


def packed_attention(q_BHLd: Tensor, k_BGLd: Tensor, v_BGLd: Tensor, layout: Layout, scale: float) -> Tensor:
    """Attention of a packed row; returns [B, L, H, d]. Exact: equals attention of separate sequences."""
    P = layout.prefix
    parts = []
    if P:
        parts.append(
            F.scaled_dot_product_attention(
                q_BHLd[:, :, :P], k_BGLd[:, :, :P], v_BGLd[:, :, :P], is_causal=True, scale=scale, enable_gqa=True
            )
        )
    for (K, S), start in zip(layout.groups, layout.starts(), strict=True):
        own = slice(start, start + K * S)
        parts.append(
            _segments(
                q_BHLd[:, :, own], k_BGLd[:, :, own], v_BGLd[:, :, own], k_BGLd[:, :, :P], v_BGLd[:, :, :P], K, S, scale
            )
        )
    return torch.cat(parts, dim=2).transpose(1, 2)


def _segments(
    q: Tensor, k: Tensor, v: Tensor, k_prefix: Tensor, v_prefix: Tensor, K: int, S: int, scale: float
) -> Tensor:
    B, H, _, d = q.shape
    G = k.shape[1]
    R, P = H // G, k_prefix.shape[2]
    q = q * scale
    q_BGRKSd = q.view(B, G, R, K, S, d)
    # All segments' queries meet the shared prefix in one product per head: it is never copied per segment.
    to_prefix = (q.reshape(B, G, R * K * S, d) @ k_prefix.transpose(-1, -2)).view(B, G, R, K, S, P)
    q_BGKRSd = q_BGRKSd.transpose(2, 3).reshape(B, G, K, R * S, d)
    k_BGKSd, v_BGKSd = k.view(B, G, K, S, d), v.view(B, G, K, S, d)
    to_own = (q_BGKRSd @ k_BGKSd.transpose(-1, -2)).view(B, G, K, R, S, S).transpose(2, 3)
    future = torch.ones(S, S, dtype=torch.bool, device=q.device).triu(1)
    scores = torch.cat([to_prefix, to_own.masked_fill(future, float("-inf"))], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(v.dtype)
    from_prefix = (weights[..., :P].reshape(B, G, R * K * S, P) @ v_prefix).view(B, G, R, K, S, d)
    own_weights = weights[..., P:].transpose(2, 3).reshape(B, G, K, R * S, S)
    from_own = (own_weights @ v_BGKSd).view(B, G, K, R, S, d).transpose(2, 3)
    return (from_prefix + from_own).reshape(B, H, K * S, d)
