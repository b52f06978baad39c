"""The count of operations equals what is worked out by hand, and what torch counts where both must agree."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure.flops import Sizes, Work, forward_flops, packed_work, training_flops

SIZES = Sizes(
    width=4, heads=2, kv_heads=1, head_width=2, feed_forward=8, layers=3, vocabulary=10, lora_rank=1,
    encoder_in=5, encoder=6, summary_in=7,
)  # fmt: skip


def test_weights_by_hand():
    assert SIZES.layer_weights == 4 * 4 + 2 * (4 * 2) + 4 * 4 + 3 * (4 * 8)  # 144
    assert SIZES.lora_weights == 8 + 6 + 6 + 8 + 12 + 12 + 12  # 64
    assert SIZES.encoder_weights == 5 * 6 + 6 * 12 + 12 * 6 + 6 * 4  # 198


def test_a_packed_stream_by_hand():
    work = packed_work(3, 2, [2, 1], [(2, 2), (1, 1), (2, 1)])
    # Twice a history of 3: 1 + 2 + 3 pairs. Instructions see themselves: 1 + 2, and 1. A segment's own tokens see
    # history and instruction, then each other: (5 + 1) + (5 + 2), (4 + 1), (5 + 1).
    assert (work.tokens, work.pairs, work.summaries) == (6 + 2 + 1 + 4, 2 * 6 + 3 + 1 + 13 + 5 + 6, 2)


def test_operations_by_hand():
    work = Work(tokens=12, pairs=43, soft=2, summaries=2, predicted=1)
    assert forward_flops(SIZES, work) == (
        2 * 12 * 3 * 144 + 4 * 43 * 3 * 4 + 2 * 2 * 198 + 2 * 2 * 7 * 4 + 2 * 4 * 10
    )  # 10368 + 2064 + 792 + 112 + 80
    assert training_flops(SIZES, work) == (
        12 * 3 * (4 * 144 + 6 * 64) + 12 * 43 * 3 * 4 + 2 * (4 * 198 + 2 * 168) + 6 * 2 * 7 * 4 + 4 * 4 * 10
    )


@pytest.mark.parametrize("rank", [0, 2])
def test_training_of_a_layer_is_what_torch_counts(rank):
    """Seven matrices as a layer has them, frozen, with LoRA beside each: forward and backward, by torch's counter."""
    sizes = Sizes(4, 2, 1, 2, 8, 1, 10, rank, 5, 6, 7)
    tokens = 5
    with FlopCounterMode(display=False) as counter:
        for i, o in sizes._matrices():
            x = torch.randn(tokens, i, requires_grad=True)
            out = x @ torch.randn(i, o)
            if rank:
                out = out + (x @ torch.randn(i, rank, requires_grad=True)) @ torch.randn(rank, o, requires_grad=True)
            out.sum().backward()
    assert counter.get_total_flops() == training_flops(sizes, Work(tokens=tokens))
