"""Pieces of a decoder's layer with fewer passes through memory than the library's, the same to rounding.

Each takes over the `forward` of a module that stays where it was, weights and names included. A pass over all tokens'
numbers costs a processor as much as a product with them: so rows go through in blocks that its cache holds.

Legend: N tokens, X those that ask, b a block of them, D width of what comes in, O of what goes out, M width inside the
feed-forward part, R LoRA rank, H query heads, G key/value heads, d head width.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from instructue.network.packing import Layout, Memory, packed_attention

ROWS = 512  # of a block on a processor
Sums = Sequence[Tensor] | None  # gradients of A and B, in float32; None where they are not learnt


class Weights(NamedTuple):
    """A frozen matrix and its LoRA update, B A times a scale."""

    W_OD: Tensor
    A_RD: Tensor
    B_OR: Tensor

    @staticmethod
    def of(module: Any) -> "Weights":
        """Of a linear layer of peft's."""
        return Weights(module.base_layer.weight, module.lora_A["default"].weight, module.lora_B["default"].weight)

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


def merged(module: Any) -> Tensor:
    """A linear layer's weight with the LoRA update added, made once and kept while neither changes."""
    weights, scale = Weights.of(module), module.scaling["default"]
    made_of = (weights.A_RD._version, weights.B_OR._version, weights.A_RD.device)
    if module.merged_weight is None or module.merged_weight[0] != made_of:
        update = scale * (weights.B_OR.float() @ weights.A_RD.float())
        module.merged_weight = made_of, (weights.W_OD.float() + update).to(weights.W_OD.dtype)
    return module.merged_weight[1]


def adapted(self: Any, x: Tensor) -> Tensor:
    """peft's linear layer. Where nothing can be learnt (inference mode) the update is added to the weights."""
    bias = self.base_layer.bias
    if torch.is_inference_mode_enabled():
        return F.linear(x, merged(self), bias)
    out = _Adapted.apply(x.flatten(0, -2), bias, self.scaling["default"], *Weights.of(self))
    return out.unflatten(0, x.shape[:-1])


def fed_forward(self: Any, x: Tensor) -> Tensor:
    """The Llama family's feed-forward part, without biases."""
    parts, x_ND = (self.gate_proj, self.up_proj, self.down_proj), x.flatten(0, -2)
    if torch.is_inference_mode_enabled():
        kind = _kind(x, self.gate_proj.base_layer.weight)
        gate, up, down = (merged(part).to(kind).T for part in parts)
        x_ND = x_ND.to(kind)
        out_ND = torch.empty_like(x_ND)
        with _as_given(x):
            for x_bD, out_bD in _blocks(x_ND, out_ND):
                torch.mm(F.silu(x_bD @ gate).mul_(x_bD @ up), down, out=out_bD)
        return out_ND.view(x.shape)
    own = [weight for part in parts for weight in Weights.of(part)]
    return _FeedForward.apply(x_ND, parts[0].scaling["default"], *own).view(x.shape)


def attended(
    self: Any,
    x_ND: Tensor,
    angles: tuple[Tensor, Tensor],
    layout: Layout,
    memory: Memory | None = None,
    read_X: Tensor | None = None,
) -> Tensor:
    """The Llama family's attention over a packed stream; of the rows `read_X` alone where it is given."""
    asks_XD, *asks = (x if read_X is None else x.index_select(0, read_X) for x in (x_ND, *angles))
    parts = (self.q_proj, asks_XD), (self.k_proj, x_ND), (self.v_proj, x_ND)
    q_XHd, k_NGd, v_NGd = (part(rows).unflatten(-1, (-1, self.head_dim)) for part, rows in parts)
    if hasattr(self, "q_norm"):  # Qwen3
        q_XHd, k_NGd = self.q_norm(q_XHd), self.k_norm(k_NGd)
    q_XHd, k_NGd = _Rotated.apply(q_XHd, *asks), _Rotated.apply(k_NGd, *angles)
    streams = (x.transpose(0, 1) for x in (q_XHd, k_NGd, v_NGd))
    out_XHd = packed_attention(*streams, layout, self.scaling, memory, self.layer_idx, read_X is not None)
    return self.o_proj(out_XHd.flatten(1))


def normed(self: Any, x: Tensor) -> Tensor:
    """The Llama family's RMSNorm, whose weight stays frozen."""
    return _Norm.apply(x.flatten(0, -2), self.weight, self.variance_epsilon).view(x.shape)
