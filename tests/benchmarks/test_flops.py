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
    # Keys and values 2 * (4 * 2) = 16, the rest 4 * 4 + 4 * 4 + 3 * (4 * 8) = 128; LoRA's 6 + 6 and 8 + 8 + 3 * 12.
    assert SIZES.frozen(12, 12) == 12 * 3 * (16 + 128)
    assert SIZES.frozen(12, 5) == 12 * 3 * 16 + 12 * 2 * 128 + 5 * 128
    assert SIZES.trained(12, 5) == 12 * 3 * 12 + 12 * 2 * 52 + 5 * 52
    assert SIZES.encoder_weights == 5 * 6 + 6 * 12 + 12 * 6 + 6 * 4  # 198


def test_a_packed_stream_by_hand():
    work = packed_work(3, 2, [2, 1], [(2, 1, 1), (1, 0, 1), (2, 0, 1)])
    # Twice a history of 3: 1 + 2 + 3 pairs. Instructions see themselves: 1 + 2, and 1. A segment's own tokens see
    # history and instruction, then each other: (5 + 1) + (5 + 2), (4 + 1), (5 + 1).
    assert (work.tokens, work.pairs, work.summaries) == (6 + 2 + 1 + 4, 2 * 6 + 3 + 1 + 13 + 5 + 6, 2)
    # Of the first segment only the second token is read: 5 + 2.
    assert (work.read, work.read_pairs) == (3, 7 + 5 + 6)


def test_operations_by_hand():
    work = Work(tokens=12, read=5, pairs=43, read_pairs=20, soft=2, summaries=2, predicted=1)
    seen = (2 * 43 + 20) * 4
    assert forward_flops(SIZES, work) == (
        2 * (12 * 3 * 16 + (2 * 12 + 5) * 128) + 4 * seen + 2 * 2 * 198 + 2 * 2 * 7 * 4 + 2 * 4 * 10
    )
    assert training_flops(SIZES, work) == (
        4 * (12 * 3 * 16 + (2 * 12 + 5) * 128) + 6 * (12 * 3 * 12 + (2 * 12 + 5) * 52) + 12 * seen
        + 2 * (4 * 198 + 2 * 168) + 6 * 2 * 7 * 4 + 4 * 4 * 10
    )  # fmt: skip


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
    assert counter.get_total_flops() == training_flops(sizes, Work(tokens=tokens, read=tokens))
