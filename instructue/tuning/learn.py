"""Learns a soft prompt for one task from few labels, everything else frozen (Lester et al. 2021, arXiv 2104.08691).

What is learnt replaces the embeddings of the instruction's words and its vector for evidence, and starts from both.
The loss is logistic: similarity to the answer "yes" less that to "no", by a scale and a bias that are fitted first.

The folds that say when to stop learn beside the prompt, in the same pass: each history has one segment behind it for
each of U prompts, number 0 from all rows, the others each without one fold. What a pass computes for the histories is
computed once and kept, so a step costs its segments alone.

Legend: R labelled histories, B of them in a batch, U prompts, I tokens of the instruction, D model width, V text
vector, E embedding width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from instructue.batching.packs import Pack
from instructue.network.packing import Memory
from instructue.network.user_model import UserModel

FOLDS = 4
STEPS = 60  # at most; folds say how many of them
PATIENCE = 8  # rounds without a better loss on rows held out
RATE, QUERY_RATE = 0.01, 0.003  # Adam's, in units of an embedding's usual size and of a vector of length 1
DECAY = 0.1  # towards where it started: what training with many instructions found is the prior
BATCH = 32


@dataclass
class Prepared:
    """A batch of histories with U segments each, and what the frozen network made of the histories. rows_B: which."""

    rows_B: Tensor
    pack: Pack
    memory: Memory


@dataclass
class Learnt:
    """said_ID and query_V of the prompt; the rest as in prompt.About."""

    said_ID: Tensor
    query_V: Tensor
    steps: int
    loss_before: float
    loss_after: float
    scale: float
    bias: float


class Prompts(nn.Module):
    """U prompts that start from one instruction, as differences in units that make one learning rate fit."""

    def __init__(self, model: UserModel, pack: Pack, scale_U: Tensor, bias_U: Tensor) -> None:
        super().__init__()
        U = len(scale_U)
        words_ID, query_V = model.backbone.embed(pack.ids_I).detach().float(), pack.query_UV[0]
        self.words_ID, self.query_V, self.unit = words_ID, query_V, model.backbone.embedding_rms
        self.said_UID = nn.Parameter(torch.zeros(U, *words_ID.shape))
        self.asked_UV = nn.Parameter(torch.zeros(U, len(query_V)))
        self.log_scale_U, self.bias_U = nn.Parameter(scale_U.log()), nn.Parameter(bias_U.clone())

    def put(self, pack: Pack) -> Pack:
        said_UID = self.words_ID + self.unit * self.said_UID
        return replace(pack, prompts=dict(enumerate(said_UID)), query_UV=self.query_V + self.asked_UV)

    def log_odds(self, gap_BU: Tensor) -> Tensor:
        return gap_BU * self.log_scale_U.exp() + self.bias_U

    @torch.no_grad()
    def learnt(self, steps: int, before: float, after: float) -> "Learnt":
        """Prompt 0 as it stands."""
        said_ID, query_V = self.words_ID + self.unit * self.said_UID[0], self.query_V + self.asked_UV[0]
        return Learnt(said_ID, query_V, steps, before, after, self.log_scale_U[0].exp().item(), self.bias_U[0].item())


def folds_of(users: np.ndarray, yes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[R] each row's fold, 0 to FOLDS - 1; a user's rows in one fold, answers spread evenly over them."""
    _, first, user_R = np.unique(users, return_index=True, return_inverse=True)
    order = rng.permutation(len(first))
    order = order[np.argsort(yes[first][order], kind="stable")]
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % FOLDS
    return fold[user_R]


