"""What a decoder's layer computes, in fewer passes through memory than library code takes, the same to rounding.

A pass over all tokens' numbers costs a processor as much as a product with them: so rows go through in blocks that its
cache holds. The modules that hold the weights are `instructue.network.decoder`'s.

Legend: N tokens, X those that ask, b a block of them, D width of what comes in, O of what goes out, M width inside the
feed-forward part, R LoRA rank, H query heads, G key/value heads, d head width.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS = 512  # of a block on a processor
Sums = Sequence[Tensor] | None  # gradients of A and B, in float32; None where they are not learnt


class Weights(NamedTuple):
    """A frozen matrix and its LoRA update, B A times a scale."""

    W_OD: Tensor
    A_RD: Tensor
    B_OR: Tensor

    def added(self, scale: float) -> Tensor:
        """[O, D] W with the update added, in W's type."""
        update = scale * (self.B_OR.float() @ self.A_RD.float())
        return (self.W_OD.float() + update).to(self.W_OD.dtype)

    def alike(self, kind: torch.dtype) -> "Weights":
        """All in one type."""
        return Weights(*(weight.to(kind) for weight in self))


def _kind(x: Tensor, weight: Tensor) -> torch.dtype:
    """What is computed in: autocast's type, else the weight's."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _as_given(x: Tensor) -> torch.autocast:
    """Products of tensors as they are."""
    return torch.autocast(x.device.type, enabled=False)


def _blocks(*wholes: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of the same N rows by blocks; a GPU takes all at once."""
    rows = ROWS if wholes[0].device.type == "cpu" else max(1, len(wholes[0]))
    return zip(*(whole.split(rows) for whole in wholes), strict=True)


def _forward(x_bD: Tensor, weights: Weights, scale: float, out_bO: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x W' + scale (x A') B', and x A'."""
    small_bR = x_bD @ weights.A_RD.T
    return torch.mm(x_bD, weights.W_OD.T, out=out_bO).addmm_(small_bR, weights.B_OR.T, alpha=scale), small_bR


def _backward(grad_bO: Tensor, x_bD: Tensor, small_bR: Tensor, weights: Weights, scale: float, sums: Sums) -> Tensor:
    """The gradient of x; those of A and B are added to `sums`."""
    grad_bR = (grad_bO @ weights.B_OR).mul_(scale)
    if sums:
        sums[0].add_(grad_bR.T @ x_bD)
        sums[1].add_(grad_bO.T @ small_bR, alpha=scale)
    return (grad_bO @ weights.W_OD).addmm_(grad_bR, weights.A_RD)


class _Adapted(torch.autograd.Function):
    """A linear layer with LoRA: nothing is added that a product could have added to."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, bias_O: Tensor | None, scale: float, *own: Tensor) -> Tensor:
        weights = Weights(*own).alike(_kind(x_ND, own[0]))
        x_ND = x_ND.to(weights.W_OD.dtype)
        with _as_given(x_ND):
            out_NO, small_NR = _forward(x_ND, weights, scale)
        ctx.save_for_backward(x_ND, small_NR, *weights)
        ctx.scale = scale
        return out_NO if bias_O is None else out_NO.add_(bias_O)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x_ND, small_NR, *own = ctx.saved_tensors
        weights = Weights(*own)
        sums = _zeros(weights[1:]) if ctx.needs_input_grad[4] else None
        with _as_given(x_ND):
            grad_ND = _backward(grads[0], x_ND, small_NR, weights, ctx.scale, sums)
        return grad_ND, None, None, None, *(sums or (None, None))


def _zeros(like: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(t, dtype=torch.float32) for t in like]


