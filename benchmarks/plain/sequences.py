"""The plain way's input: one separate sequence per (history, instruction), nothing shared between sequences.

A sequence is [attributes, windows, telling texts][retrieved][instruction, <USER>, answer][padding]; each part has its
configured length, whatever a history or an instruction fills of it. The slots are those of the packed rows.

Legend: N sequences, P prefix slots, Q retrieved slots, I token slots, S sources, C map width.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from instructue.batching.features import HistoryFeatures, Tokens
from instructue.config_model import NetworkConfig
from instructue.models.text_encoder import Library
from instructue.sources.tables import Tables
from instructue.training.build import Parts


@dataclass
class Sequences:
    """soft: all soft tokens. prefix_NP, whole_NS, retrieved_NQ number them, -1 for none; asked_N: whether the
    sequence has retrieved slots at all. ids_NI, used_NI: tokens, and which are no padding; user_N: place of <USER>;
    target_NI: next token, -100 where none is asked."""

    vectors: Tensor
    figures: Tensor
    source: Tensor
    role: Tensor
    prefix_NP: Tensor
    whole_NS: Tensor
    retrieved_NQ: Tensor
    asked_N: Tensor
    ids_NI: Tensor
    used_NI: Tensor
    user_N: Tensor
    target_NI: Tensor
    place_NC: Tensor


class EventTexts:
    """Which text each event of a history is, from the published tables, and their vectors, made when asked for.

    `fresh` are features of their own whose table of text vectors is empty until `encode` fills the rows it encodes.
    """

    def __init__(self, parts: Parts, tables: Tables, encoder: Library) -> None:
        self.cached: HistoryFeatures = parts.features
        self.fresh = copy.copy(parts.features)
        self.fresh.vectors = np.full_like(tables.vectors, np.nan)
        self.encoder = encoder
        self.texts = np.asarray(tables.texts["text"].to_list(), dtype=object)
        dataset = tables.dataset
        self.of_events = [tables.events[s.name]["text_id"].to_numpy() for s in dataset.event_sources]
        self.of_users: dict[int, list[int]] = {}
        for source in dataset.attribute_sources:
            for user, text in tables.events[source.name].select("user", "text_id").iter_rows():
                self.of_users.setdefault(user, []).append(text)

    def ids(self, examples: np.ndarray, hidden: np.ndarray | None = None) -> np.ndarray:
        """Text numbers of every event and attribute of these histories, as often as they occur."""
        events = [texts[self.cached.rows(examples, s, hidden)[0]] for s, texts in enumerate(self.of_events)]
        own = [self.of_users.get(int(user), []) for user in self.cached.user[examples]]
        return np.concatenate([*events, np.asarray(sum(own, []))]).astype(np.int64)

    def encode(self, examples: np.ndarray, hidden: np.ndarray | None = None) -> int:
        """Run the text encoder on every event's text; returns how many."""
        ids = self.ids(examples, hidden)
        self.fresh.vectors[ids] = self.vectors(self.texts[ids].tolist())
        return len(ids)

    def vectors(self, texts: list[str]) -> np.ndarray:
        """Vectors of texts, each as often as it comes (`TextEncoder.encode` would drop repetitions)."""
        vectors = self.encoder.model.encode(texts, batch_size=128, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(vectors, np.float32) / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_sequences(
    parts: Parts,
    features: HistoryFeatures,
    network: NetworkConfig,
    examples: np.ndarray,
    instructions: list[str],
    vectors: np.ndarray,
    answers: list[str | None] | None = None,
    hidden: np.ndarray | None = None,
) -> Sequences:
    """Sequences of (examples[n], instructions[n]); with `answers`, room for one, and targets where it is not None.

    An empty instruction is the general one: nothing is retrieved for it.
    """
    pooled, window_NSW, whole_NS = features.pooled(examples, hidden)
    distinct = features.distinct(examples, hidden)
    frequent_NQ = features.frequent(distinct, network.frequent)
    kept = frequent_NQ >= 0
    telling = features.tokens_of(distinct, frequent_NQ[kept], features.roles.frequent)
    attributes, attribute_NA = features.attribute_tokens(examples, hidden)
    retrieved, retrieved_NQ = _retrieve(features, distinct, instructions, vectors, network.retrieved)
    made = np.cumsum([len(t.source_N) for t in (pooled, telling, attributes)])
    frequent_NQ[kept] = made[0] + np.arange(kept.sum())
    attribute_NA[attribute_NA >= 0] += made[1]
    retrieved_NQ[retrieved_NQ >= 0] += made[2]
    soft = Tokens.join([pooled, telling, attributes, retrieved])
    arrays = (
        soft.vectors_NV.astype(np.float32),
        soft.figures_NF,
        soft.source_N,
        soft.role_N,
        np.concatenate([attribute_NA, window_NSW.reshape(len(examples), -1), frequent_NQ], axis=1),
        whole_NS[:, : len(features.events)],
        retrieved_NQ,
        np.asarray([bool(text) for text in instructions]),
        *_tokens(parts, network, instructions, answers),
        features.coordinates(distinct),
    )
    return Sequences(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))


def _retrieve(
    features: HistoryFeatures, distinct, instructions: list[str], vectors: np.ndarray, keep: int
) -> tuple[Tokens, np.ndarray]:
    """The texts of each sequence's history nearest to its instruction, by cosine."""
    slots, rows, similarity = np.full((len(instructions), keep), -1, np.int64), [], []
    for n, instruction in enumerate(instructions):
        if not instruction or not keep:
            continue
        span = slice(distinct.bounds[n], distinct.bounds[n + 1])
        near = features.vectors[distinct.text[span]] @ vectors[n]
        best = np.argsort(-near, kind="stable")[:keep]
        slots[n, : len(best)] = len(rows) + np.arange(len(best))
        rows.extend(span.start + best)
        similarity.extend(near[best])
    role = features.roles.retrieved
    return features.tokens_of(distinct, np.asarray(rows, np.int64), role, np.asarray(similarity, np.float32)), slots


def _tokens(parts: Parts, network: NetworkConfig, instructions: list[str], answers: list[str | None] | None):
    """(ids_NI, used_NI, user_N, target_NI) at the configured lengths."""
    packer = parts.packer
    width = network.instruction_tokens + 1 + (network.answer_tokens + 1 if answers else 0)
    ids = np.full((len(instructions), width), packer.pad_id, np.int64)
    target, users = np.full_like(ids, -100), np.zeros(len(instructions), np.int64)
    used = np.zeros(ids.shape, bool)
    for n, text in enumerate(instructions):
        instruction = packer.tokens_of(text)[: network.instruction_tokens]
        said = answers[n] if answers else None
        answer = [*packer.tokens_of(said)[: network.answer_tokens], packer.end_id] if said is not None else []
        at, end = len(instruction), len(instruction) + 1 + len(answer)
        ids[n, :end] = [*instruction, packer.pad_id, *answer]
        used[n, :end], users[n], target[n, at : at + len(answer)] = True, at, answer
    return ids, used, users, target
