"""A packed pass equals separate passes: forward, and gradients."""

import pytest
import torch
import torch.nn.functional as F

from instructue.network.backbone import Backbone
from instructue.network.packing import Layout, packed_attention


def _reference(q, k, v, scale):
    """Plain causal attention with key/value heads repeated."""
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2)


@pytest.mark.parametrize(
    "layout", [Layout(5, ((3, 4), (2, 7))), Layout(1, ((1, 1),)), Layout(9, ((1, 3), (4, 2), (2, 1)))]
)
def test_attention_equals_separate_sequences(layout):
    torch.manual_seed(0)
    q, k, v = (
        torch.randn(2, 6, layout.length, 8),
        torch.randn(2, 2, layout.length, 8),
        torch.randn(2, 2, layout.length, 8),
    )
    packed = packed_attention(q, k, v, layout, 0.3)
    P = layout.prefix
    for (count, length), start in zip(layout.groups, layout.starts(), strict=True):
        for segment in range(count):
            own = torch.cat([torch.arange(P), start + segment * length + torch.arange(length)])
            alone = _reference(q[:, :, own], k[:, :, own], v[:, :, own], 0.3)
            torch.testing.assert_close(packed[:, own[P:]], alone[:, P:], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(packed[:, :P], alone[:, :P], rtol=1e-5, atol=1e-6)


def test_positions_restart_at_the_prefix_for_each_segment():
    assert Layout(3, ((2, 2), (1, 3))).positions().tolist() == [0, 1, 2, 3, 4, 3, 4, 3, 4, 5]


@pytest.fixture(scope="module")
def backbone(asked) -> Backbone:
    torch.manual_seed(0)
    backbone = Backbone(asked[1].language_model, 2, 4, torch.float32)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return backbone


def _run(backbone, embedded, layout):
    embedded = embedded.clone().requires_grad_()
    backbone.zero_grad()
    hidden = backbone(embedded, layout)
    return embedded, hidden


def test_language_model_packed_equals_separate_forward_and_gradient(backbone):
    torch.manual_seed(1)
    layout = Layout(6, ((2, 4), (1, 5)))
    source = torch.randn(2, layout.length, backbone.width) * backbone.embedding_rms
    weight = torch.randn(2, layout.length, backbone.width)
    packed_in, packed = _run(backbone, source, layout)
    P = layout.prefix
    segments = [
        torch.arange(start + s * length, start + (s + 1) * length)
        for (count, length), start in zip(layout.groups, layout.starts(), strict=True)
        for s in range(count)
    ]
    sum((packed[:, own] * weight[:, own]).sum() for own in segments).backward()
    lora = {n: p.grad.clone() for n, p in backbone.named_parameters() if p.grad is not None}
    assert lora, "no LoRA weight got a gradient"
    total, gradient = {n: torch.zeros_like(g) for n, g in lora.items()}, torch.zeros_like(source)
    for own in segments:
        rows = torch.cat([torch.arange(P), own])
        alone_in, alone = _run(backbone, source[:, rows], Layout(len(rows), ()))
        torch.testing.assert_close(packed[:, own], alone[:, P:], rtol=1e-5, atol=1e-5)
        (alone[:, P:] * weight[:, own]).sum().backward()
        gradient.index_add_(1, rows, alone_in.grad)
        for name, parameter in backbone.named_parameters():
            if name in total:
                total[name] += parameter.grad
    torch.testing.assert_close(packed_in.grad, gradient, rtol=1e-4, atol=1e-4)
    for name, value in total.items():
        torch.testing.assert_close(lora[name], value, rtol=1e-3, atol=1e-3)


def test_equals_transformers_own_forward(backbone, asked):
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(asked[1].language_model, dtype=torch.float32, num_hidden_layers=2)
    fresh = Backbone(asked[1].language_model, 2, 4, torch.float32)
    tokens = torch.tensor([[5, 42, 977, 12, 3000]])
    with torch.no_grad():
        expected = plain.model(tokens).last_hidden_state
        got = fresh(fresh.embed(tokens), Layout(5, ()))
        split = fresh(fresh.embed(tokens), Layout(2, ((1, 3),)))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(split, expected, rtol=1e-4, atol=1e-4)
