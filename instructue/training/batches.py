"""From the plan's row numbers to what a step needs: a pack and the answers it is judged against."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from instructue.batching.packs import Ask, Pack, Packer
from instructue.batching.sampler import Plan
from instructue.config_model import ModelConfig
from instructue.training.distributed import ALONE, Ranks

OWN_TEXTS = 8  # event texts per history in the general embedding's loss


@dataclass
class Chunk:
    """Histories that run forward and backward together, and what they are judged against.

    Rows N run as the embeddings of the pack's groups 1.. do, flattened and joined in order; positive_N and opposite_N
    number the batch's answers. own_BM, known_BM: see losses.own_texts.
    """

    pack: Pack
    positive_N: Tensor
    opposite_N: Tensor
    excluded_NA: Tensor
    own_BM: Tensor
    known_BM: Tensor


@dataclass
class Batch:
    """One step's input: this process's histories in chunks, and all of the step's texts, whoever's they are.

    answers_AV: text vectors of the distinct answers; texts_MV: of event texts, for the general embedding.
    """

    chunks: list[Chunk]
    answers_AV: Tensor
    texts_MV: Tensor


class TextVectors:
    """Vectors of a fixed set of texts, encoded once."""

    def __init__(self, texts: list[str], vectors: np.ndarray) -> None:
        self.place = {text: index for index, text in enumerate(texts)}
        self.vectors = vectors

    def __getitem__(self, texts: list[str]) -> np.ndarray:
        return self.vectors[[self.place[t] for t in texts]]


class Batches:
    """Step number -> Batch; everything random comes from (seed, step), so any step can be made anew, by any process."""

    def __init__(
        self,
        packer: Packer,
        triplets: pl.DataFrame,
        plan: Plan,
        vectors: TextVectors,
        config: ModelConfig,
        dropout: float,
        ranks: Ranks = ALONE,
    ):
        self.packer, self.plan, self.vectors, self.config, self.dropout = packer, plan, vectors, config, dropout
        self.ranks = ranks
        self.instruction = triplets["instruction"].to_list()
        self.answer = triplets["answer"].to_list()
        self.opposite = triplets["opposite"].to_list()
        self.example = triplets["example"].to_list()

    def __len__(self) -> int:
        return len(self.plan.examples)

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.config.training.seed, step])
        examples, rows = self.plan.examples[step], self.plan.triplets[step]
        hidden = self._hide_sources(rng, len(examples))
        written = round(self.config.training.autoregressive_share * rows.shape[1])
        groups = [part for part in (rows[:, :written], rows[:, written:]) if part.shape[1]]
        flat = np.concatenate([part.ravel() for part in groups])
        answers, *judged = self._answers(flat)
        texts, own, known = self._own_texts(rng, examples, hidden)
        places = np.split(np.arange(len(flat)), np.cumsum([part.size for part in groups])[:-1])
        chunks = []
        for users in self._parts(len(examples)):
            asks = [self._ask(part[users], written > 0 and index == 0) for index, part in enumerate(groups)]
            general = Ask.general(len(examples[users]))
            pack = self.packer.pack(examples[users], [general, *asks], hidden[users])
            place = np.concatenate([p.reshape(g.shape)[users].ravel() for p, g in zip(places, groups, strict=True)])
            chunks.append(Chunk(pack, *(t[torch.from_numpy(place)] for t in judged), own[users], known[users]))
        return Batch(chunks, answers, texts)

    def _parts(self, count: int) -> list[slice]:
        """This process's share of the step's histories, cut into chunks."""
        mine = self.ranks.part(count)
        size = self.config.training.micro_batch or count
        return [slice(at, min(at + size, mine.stop)) for at in range(mine.start, mine.stop, size)]

    def _hide_sources(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Each source is now and then missing, the first never: the model must live with gaps."""
        hidden = rng.random((count, len(self.packer.features.names))) < self.dropout
        hidden[:, 0] = False
        return hidden

    def _ask(self, rows: np.ndarray, with_answers: bool) -> Ask:
        network = self.config.network
        instructions = [[self.instruction[i] for i in row] for row in rows]
        vectors = np.stack([self.vectors[row] for row in instructions])
        answers = [[self.answer[i] for i in row] for row in rows] if with_answers else None
        return Ask(instructions, vectors, answers, network.instruction_tokens, network.answer_tokens)

    def _answers(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        answers = [self.answer[i] for i in rows]
        opposites = [self.opposite[i] for i in rows]
        distinct = list(dict.fromkeys([*answers, *(o for o in opposites if o)]))
        place = {text: index for index, text in enumerate(distinct)}
        positive = torch.tensor([place[a] for a in answers])
        opposite = torch.tensor([place[o] if o else -1 for o in opposites])
        return torch.from_numpy(self.vectors[distinct]), positive, opposite, self._equally_true(rows, answers, place)

    def _equally_true(self, rows: np.ndarray, answers: list[str], place: dict[str, int]) -> Tensor:
        """Marks the answers that are no negatives: other true answers of the same history to the same instruction.

        Answers of the same words are one answer already.
        """
        excluded = torch.zeros(len(rows), len(place), dtype=torch.bool)
        said: dict[tuple[int, str], set[str]] = {}
        for row, answer in zip(rows, answers, strict=True):
            said.setdefault((self.example[row], self.instruction[row]), set()).add(answer)
        for n, (row, answer) in enumerate(zip(rows, answers, strict=True)):
            for other in said[self.example[row], self.instruction[row]] - {answer}:
                excluded[n, place[other]] = True
        return excluded

    def _own_texts(
        self, rng: np.random.Generator, examples: np.ndarray, hidden: np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor]:
        features = self.packer.features
        distinct = features.distinct(examples, hidden)
        drawn = []
        for b in range(len(examples)):
            span = slice(distinct.bounds[b], distinct.bounds[b + 1])
            weight = np.maximum(distinct.weight[span], 1e-6)
            take = min(OWN_TEXTS, len(weight))
            drawn.append(rng.choice(distinct.text[span], take, replace=False, p=weight / weight.sum()))
        texts = np.unique(np.concatenate(drawn))
        own = np.stack([np.isin(texts, d) for d in drawn])
        known = np.stack(
            [np.isin(texts, distinct.text[distinct.bounds[b] : distinct.bounds[b + 1]]) for b in range(len(examples))]
        )
        return torch.from_numpy(features.vectors[texts]), torch.from_numpy(own), torch.from_numpy(known)
