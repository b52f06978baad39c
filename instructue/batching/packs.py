"""What one forward pass takes: soft tokens, where they go, and groups of segments behind each history.

Legend: B histories, P prefix slots, K segments a history in a group, Q retrieved slots, I token slots
(instruction, <USER>, answer, padding).
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from instructue.batching.features import HistoryFeatures, Tokens


@dataclass
class Segments:
    """One group: K segments behind each of B histories, all padded to the same length.

    ids_BKI: instruction, then <USER> at user_BK, then the answer if the group carries it, then padding.
    retrieved_BKQ: the batch's soft token of each slot in front, -1 for none.
    target_BKI: the next token to predict, -100 where none is asked.
    """

    ids_BKI: Tensor
    user_BK: Tensor
    retrieved_BKQ: Tensor
    target_BKI: Tensor


@dataclass
class Pack:
    """A batch of histories with groups of segments. prefix_BP and whole_BS number soft tokens, -1 for none;
    place_BC are the histories' coordinates on the map."""

    vectors_NV: Tensor
    figures_NF: Tensor
    source_N: Tensor
    role_N: Tensor
    prefix_BP: Tensor
    whole_BS: Tensor
    place_BC: Tensor
    groups: list[Segments] = field(default_factory=list)


class Packer:
    """Makes packs: features of the histories, events retrieved for each instruction, token ids.

    `tokens_of(text) -> list[int]` is the language model's tokenizer, without special tokens; `user_id` is the
    id that stands in for <USER>, `pad_id` for padding, `end_id` for the end of an answer.
    """

    def __init__(
        self,
        features: HistoryFeatures,
        frequent: int,
        retrieved: int,
        tokens_of,
        user_id: int,
        pad_id: int,
        end_id: int,
    ):
        self.features, self.frequent, self.retrieved = features, frequent, retrieved
        self.tokens_of, self.user_id, self.pad_id, self.end_id = tokens_of, user_id, pad_id, end_id

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
        segments = []
        for ask in groups:
            tokens, slots = self._retrieve(distinct, ask)
            slots[slots >= 0] += made
            made += len(tokens.source_N)
            parts.append(tokens)
            segments.append(self._segments(ask, slots))
        B = len(examples)
        prefix = np.concatenate([attribute_BA, window_BSW.reshape(B, -1), frequent_BQ], axis=1)
        all_tokens = Tokens.join(parts)
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
            )
        )
        return Pack(*tensors, groups=segments)

    def _retrieve(self, distinct, ask: "Ask") -> tuple[Tokens, np.ndarray]:
        """The texts of each whole history nearest to each instruction, by cosine; none for the general segment."""
        B, K = len(ask.instructions), len(ask.instructions[0])
        keep = self.retrieved if ask.vectors is not None else 0
        slots = np.full((B, K, keep), -1, np.int64)
        rows, similarity = [], []
        for b in range(B) if keep else ():
            span = slice(distinct.bounds[b], distinct.bounds[b + 1])
            near_Kn = ask.vectors[b] @ self.features.vectors[distinct.text[span]].T
            found = min(keep, near_Kn.shape[1])
            best = np.argsort(-near_Kn, axis=1, kind="stable")[:, :found]
            slots[b, :, :found] = len(rows) * 1 + np.arange(K * found).reshape(K, found)
            rows.extend((span.start + best).ravel())
            similarity.extend(np.take_along_axis(near_Kn, best, 1).ravel())
        tokens = self.features.tokens_of(
            distinct, np.asarray(rows, np.int64), self.features.roles.retrieved, np.asarray(similarity, np.float32)
        )
        return tokens, slots

    def _segments(self, ask: "Ask", slots: np.ndarray) -> Segments:
        B, K = len(ask.instructions), len(ask.instructions[0])
        sequences, users, answers = [], [], []
        for b in range(B):
            for k in range(K):
                instruction = self.tokens_of(ask.instructions[b][k])[: ask.instruction_tokens]
                answer = [*self.tokens_of(ask.answers[b][k])[: ask.answer_tokens], self.end_id] if ask.answers else []
                sequences.append([*instruction, self.user_id, *answer])
                users.append(len(instruction))
                answers.append(len(answer))
        width = max(len(s) for s in sequences)
        ids = np.full((B * K, width), self.pad_id, np.int64)
        target = np.full((B * K, width), -100, np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            at = users[row]
            target[row, at : at + answers[row]] = sequence[at + 1 :]
        shape = (B, K, width)
        return Segments(
            torch.from_numpy(ids).view(shape),
            torch.tensor(users).view(B, K),
            torch.from_numpy(slots),
            torch.from_numpy(target).view(shape),
        )


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
