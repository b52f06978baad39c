"""How many floating-point operations a pass of the user model must do, counted from sizes alone.

Counted: the matrix products of the language model's layers, attention over the pairs of places that may see each
other (half a square, not a whole one), the sources' encoders and adapters, the summary that <USER> starts from and
the language model's head where an answer's token is predicted. A multiplication with its addition is two operations.
Only useful work counts: no padding, and in embedding no LoRA, as its update could be added to the weights beforehand.
Not counted, all far below a hundredth: norms, rotations, softmax, the embedding's and the answers' small heads, the
losses, the optimiser.

Training, per weight and token: a frozen matrix costs two operations forward and two for the gradient of its input; a
trained one two more for its own gradient. Attention's backward is twice its forward; recomputing is no useful work.

Legend: D model width, H heads, G key/value heads, d head width, M width inside the feed-forward part, R LoRA rank.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network. encoder_in: text vector, map and figures; summary_in: what <USER>'s start is made of."""

    width: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    layers: int
    vocabulary: int
    lora_rank: int
    encoder_in: int
    encoder: int
    summary_in: int

    def _matrices(self) -> list[tuple[int, int]]:
        """(in, out) of each matrix of one layer: q, k, v, o, gate, up, down."""
        D, M, q, kv = self.width, self.feed_forward, self.heads * self.head_width, self.kv_heads * self.head_width
        return [(D, q), (D, kv), (D, kv), (q, D), (D, M), (D, M), (M, D)]

    @property
    def layer_weights(self) -> int:
        return sum(i * o for i, o in self._matrices())

    @property
    def lora_weights(self) -> int:
        return sum(self.lora_rank * (i + o) for i, o in self._matrices())

    @property
    def encoder_inner_weights(self) -> int:
        """Those of an encoder and its adapter whose input needs a gradient: two of the mixing part, the adapter's."""
        return 4 * self.encoder**2 + self.encoder * self.width

    @property
    def encoder_weights(self) -> int:
        return self.encoder_in * self.encoder + self.encoder_inner_weights


@dataclass
class Work:
    """What a pass must go through: tokens, pairs of places that see each other, soft tokens, histories' summaries,
    answer tokens predicted."""

    tokens: int = 0
    pairs: int = 0
    soft: int = 0
    summaries: int = 0
    predicted: int = 0


def packed_work(prefix: int, histories: int, instructions: Iterable[int], segments: Iterable[tuple[int, int]]) -> Work:
    """Histories of `prefix` tokens, distinct instructions by their tokens, and segments, each (instruction's tokens,
    own tokens): the own ones (retrieved, <USER>, answer) see history, instruction and each other causally.
    """
    work = Work(histories * prefix, histories * _triangle(prefix), 0, histories, 0)
    for instruction in instructions:
        work.tokens += instruction
        work.pairs += _triangle(instruction)
    for instruction, own in segments:
        work.tokens += own
        work.pairs += own * (prefix + instruction) + _triangle(own)
    return work


def forward_flops(sizes: Sizes, work: Work) -> int:
    """Operations of an embedding pass (with the head's, where answer tokens are predicted)."""
    return (
        2 * work.tokens * sizes.layers * sizes.layer_weights
        + 4 * work.pairs * sizes.layers * sizes.heads * sizes.head_width
        + 2 * work.soft * sizes.encoder_weights
        + 2 * work.summaries * sizes.summary_in * sizes.width
        + 2 * work.predicted * sizes.width * sizes.vocabulary
    )


def training_flops(sizes: Sizes, work: Work) -> int:
    """Operations of one forward and backward pass: LoRA, encoders and summary trained, all else frozen."""
    return (
        work.tokens * sizes.layers * (4 * sizes.layer_weights + 6 * sizes.lora_weights)
        + 12 * work.pairs * sizes.layers * sizes.heads * sizes.head_width
        + work.soft * (4 * sizes.encoder_weights + 2 * sizes.encoder_inner_weights)
        + 6 * work.summaries * sizes.summary_in * sizes.width
        + 4 * work.predicted * sizes.width * sizes.vocabulary
    )


def _triangle(n: int) -> int:
    return n * (n + 1) // 2
