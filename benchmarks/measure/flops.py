"""How many floating-point operations a pass of the user model must do, counted from sizes alone.

Counted: the matrix products of the language model's layers, attention over the pairs of places that may see each
other (half a square, not a whole one), of the last layer only keys and values and what follows for tokens whose state
is read, the sources' encoders and adapters, the summary that <USER> starts from and
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
        """(in, out) of each matrix of one layer: k, v, q, o, gate, up, down."""
        D, M, q, kv = self.width, self.feed_forward, self.heads * self.head_width, self.kv_heads * self.head_width
        return [(D, kv), (D, kv), (D, q), (q, D), (D, M), (D, M), (M, D)]

    def frozen(self, tokens: int, read: int) -> int:
        """Weights that tokens meet in all layers; in the last only `read` of them meet more than keys and values."""
        return self._met([i * o for i, o in self._matrices()], tokens, read)

    def trained(self, tokens: int, read: int) -> int:
        """LoRA's, in the same way."""
        return self._met([self.lora_rank * (i + o) for i, o in self._matrices()], tokens, read)

    def _met(self, weights: list[int], tokens: int, read: int) -> int:
        of_all, of_read = sum(weights[:2]), sum(weights[2:])
        return tokens * (self.layers * of_all + (self.layers - 1) * of_read) + read * of_read

    @property
    def encoder_inner_weights(self) -> int:
        """Those of an encoder and its adapter whose input needs a gradient: two of the mixing part, the adapter's."""
        return 4 * self.encoder**2 + self.encoder * self.width

    @property
    def encoder_weights(self) -> int:
        return self.encoder_in * self.encoder + self.encoder_inner_weights


@dataclass
class Work:
    """What a pass must go through: tokens, those whose last state is read, pairs of places that see each other in all
    layers but the last and in the last, soft tokens, histories' summaries, answer tokens predicted."""

    tokens: int = 0
    read: int = 0
    pairs: int = 0
    read_pairs: int = 0
    soft: int = 0
    summaries: int = 0
    predicted: int = 0


def packed_work(
    prefix: int, histories: int, instructions: Iterable[int], segments: Iterable[tuple[int, int, int]]
) -> Work:
    """Histories of `prefix` tokens, distinct instructions by their tokens, and segments, each (instruction's tokens,
    retrieved tokens, tokens read): the latter two (<USER> and the answer are read) see history, instruction and each
    other causally.
    """
    work = Work(tokens=histories * prefix, pairs=histories * _triangle(prefix), summaries=histories)
    for instruction in instructions:
        work.tokens += instruction
        work.pairs += _triangle(instruction)
    for instruction, retrieved, read in segments:
        own = retrieved + read
        pairs = own * (prefix + instruction) + _triangle(own)
        work.tokens, work.read = work.tokens + own, work.read + read
        work.pairs += pairs
        work.read_pairs += pairs - retrieved * (prefix + instruction) - _triangle(retrieved)
    return work


def forward_flops(sizes: Sizes, work: Work) -> int:
    """Operations of an embedding pass (with the head's, where answer tokens are predicted)."""
    return (
        2 * sizes.frozen(work.tokens, work.read)
        + 4 * _seen(sizes, work)
        + 2 * work.soft * sizes.encoder_weights
        + 2 * work.summaries * sizes.summary_in * sizes.width
        + 2 * work.predicted * sizes.width * sizes.vocabulary
    )


def training_flops(sizes: Sizes, work: Work) -> int:
    """Operations of one forward and backward pass: LoRA, encoders and summary trained, all else frozen."""
    return (
        4 * sizes.frozen(work.tokens, work.read)
        + 6 * sizes.trained(work.tokens, work.read)
        + 12 * _seen(sizes, work)
        + work.soft * (4 * sizes.encoder_weights + 2 * sizes.encoder_inner_weights)
        + 6 * work.summaries * sizes.summary_in * sizes.width
        + 4 * work.predicted * sizes.width * sizes.vocabulary
    )


def _seen(sizes: Sizes, work: Work) -> int:
    """Numbers that all queries meet in all heads and layers."""
    return ((sizes.layers - 1) * work.pairs + work.read_pairs) * sizes.heads * sizes.head_width


def _triangle(n: int) -> int:
    return n * (n + 1) // 2
