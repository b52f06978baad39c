"""A packed pass equals separate passes: forward, gradients, and with what a first pass left in memory."""

import pytest
import torch
import torch.nn.functional as F

from instructue.network import packing
from instructue.network.backbone import Backbone
from instructue.network.packing import Group, Layout, Memory, packed_attention

HISTORIES, PREFIX, LENGTHS = 2, 5, (3, 1, 4)
GROUPS = (([[0, 1], [2, 0]], 3, 2), ([[-1], [-1]], 1, 0), ([[2], [1]], 4, 1))


def layout_of(prefix: int = PREFIX, groups=GROUPS, remembered: bool = False, all_read: bool = True) -> Layout:
    made = [Group(torch.tensor(which), *sizes) for which, *sizes in groups]
    return Layout(HISTORIES, prefix, torch.tensor(LENGTHS), made, remembered, all_read)


def sequences(layout: Layout) -> list[tuple[torch.Tensor, int]]:
    """Per segment the tokens of the stream that it would hold if it were computed alone, and where its own begin."""
    B, P = layout.histories, layout.prefix
    history = torch.arange(B * P).view(B, P)
    said = torch.arange(B * P, B * P + layout.instruction_tokens).split(layout.lengths_U.tolist())
    found, at = [], B * P + layout.instruction_tokens
    for group in layout.groups:
        for b, row in enumerate(group.which_BK.tolist()):
            for which in row:
                front = torch.cat([history[b], said[which] if which >= 0 else said[0][:0]])
                found.append((torch.cat([front, at + torch.arange(group.length)]), len(front)))
                at += group.length
    return found


def alone(q, k, v, scale, prefix: int, own: int):
    """Plain attention over one sequence of history, instruction and segment; the instruction sees itself alone."""
    repeat, length = q.shape[0] // k.shape[0], q.shape[1]
    k, v = k.repeat_interleave(repeat, 0), v.repeat_interleave(repeat, 0)
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    seen[prefix:own, :prefix] = False
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale).transpose(0, 1)


@pytest.mark.parametrize("short", [0, 128])
@pytest.mark.parametrize("layout", [layout_of(), layout_of(1), layout_of(9, GROUPS[:1]), layout_of(4, GROUPS[1:2])])
def test_attention_equals_separate_sequences(layout, short, monkeypatch):
    monkeypatch.setattr(packing, "SHORT", short)
    monkeypatch.setattr(packing, "SHORT_LEARNT", short)
    torch.manual_seed(0)
    q, k, v = (torch.randn(heads, sum(layout.sizes), 8) for heads in (6, 2, 2))
    packed = packed_attention(q, k, v, layout, 0.3)
    for rows, own in sequences(layout):
        expected = alone(q[:, rows], k[:, rows], v[:, rows], 0.3, layout.prefix, own)
        torch.testing.assert_close(packed[rows], expected, rtol=1e-5, atol=1e-6)
    read = packed_attention(q[:, layout.read_X], k, v, layout, 0.3, read=True)
    torch.testing.assert_close(read, packed[layout.read_X], rtol=1e-5, atol=1e-6)


def test_positions_restart_at_the_prefix_and_behind_each_instruction():
    layout = layout_of(3, (([[0, -1], [1, 1]], 2, 0),))
    said = [3, 4, 5, 3, 3, 4, 5, 6]
    assert layout.positions.tolist() == [0, 1, 2] * 2 + said + [6, 7, 3, 4, 4, 5, 4, 5]


@pytest.fixture(scope="module")
def backbone(asked) -> Backbone:
    torch.manual_seed(0)
    backbone = Backbone(asked[1].language_model, 2, 4, torch.float32)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return backbone


def one(rows: torch.Tensor, own: int, prefix: int) -> Layout:
    """The layout of a single segment."""
    groups = [Group(torch.tensor([[0 if own > prefix else -1]]), len(rows) - own)]
    return Layout(1, prefix, torch.tensor([own - prefix]), groups, all_read=True)


