"""The losses, as pure functions of tensors; their parts stay apart.

Legend: N user embeddings (one per history and instruction), A distinct answers, E embedding width,
B histories, M event texts, T answer tokens, X words of the vocabulary, D width of the language model.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_TEMPERATURE = 0.01
ROWS, FEW = 128, 16  # of logits: enough for a product with all words; what the processor's cache holds


def temperature_of(log_temperature: Tensor) -> Tensor:
    """The learnt temperature, bounded below so that logits cannot run away (as in CLIP, arXiv 2103.00020)."""
    return log_temperature.exp().clamp(MIN_TEMPERATURE, 1.0)


def contrastive(
    users_NE: Tensor, answers_AE: Tensor, positive_N: Tensor, excluded_NA: Tensor, temperature: Tensor
) -> Tensor:
    """InfoNCE (arXiv 1807.03748) of unit user embeddings against the batch's distinct answers.

    positive_N numbers each row's right answer; excluded_NA marks answers that are no negatives for a row
    (equally true ones). The opposite answer to the same question, if among the A, is a hard negative.
    """
    logits_NA = users_NE @ answers_AE.T / temperature
    logits_NA = logits_NA.masked_fill(excluded_NA, float("-inf"))
    return F.cross_entropy(logits_NA, positive_N)


def opposition(
    users_NE: Tensor, answers_AE: Tensor, positive_N: Tensor, opposite_N: Tensor, temperature: Tensor
) -> Tensor:
    """InfoNCE over the right answer and its opposite alone, for rows that have one (opposite_N >= 0).

    The other negatives are told apart by the instruction; only this pair asks what the history says.
    Returns zero where no row has an opposite.
    """
    rows = torch.nonzero(opposite_N >= 0).squeeze(-1)
    if not len(rows):
        return users_NE.sum() * 0
    users = users_NE[rows]
    gap = ((answers_AE[positive_N[rows]] - answers_AE[opposite_N[rows]]) * users).sum(-1)
    return F.softplus(-gap / temperature).mean()


def nested(widths: Sequence[int], loss: Callable[..., Tensor], users_NE: Tensor, others_ME: Tensor, *rest) -> Tensor:
    """A loss of the whole vectors, averaged with that of their first `widths` numbers at unit length; without widths
    it alone. Matryoshka representations (arXiv 2205.13147), whose sum is a mean here, so that weights keep meaning.
    """
    whole = loss(users_NE, others_ME, *rest)
    if not widths:
        return whole
    parts = [
        loss(F.normalize(users_NE[:, :width], dim=-1), F.normalize(others_ME[:, :width], dim=-1), *rest)
        for width in widths
    ]
    return torch.stack([whole, *parts]).mean()


class _NextToken(torch.autograd.Function):
    """Mean cross-entropy of the next tokens; the states' gradient is made with it, while the logits are there.

    Some rows at a time: the logits of all are the largest tensor of a step (as Cut Cross-Entropy, arXiv 2411.09009).
    """

    @staticmethod
    def forward(ctx, states_TD: Tensor, words_XD: Tensor, targets_T: Tensor) -> Tensor:
        lost, grads = [], []
        for rows_RD, right_R1 in zip(states_TD.split(ROWS), targets_T[:, None].split(ROWS), strict=True):
            logits_RX = rows_RD.to(words_XD.dtype) @ words_XD.T
            lost += map(_softmax_, logits_RX.split(FEW), right_R1.split(FEW))
            if ctx.needs_input_grad[0]:
                grads.append(logits_RX @ words_XD)
        ctx.grad_TD = torch.cat(grads).to(states_TD.dtype) / len(states_TD) if grads else None
        return torch.cat(lost).mean()

    @staticmethod
    def backward(ctx, *grads: Tensor):
        return ctx.grad_TD * grads[0], None, None


def _softmax_(logits_rX: Tensor, right_r1: Tensor) -> Tensor:
    """[r, 1] cross-entropy in float32; the logits become what it changes by with them."""
    share_rX = logits_rX.to(torch.float32, copy=True)
    share_rX -= share_rX.amax(-1, keepdim=True)
    said_r1 = share_rX.gather(1, right_r1)
    whole_r1 = share_rX.exp_().sum(-1, keepdim=True)
    share_rX.div_(whole_r1).scatter_add_(1, right_r1, torch.full_like(said_r1, -1.0))
    logits_rX.copy_(share_rX)
    return whole_r1.log() - said_r1


def autoregressive(states_TD: Tensor, words_XD: Tensor, targets_T: Tensor) -> Tensor:
    """Next-token cross-entropy on the answers' tokens, each token the same weight.

    words_XD: a frozen row per token of the vocabulary, whose product with a state is the token's logit.
    """
    return _NextToken.apply(states_TD, words_XD, targets_T)


def own_texts(general_BE: Tensor, texts_ME: Tensor, own_BM: Tensor, known_BM: Tensor, temperature: Tensor) -> Tensor:
    """InfoNCE with several positives: the general embedding against event texts of its own history.

    own_BM marks the positives of each history; known_BM marks texts the history also holds though they were
    drawn for another: neither positive nor negative.
    """
    logits_BM = (general_BE @ texts_ME.T / temperature).masked_fill(known_BM & ~own_BM, float("-inf"))
    log_share = logits_BM.log_softmax(-1)
    picked = torch.where(own_BM, log_share, torch.zeros_like(log_share)).sum(-1)
    return -(picked / own_BM.sum(-1).clamp_min(1)).mean()
