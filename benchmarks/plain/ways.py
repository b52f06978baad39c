"""Embedding and training the plain way, in three degrees of plainness (`TEXTS`), on the same histories as ours."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from instructue.config import Config
from instructue.training import losses
from instructue.training.batches import OWN_TEXTS, Batches
from instructue.training.build import Parts
from instructue.training.loop import CLIP
from instructue.training.optim import make_optimizer, set_rates
from plain.model import PlainModel
from plain.sequences import EventTexts, Sequences, make_sequences

# The text encoder runs on every event's text: for each sequence, once for all sequences of a user, or never (cached).
Texts = Literal["sequence", "user", "cached"]


@dataclass
class Batch:
    """A training step's input: general sequences of the B histories first, then one per triplet."""

    sequences: Sequences
    answers_AV: torch.Tensor
    positive_N: torch.Tensor
    opposite_N: torch.Tensor
    excluded_NA: torch.Tensor
    texts_MV: torch.Tensor
    own_BM: torch.Tensor
    known_BM: torch.Tensor


class Plain:
    """The plain way: its network, its data, its optimiser."""

    def __init__(self, parts: Parts, config: Config, texts: EventTexts, model: PlainModel) -> None:
        self.parts, self.config, self.texts, self.model = parts, config, texts, model
        self.log_temperature = torch.nn.Parameter(torch.tensor([config.model.training.temperature]).log())
        self.optimizer = make_optimizer(model, self.log_temperature, config.model.training)

    def autocast(self):
        dtype = self.parts.dtype
        return torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32)

    def embed(
        self, examples: np.ndarray, questions: list[str], known_KV: np.ndarray, texts: Texts, batch: int
    ) -> torch.Tensor:
        """[B, K, E]: every question of every history as a sequence of its own, `batch` sequences a pass.

        known_KV: the questions' vectors, for the degrees that have them already.
        """
        self.model.eval()
        owner = np.repeat(examples, len(questions))
        asked = questions * len(examples)
        number = np.tile(np.arange(len(questions)), len(examples))
        if texts == "user":
            self.texts.encode(examples)
        out = []
        for start in range(0, len(owner), batch):
            part = slice(start, start + batch)
            vectors = known_KV[number[part]]
            if texts == "sequence":
                self.texts.encode(owner[part])
                vectors = self.texts.vectors(asked[part])
            features = self.texts.cached if texts == "cached" else self.texts.fresh
            sequences = make_sequences(
                self.parts, features, self.config.model.network, owner[part], asked[part], vectors
            )
            with torch.inference_mode(), self.autocast():
                out.append(self.model(sequences)[0])
        return torch.cat(out).unflatten(0, (len(examples), len(questions)))

    def train(self, batches: Batches, step: int, users: np.ndarray, texts: Texts) -> None:
        """One optimiser step on the triplets of `users` (places in the planned step)."""
        config = self.config.model.training
        self.model.train()
        set_rates(self.optimizer, step, config.steps)
        batch = self.batch(batches, step, users, texts)
        with self.autocast():
            embeddings, logits, targets = self.model(batch.sequences)
        general, asked = embeddings.float().split([len(users), len(embeddings) - len(users)])
        answers = self.model.embed_answers(batch.answers_AV)
        temperature = losses.temperature_of(self.log_temperature)
        loss = (
            config.contrastive_weight
            * losses.contrastive(asked, answers, batch.positive_N, batch.excluded_NA, temperature)
            + config.opposition_weight
            * losses.opposition(asked, answers, batch.positive_N, batch.opposite_N, temperature)
            + config.history_weight
            * losses.own_texts(
                general, self.model.embed_texts(batch.texts_MV), batch.own_BM, batch.known_BM, temperature
            )
        )
        if logits is not None:
            loss = loss + config.autoregressive_weight * F.cross_entropy(logits.float(), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def batch(self, batches: Batches, step: int, users: np.ndarray, texts: Texts) -> Batch:
        """Sequences, answers and texts of a step; sources hidden as often as in ours."""
        config = batches.config.training
        examples, rows = batches.plan.examples[step][users], batches.plan.triplets[step][users]
        rng = np.random.default_rng([config.seed, step])
        hidden = rng.random((len(examples), len(self.texts.cached.names))) < config.source_dropout
        hidden[:, 0] = False
        K, flat = rows.shape[1], rows.ravel()
        owner = np.concatenate([np.arange(len(examples)), np.repeat(np.arange(len(examples)), K)])
        written = round(config.autoregressive_share * K)
        questions = [""] * len(examples) + [batches.instruction[i] for i in flat]
        said = [batches.answer[i] for i in flat]
        answers = [None] * len(examples) + [a if n % K < written else None for n, a in enumerate(said)]
        if texts == "sequence":
            self.texts.encode(examples[owner], hidden[owner])
        elif texts == "user":
            self.texts.encode(examples, hidden)
        vectors_of = batches.vectors.__getitem__ if texts == "cached" else self.texts.vectors
        asked = vectors_of(questions[len(examples) :])
        vectors = np.concatenate([np.zeros((len(examples), asked.shape[1]), np.float32), asked])
        features = self.texts.cached if texts == "cached" else self.texts.fresh
        sequences = make_sequences(
            self.parts, features, self.config.model.network, examples[owner], questions, vectors, answers, hidden[owner]
        )
        opposites = [batches.opposite[i] for i in flat]
        against = [n for n, o in enumerate(opposites) if o]
        texts_of_answers = said + [opposites[n] for n in against]
        opposite = torch.full((len(flat),), -1)
        opposite[against] = len(flat) + torch.arange(len(against))
        return Batch(
            sequences,
            torch.from_numpy(vectors_of(texts_of_answers)),
            torch.arange(len(flat)),
            opposite,
            _no_negatives(batches, flat, texts_of_answers),
            *_own_texts(features, examples, hidden, rng),
        )


def _no_negatives(batches: Batches, rows: np.ndarray, answers: list[str]) -> torch.Tensor:
    """[N, A] answers of the same words as the right one elsewhere, or equally true of the same history."""
    said = np.asarray(answers, dtype=object)
    excluded = said[None, :] == said[: len(rows), None]
    asked = np.asarray([f"{batches.example[i]} {batches.instruction[i]}" for i in rows], dtype=object)
    excluded[:, : len(rows)] |= asked[None, :] == asked[:, None]
    excluded[np.arange(len(rows)), np.arange(len(rows))] = False
    return torch.from_numpy(excluded.astype(bool))


def _own_texts(features, examples: np.ndarray, hidden: np.ndarray, rng: np.random.Generator):
    """The event texts of the general embedding's loss: (vectors, own, known), see losses.own_texts."""
    distinct = features.distinct(examples, hidden)
    spans = [slice(a, b) for a, b in zip(distinct.bounds[:-1], distinct.bounds[1:], strict=True)]
    drawn = []
    for span in spans:
        weight = np.maximum(distinct.weight[span], 1e-6)
        take = min(OWN_TEXTS, len(weight))
        drawn.append(rng.choice(distinct.text[span], take, replace=False, p=weight / weight.sum()))
    texts = np.unique(np.concatenate(drawn))
    own = np.stack([np.isin(texts, d) for d in drawn])
    known = np.stack([np.isin(texts, distinct.text[span]) for span in spans])
    return torch.from_numpy(features.vectors[texts]), torch.from_numpy(own), torch.from_numpy(known)