def test_language_model_packed_equals_separate_forward_and_gradient(backbone):
    torch.manual_seed(1)
    layout = layout_of()
    N = sum(layout.sizes)
    source = torch.randn(N, backbone.width) * backbone.embedding_rms
    weight = torch.randn(N, backbone.width)
    packed_in = source.clone().requires_grad_()
    backbone.zero_grad()
    packed = backbone(packed_in, layout)
    segments = sequences(layout)
    sum((packed[rows[own:]] * weight[rows[own:]]).sum() for rows, own in segments).backward()
    lora = {n: p.grad.clone() for n, p in backbone.named_parameters() if p.grad is not None}
    assert lora, "no LoRA weight got a gradient"
    total, gradient = {n: torch.zeros_like(g) for n, g in lora.items()}, torch.zeros_like(source)
    for rows, own in segments:
        alone_in = source[rows].clone().requires_grad_()
        backbone.zero_grad()
        got = backbone(alone_in, one(rows, own, layout.prefix))
        torch.testing.assert_close(packed[rows], got, rtol=1e-5, atol=1e-5)
        (got[own:] * weight[rows[own:]]).sum().backward()
        gradient.index_add_(0, rows, alone_in.grad)
        for name, parameter in backbone.named_parameters():
            if name in total:
                total[name] += parameter.grad
    torch.testing.assert_close(packed_in.grad, gradient, rtol=1e-4, atol=1e-4)
    for name, value in total.items():
        torch.testing.assert_close(lora[name], value, rtol=1e-3, atol=1e-3)


def test_what_nobody_reads_of_the_last_layer_is_not_made_and_changes_nothing(backbone):
    torch.manual_seed(3)
    whole, layout, seen = layout_of(), layout_of(all_read=False), []
    source = torch.randn(sum(layout.sizes), backbone.width) * backbone.embedding_rms
    results = []
    layers = backbone.model.layers
    hooks = [x.mlp.register_forward_pre_hook(lambda _, given: seen.append(len(given[0]))) for x in layers]
    for one in (whole, layout):
        given, memory = source.clone().requires_grad_(), Memory()
        backbone.zero_grad()
        out = backbone(given, one, memory)
        out = out[layout.read_X] if one is whole else out
        out.square().sum().backward()
        grads = [p.grad.clone() for p in backbone.parameters() if p.grad is not None]
        results.append([out.detach(), given.grad, *grads, *(x for pair in memory.layers for x in pair)])
    for hook in hooks:
        hook.remove()
    # Of the groups' segments (4 of 3 tokens, 2 of 1, 2 of 4) 1, 1 and 3 tokens each are read.
    assert seen == [len(source), len(source), len(source), 4 * 1 + 2 * 1 + 2 * 3]
    for plain, cut in zip(*results, strict=True):
        assert (cut - plain).norm() <= 1e-5 * plain.norm()


@pytest.mark.parametrize("all_read", [True, False])
def test_a_second_pass_reads_the_histories_from_memory(backbone, all_read):
    torch.manual_seed(2)
    first, memory = layout_of(groups=GROUPS[:1], all_read=all_read), Memory()
    again, both = (layout_of(groups=GROUPS[2:], remembered=r, all_read=all_read) for r in (True, False))
    source = torch.randn(sum(first.sizes), backbone.width) * backbone.embedding_rms
    other = (torch.randn(sum(again.sizes), backbone.width) * backbone.embedding_rms).requires_grad_()
    with torch.no_grad():
        backbone(source, first, memory)
    got = backbone(other, again, memory)
    whole = backbone(torch.cat([source[: HISTORIES * PREFIX], other]), both)[HISTORIES * PREFIX if all_read else 0 :]
    assert len(memory.layers) == 2
    torch.testing.assert_close(got, whole, rtol=1e-5, atol=1e-5)
    seen, expected = (torch.autograd.grad(out.square().sum(), other)[0] for out in (got, whole))
    assert (seen - expected).norm() <= 1e-5 * expected.norm()


def test_equals_transformers_own_forward(backbone, asked):
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(asked[1].language_model, dtype=torch.float32, num_hidden_layers=2)
    fresh = Backbone(asked[1].language_model, 2, 4, torch.float32)
    tokens = torch.tensor([5, 42, 977, 12, 3000])
    behind = Layout(1, 2, torch.zeros(0, dtype=torch.int64), [Group(torch.tensor([[-1]]), 3)], all_read=True)
    with torch.no_grad():
        expected = plain.model(tokens[None]).last_hidden_state[0]
        got = fresh(fresh.embed(tokens), Layout.plain(5))
        split = fresh(fresh.embed(tokens), behind)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(split, expected, rtol=1e-4, atol=1e-4)