def batches_of(yes: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows in batches, both answers spread evenly over them."""
    place = np.empty(len(yes))
    for answer in (False, True):
        rows = rng.permutation(np.flatnonzero(yes == answer))
        place[rows] = (np.arange(len(rows)) + 0.5) / max(len(rows), 1)
    order = np.argsort(place, kind="stable")
    return np.array_split(order, -(-len(order) // BATCH))


@dataclass
class Labelled:
    """Rows to learn from. taught_RU: which of them each prompt learns from; the others judge it.

    direction_E: the answer "yes" less the answer "no", in the users' space.
    """

    yes_R: Tensor
    taught_RU: Tensor
    direction_E: Tensor

    @staticmethod
    def of(yes: np.ndarray, folds: np.ndarray, direction_E: Tensor) -> "Labelled":
        fold_R = torch.from_numpy(folds)
        taught_RU = torch.stack([fold_R >= 0, *(fold_R != fold for fold in range(FOLDS))], dim=1)
        return Labelled(torch.from_numpy(yes).float(), taught_RU, direction_E)

    def gap(self, users_BUE: Tensor) -> Tensor:
        """[B, U] how much nearer to "yes" than to "no"; not a product, which autocast would round to bfloat16."""
        return (users_BUE.float() * self.direction_E).sum(-1)

    def losses(self, log_odds_BU: Tensor, rows_B: Tensor) -> Tensor:
        """[B, U] logistic loss of these rows under each prompt."""
        right_BU = self.yes_R[rows_B, None].expand_as(log_odds_BU)
        return F.binary_cross_entropy_with_logits(log_odds_BU, right_BU, reduction="none")


def learn(
    model: UserModel,
    packs: list[tuple[np.ndarray, Pack]],
    labelled: Labelled,
    temperature: float,
    dtype: torch.dtype,
) -> Learnt:
    """The prompt for the one instruction of `packs`, each (its rows, their histories with one segment each).

    temperature: what the scale is expected to be the inverse of. The model is left as it was.
    """
    with frozen(model), torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        gap_R, prepared = torch.zeros(len(labelled.yes_R)), []
        for rows, pack in packs:
            ready, gap_R[rows] = _prepare(model, rows, pack, labelled)
            prepared.append(ready)
        prompts = Prompts(model, packs[0][1], *_calibrated(gap_R, labelled, temperature))
        every_R = torch.arange(len(gap_R))
        held = labelled.losses(prompts.log_odds(gap_R[:, None]), every_R)[~labelled.taught_RU].mean().item()
        best, waited, optimizer = prompts.learnt(0, held, held), 0, _optimizer(prompts)
        steps = 0
        while steps < STEPS and waited < PATIENCE:
            found = _round(model, prepared, prompts, labelled, optimizer, replace(best, steps=steps))
            steps, waited = steps + len(prepared), waited + 1
            if found.loss_after < best.loss_after:
                best, waited = found, 0
    return best


def _round(
    model: UserModel,
    prepared: list[Prepared],
    prompts: Prompts,
    labelled: Labelled,
    optimizer: torch.optim.Optimizer,
    before: Learnt,
) -> Learnt:
    """One step per batch. Returns prompt 0 as it was in the middle of them, with the mean loss on rows held out, each
    measured before its batch's step."""
    held, middle = [], before
    for place, batch in enumerate(prepared):
        if place == len(prepared) // 2:
            middle = prompts.learnt(before.steps + place, before.loss_before, 0.0)
        gap_BU = labelled.gap(model(prompts.put(batch.pack), memory=batch.memory).embeddings[0])
        loss_BU, taught_BU = labelled.losses(prompts.log_odds(gap_BU), batch.rows_B), labelled.taught_RU[batch.rows_B]
        held.append(loss_BU.detach()[~taught_BU])
        (loss_BU * taught_BU / taught_BU.sum(0).clamp_min(1)).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return replace(middle, loss_after=torch.cat(held).mean().item())


@contextmanager
def frozen(model: UserModel) -> Iterator[None]:
    """No weight of the model takes part in learning, and all is afterwards as it was."""
    asked, training = [p for p in model.parameters() if p.requires_grad], model.training
    model.eval()
    for parameter in asked:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        model.train(training)
        for parameter in asked:
            parameter.requires_grad_(True)


@torch.no_grad()
def _prepare(model: UserModel, rows: np.ndarray, pack: Pack, labelled: Labelled) -> tuple[Prepared, Tensor]:
    """The histories computed once, ready for U segments each; and [B] each one's gap under the words themselves."""
    pack, memory = replace(pack, soft_ND=model.soft_tokens(pack)), Memory()
    gap_B = labelled.gap(model(pack, memory=memory).embeddings[0])[:, 0]
    (group,), prompts = pack.groups, labelled.taught_RU.shape[1]
    spread = replace(
        group,
        which_BK=torch.arange(prompts).expand(len(rows), prompts),
        retrieved_BKQ=group.retrieved_BKQ.expand(-1, prompts, -1),
        answer_BKJ=group.answer_BKJ.expand(-1, prompts, -1),
        target_BKJ=group.target_BKJ.expand(-1, prompts, -1),
    )
    ready = replace(
        pack,
        vectors_NV=pack.vectors_NV[:0],
        ids_I=pack.ids_I.repeat(prompts),
        length_U=pack.length_U.repeat(prompts),
        best_U=pack.best_U.repeat(prompts),
        groups=[spread],
    )
    return Prepared(torch.from_numpy(rows), ready, memory), gap_B


def _calibrated(gap_R: Tensor, labelled: Labelled, temperature: float) -> tuple[Tensor, Tensor]:
    """[U] scale and bias of each prompt's rows under the words themselves, with a prior on the scale's logarithm."""
    weight_RU, start = labelled.taught_RU.float(), -torch.tensor(temperature).log()
    log_scale_U = nn.Parameter(start.expand(weight_RU.shape[1]).clone())
    share_U = (weight_RU * labelled.yes_R[:, None]).sum(0) / weight_RU.sum(0)
    bias_U = nn.Parameter(torch.logit(share_U, eps=1e-3) - gap_R.mean() * log_scale_U.detach().exp())
    optimizer = torch.optim.LBFGS([log_scale_U, bias_U], max_iter=50, line_search_fn="strong_wolfe")
    every_R = torch.arange(len(gap_R))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss_RU = labelled.losses(gap_R[:, None] * log_scale_U.exp() + bias_U, every_R)
        loss = (loss_RU * weight_RU).sum() + 0.5 * ((log_scale_U - start) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return log_scale_U.detach().exp(), bias_U.detach()


def _optimizer(prompts: Prompts) -> torch.optim.AdamW:
    groups = [
        {"params": [prompts.said_UID], "lr": RATE},
        {"params": [prompts.asked_UV], "lr": QUERY_RATE},
        {"params": [prompts.log_scale_U, prompts.bias_U], "lr": RATE, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, weight_decay=DECAY, betas=(0.9, 0.98))
