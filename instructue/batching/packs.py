"""What one forward pass takes: soft tokens, where they go, instructions, and groups of segments behind each history.

Legend: B histories, P prefix slots, U distinct instructions, I their tokens all together, K segments a history in a
group, Q retrieved slots, J tokens of an answer, T distinct texts of the batch, M most of them in a history, G distinct
values that they show, A most of these in a text, V text vector, X amounts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from instructue.batching.features import HistoryFeatures
from instructue.batching.tokens import Distinct, Tokens

MOST_KEPT = 100_000  # instructions whose look-ups are kept: more than a training has, and a bound for a service


@dataclass
class Segments:
    """One group: K segments behind each of B histories, all of the same length: retrieved slots, <USER>, an answer.

    which_BK numbers each segment's instruction in the pack, -1 for none. retrieved_BKQ: the batch's soft token of
    each slot in front, -1 for none. answer_BKJ: the answer's tokens but its end, padded; J is 0 where none is carried.
    target_BKJ: the next token to predict from <USER> on (one place more than the answer), -100 where none is asked.
    """

    which_BK: Tensor
    retrieved_BKQ: Tensor
    answer_BKJ: Tensor
    target_BKJ: Tensor


@dataclass
class Pack:
    """A batch of histories with groups of segments. prefix_BP and whole_BS number soft tokens, -1 for none;
    place_BC are the histories' coordinates on the map.

    ids_I and length_U: the distinct instructions' tokens, one after the other, and how many each has. query_UV are
    their text vectors, best_U the similarity of what is nearest to each among all texts and values that training knew.
    text_TV: vectors of the batch's distinct texts; value_GV those of the distinct values they show, value_TA which
    of these each text holds, -1 for none. seen_BM, source_BM, amount_BMX: which texts each history holds, of which
    source and how much, zero where there are fewer than M: what the evidence for an instruction is read from.

    prompts: by an instruction's number what stands in for its tokens' embeddings, as many rows [length_U, D].
    soft_ND: the soft tokens already encoded, where many passes share them.
    """

    vectors_NV: Tensor
    figures_NF: Tensor
    source_N: Tensor
    role_N: Tensor
    prefix_BP: Tensor
    whole_BS: Tensor
    place_BC: Tensor
    text_TV: Tensor
    value_GV: Tensor
    value_TA: Tensor
    seen_BM: Tensor
    source_BM: Tensor
    amount_BMX: Tensor
    ids_I: Tensor
    length_U: Tensor
    query_UV: Tensor
    best_U: Tensor
    groups: list[Segments] = field(default_factory=list)
    prompts: dict[int, Tensor] = field(default_factory=dict)
    soft_ND: Tensor | None = None


class Packer:
    """Makes packs: features of the histories, events retrieved for each instruction, token ids.

    `tokens_of(text) -> list[int]` is the language model's tokenizer, without special tokens; `pad_id` is the
    id that stands for padding, `end_id` for the end of an answer.
    """

    def __init__(
        self,
        features: HistoryFeatures,
        frequent: int,
        retrieved: int,
        tokens_of: Callable[[str], list[int]],
        pad_id: int,
        end_id: int,
    ):
        self.features, self.frequent, self.retrieved = features, frequent, retrieved
        self.tokens_of, self.pad_id, self.end_id = tokens_of, pad_id, end_id
        self._best: dict[str, float] = {}

    def pack(self, examples: np.ndarray, groups: list["Ask"], hidden: np.ndarray | None = None) -> Pack:
        """Pack histories with groups of segments; hidden_BS masks sources of single histories."""
        features = self.features
        pooled, window_BSW, whole_BS = features.pooled(examples, hidden)
        distinct = features.distinct(examples, hidden)
        parts, made = [pooled], len(pooled.source_N)
        frequent_BQ = features.frequent(distinct, self.frequent)
        telling = features.tokens_of(distinct, frequent_BQ[frequent_BQ >= 0], features.roles.frequent)
        frequent_BQ[frequent_BQ >= 0] = made + np.arange(len(telling.source_N))
        made += len(telling.source_N)
        attributes, attribute_BA = features.attribute_tokens(examples, hidden)
        attribute_BA[attribute_BA >= 0] += made
        made += len(attributes.source_N)
        parts += [telling, attributes]
        text_TV, _, _, seen_BM, *_ = held = features.seen(distinct)
        number, vectors = distinct_instructions(groups, features.vectors.shape[1])
        # Rounded, so that which of two equal texts comes first does not hang on who else is in the batch.
        near_UT = np.round(vectors @ text_TV.T, 5)
        segments = []
        for ask in groups:
            which = [[number.get((text, ask.instruction_tokens), -1) for text in row] for row in ask.instructions]
            tokens, slots = self._retrieve(distinct, seen_BM, near_UT, np.asarray(which))
            slots[slots >= 0] += made
            made += len(tokens.source_N)
            parts.append(tokens)
            segments.append(self._segments(ask, slots, which))
        B = len(examples)
        prefix = np.concatenate([attribute_BA, window_BSW.reshape(B, -1), frequent_BQ], axis=1)
        all_tokens = Tokens.join(parts)
        said = [self.tokens_of(text)[:limit] for text, limit in number]
        tensors = (
            torch.from_numpy(np.ascontiguousarray(a))
            for a in (
                all_tokens.vectors_NV.astype(np.float32),
                all_tokens.figures_NF,
                all_tokens.source_N,
                all_tokens.role_N,
                prefix,
                whole_BS,
                features.coordinates(distinct),
                *held,
                np.asarray([token for text in said for token in text], np.int64),
                np.asarray([len(text) for text in said], np.int64),
                vectors,
                self._nearest(list(number), vectors),
            )
        )
        return Pack(*tensors, groups=segments)

    def _nearest(self, asked: list[tuple[str, int]], vectors_UV: np.ndarray) -> np.ndarray:
        """[U] similarity of the nearest text or value that training knew; looked up once per instruction."""
        if len(self._best) > MOST_KEPT:
            self._best.clear()
        new = [row for row, (text, _) in enumerate(asked) if text not in self._best]
        if new:
            found = self.features.best(vectors_UV[new])
            self._best |= {asked[row][0]: float(best) for row, best in zip(new, found, strict=True)}
        return np.asarray([self._best[text] for text, _ in asked], np.float32)

    def _retrieve(
        self, distinct: Distinct, seen_BM: np.ndarray, near_UT: np.ndarray, which_BK: np.ndarray
    ) -> tuple[Tokens, np.ndarray]:
        """The texts of each whole history nearest to each instruction, by cosine; none for the general segment."""
        asked = self.retrieved and bool((which_BK >= 0).all())
        slots = np.full((*which_BK.shape, self.retrieved if asked else 0), -1, np.int64)
        rows, similarity = np.zeros(0, np.int64), np.zeros(0, np.float32)
        if asked and seen_BM.shape[1]:
            length_B = np.diff(distinct.bounds)
            near_BKM = near_UT[which_BK[..., None], seen_BM[:, None]]
            near_BKM = np.where(np.arange(seen_BM.shape[1]) < length_B[:, None, None], near_BKM, -np.inf)
            best_BKQ = np.argsort(-near_BKM, axis=2, kind="stable")[:, :, : self.retrieved]
            found_BKQ = best_BKQ < length_B[:, None, None]
            slots[:, :, : best_BKQ.shape[2]][found_BKQ] = np.arange(found_BKQ.sum())
            rows = (distinct.bounds[:-1, None, None] + best_BKQ)[found_BKQ]
            similarity = np.take_along_axis(near_BKM, best_BKQ, 2)[found_BKQ].astype(np.float32)
        return self.features.tokens_of(distinct, rows, self.features.roles.retrieved, similarity), slots

    def _segments(self, ask: "Ask", slots: np.ndarray, which: list[list[int]]) -> Segments:
        B, K = len(ask.instructions), len(ask.instructions[0])
        answers = [
            [*self.tokens_of(text)[: ask.answer_tokens], self.end_id] for row in ask.answers or [] for text in row
        ]
        width = max((len(answer) for answer in answers), default=1)
        ids = np.full((B * K, width - 1), self.pad_id, np.int64)
        target = np.full((B * K, width), -100, np.int64)
        for row, answer in enumerate(answers):
            ids[row, : len(answer) - 1] = answer[:-1]  # behind the end nothing is predicted
            target[row, : len(answer)] = answer
        return Segments(
            torch.tensor(which).view(B, K),
            torch.from_numpy(slots),
            torch.from_numpy(ids).view(B, K, width - 1),
            torch.from_numpy(target).view(B, K, width),
        )


def distinct_instructions(groups: list["Ask"], width: int) -> tuple[dict[tuple[str, int], int], np.ndarray]:
    """The instructions of all groups, each once: (text, most tokens) -> number; and their text vectors [U, V]."""
    number: dict[tuple[str, int], int] = {}
    vectors = []
    for ask in groups:
        if ask.vectors is None:
            continue
        for row, vectors_KV in zip(ask.instructions, ask.vectors, strict=True):
            for text, vector in zip(row, vectors_KV, strict=True):
                if (text, ask.instruction_tokens) not in number:
                    number[text, ask.instruction_tokens] = len(number)
                    vectors.append(vector)
    return number, np.stack(vectors).astype(np.float32) if vectors else np.zeros((0, width), np.float32)


@dataclass
class Ask:
    """What is asked of each history of a batch: K instructions each, their text vectors for retrieval, and,
    for the autoregressive loss, their answers. vectors None means: retrieve nothing (the general segment)."""

    instructions: list[list[str]]
    vectors: np.ndarray | None
    answers: list[list[str]] | None
    instruction_tokens: int
    answer_tokens: int = 0

    @staticmethod
    def general(histories: int) -> "Ask":
        """The segment that asks nothing: <USER> alone."""
        return Ask([[""]] * histories, None, None, 1)
