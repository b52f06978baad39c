"""Gradient caching (GradCache, arXiv 2101.06983): many negatives without many histories in memory at once.

A step's users are judged against all its answers, but never against each other. So the answers are embedded once,
each chunk of users runs forward and backward by itself against these embeddings, whose gradients are kept and added
up, and the answers' own backward pass runs last. The gradient is that of the whole step (tests hold it to 1e-5), and
unlike in the general method no user is computed twice. A loss between users would need that second pass.
"""

from collections.abc import Callable

from torch import Tensor

from instructue.training.distributed import Ranks


class Cached:
    """Embeddings of texts that every chunk, in every process, is judged against.

    `all` [A, E] is a leaf: chunks leave their gradients there. `backward` passes them on into `embed`; each process
    embeds its part of the texts and is given that part's gradient, summed over all.
    """

    def __init__(self, embed: Callable[[Tensor], Tensor], vectors_AV: Tensor, ranks: Ranks) -> None:
        self._ranks, self._part = ranks, ranks.part(len(vectors_AV))
        self._own = embed(vectors_AV[self._part])
        self.all = ranks.join(self._own, len(vectors_AV)).requires_grad_()

    def backward(self) -> None:
        """Once, after the last chunk's own backward."""
        assert self.all.grad is not None, "a chunk runs backward before the answers do"
        self._own.backward(self._ranks.add(self.all.grad)[self._part])