class _FeedForward(torch.autograd.Function):
    """(silu(x G') * x U') D', each matrix with LoRA; what is inside is made again from G's and U's halves."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, scale: float, *own: Tensor) -> Tensor:
        kind = _kind(x_ND, own[0])
        gate, up, down = (Weights(*own[i : i + 3]).alike(kind) for i in (0, 3, 6))
        x_ND, kept = x_ND.to(kind), []
        out_ND = torch.empty_like(x_ND)
        with _as_given(x_ND):
            for x_bD, out_bD in _blocks(x_ND, out_ND):
                gate_bM, gate_bR = _forward(x_bD, gate, scale)
                up_bM, up_bR = _forward(x_bD, up, scale)
                _, down_bR = _forward(F.silu(gate_bM).mul_(up_bM), down, scale, out_bD)
                kept += [gate_bM, up_bM, gate_bR, up_bR, down_bR]
        ctx.save_for_backward(x_ND, *gate, *up, *down, *kept)
        ctx.scale = scale
        return out_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x_ND, *own = ctx.saved_tensors
        gate, up, down = (Weights(*own[i : i + 3]) for i in (0, 3, 6))
        learnt = ctx.needs_input_grad[3]
        sums = [_zeros(part[1:]) if learnt else None for part in (gate, up, down)]
        grad_ND = torch.empty_like(x_ND)
        with _as_given(x_ND):
            for number, (x_bD, grad_bD, to_bD) in enumerate(_blocks(x_ND, grads[0], grad_ND)):
                gate_bM, up_bM, gate_bR, up_bR, down_bR = own[9 + 5 * number : 14 + 5 * number]
                open_bM = F.silu(gate_bM)
                grad_bM = _backward(grad_bD, open_bM * up_bM, down_bR, down, ctx.scale, sums[2])
                part_bD = _backward(open_bM.mul_(grad_bM), x_bD, up_bR, up, ctx.scale, sums[1])
                grad_bM = torch.ops.aten.silu_backward(grad_bM.mul_(up_bM), gate_bM)
                torch.add(_backward(grad_bM, x_bD, gate_bR, gate, ctx.scale, sums[0]), part_bD, out=to_bD)
        return grad_ND, None, *(g for pair in sums for g in (None, *(pair or (None, None))))


class _Rotated(torch.autograd.Function):
    """Rotary positions (RoFormer, arXiv 2104.09864), halves of a head as pairs. Back it is turned the other way."""

    @staticmethod
    def forward(ctx: Any, x_NHd: Tensor, cos_Nd: Tensor, sin_Nd: Tensor) -> Tensor:
        ctx.save_for_backward(cos_Nd, sin_Nd)
        return _turned(x_NHd, cos_Nd, sin_Nd, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        return _turned(grads[0], *ctx.saved_tensors, -1.0), None, None


def _turned(x_NHd: Tensor, cos_Nd: Tensor, sin_Nd: Tensor, way: float) -> Tensor:
    out_NHd, half = torch.empty(x_NHd.shape, dtype=x_NHd.dtype, device=x_NHd.device), x_NHd.shape[-1] // 2
    for x, cos, sin, out in _blocks(x_NHd, cos_Nd, sin_Nd, out_NHd):
        torch.mul(x, cos[:, None], out=out)
        out[..., :half].addcmul_(x[..., half:], sin[:, None, :half], value=-way)
        out[..., half:].addcmul_(x[..., :half], sin[:, None, half:], value=way)
    return out_NHd


class _Norm(torch.autograd.Function):
    """x over its root mean square, in float32, times a frozen weight."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x_ND, weight_D)
        ctx.eps = eps
        out_ND = torch.empty_like(x_ND)
        for x_bD, out_bD in _blocks(x_ND, out_ND):
            torch.mul(_unit(x_bD, eps)[0].to(x_bD.dtype), weight_D, out=out_bD)
        return out_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor):
        x_ND, weight_D = ctx.saved_tensors
        grad_ND = torch.empty_like(x_ND)
        for x_bD, grad_bD, to_bD in _blocks(x_ND, grads[0], grad_ND):
            unit_bD, scale_b1 = _unit(x_bD, ctx.eps)
            grad_bD = (grad_bD * weight_D).to(torch.float32)
            along_b1 = (grad_bD * unit_bD).mean(-1, keepdim=True)
            torch.mul(grad_bD.sub_(unit_bD.mul_(along_b1)), scale_b1, out=to_bD)
        return grad_ND, None, None


def _unit(x_bD: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x over its root mean square, in float32, and one over that."""
    unit_bD = x_bD.to(torch.float32, copy=True)
    scale_b1 = (unit_bD.square().mean(-1, keepdim=True) + eps).rsqrt_()
    return unit_bD.mul_(scale_b1), scale_b1


def adapted(x: Tensor, bias_O: Tensor | None, scale: float, weights: Weights) -> Tensor:
    """x W' + scale (x A') B' + bias, [..., D] -> [..., O]."""
    return _Adapted.apply(x.flatten(0, -2), bias_O, scale, *weights).unflatten(0, x.shape[:-1])


def fed_forward(x: Tensor, scale: float, gate: Weights, up: Weights, down: Weights) -> Tensor:
    """(silu(x G') * x U') D', each matrix with LoRA, [..., D] -> [..., D]."""
    return _FeedForward.apply(x.flatten(0, -2), scale, *gate, *up, *down).view(x.shape)


def fed_forward_added(x: Tensor, gate_MD: Tensor, up_MD: Tensor, down_DM: Tensor) -> Tensor:
    """The same where LoRA was added to the weights; nothing can be learnt."""
    kind = _kind(x, gate_MD)
    gate, up, down = (weight.to(kind).T for weight in (gate_MD, up_MD, down_DM))
    x_ND = x.flatten(0, -2).to(kind)
    out_ND = torch.empty_like(x_ND)
    with _as_given(x):
        for x_bD, out_bD in _blocks(x_ND, out_ND):
            torch.mm(F.silu(x_bD @ gate).mul_(x_bD @ up), down, out=out_bD)
    return out_ND.view(x.shape)


def rotated(x_NHd: Tensor, cos_Nd: Tensor, sin_Nd: Tensor) -> Tensor:
    """Heads turned by their tokens' angles."""
    return _Rotated.apply(x_NHd, cos_Nd, sin_Nd)


def normed(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """x over its root mean square, times a frozen weight, [..., D]."""
    return _Norm.apply(x.flatten(0, -2), weight_D, eps).view(x.shape)
