"""The raw language model on a history written as text: what it knows without any training of ours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from instructue.evaluation.baselines.features import text_counts
from instructue.evaluation.population import Population
from instructue.progress import track
from instructue.sources.spec import SourceSpec

TOKENS = 192  # longest history; what a user costs grows with it
FREQUENT = 6  # most frequent texts of each source that are told first
BATCH = 32


def language_model(population: Population, hides: Sequence[str], users: np.ndarray, folder: Path) -> np.ndarray:
    """Last hidden state of the last token, float32 [population, width]; rows of others than `users` are zero.

    users [n] positions; folder: a causal language model for transformers, all of whose layers run, in bfloat16.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    written = Writer.of(population, hides, lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"])
    ids = [written.history(user) for user in users]
    # Of one length as far as can be, the longest first: little padding, and the time left is never underestimated.
    order = np.argsort([-len(row) for row in ids], kind="stable")
    out = np.zeros((population.size, model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in track(range(0, len(order), BATCH), "histories through the raw language model"):
            batch = order[start : start + BATCH]
            out[users[batch]] = _last_states(model, [ids[place] for place in batch])
    return out


def _last_states(model, rows: list[list[int]]) -> np.ndarray:
    import torch

    longest = max(map(len, rows))
    # Padded at the end: what is masked comes after the token that is read, so positions and attention need no care.
    inputs = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    states = model(input_ids=inputs, use_cache=False).last_hidden_state
    return states[torch.arange(len(rows)), torch.tensor([len(row) - 1 for row in rows])].float().numpy()


@dataclass(frozen=True)
class Writer:
    """Histories as token ids: attributes, the most frequent texts of each source, then the latest events in order.

    `pieces` are the token ids of each text, with what sets it apart; `heads` those of each source's title.
    """

    pieces: dict[int, list[int]]
    heads: dict[str, list[int]]
    opening: list[int]
    latest_head: list[int]
    close: list[int]
    often: dict[int, list[tuple[str, list[int]]]]
    latest: dict[int, list[int]]

    @classmethod
    def of(cls, population: Population, hides: Sequence[str], tokenise) -> "Writer":
        """tokenise(list of texts) -> list of lists of token ids."""
        dataset, texts = population.tables.dataset, population.tables.texts
        sources = [s for s in dataset.sources if s.name not in hides]
        often = {s.name: _frequent(population, s) for s in sources}
        latest = _latest(population, [s.name for s in sources if s.kind == "events"])
        told = {text for lists in often.values() for row in lists.values() for text in row}
        told |= {text for row in latest.values() for text in row}
        ids = sorted(told)
        pieces = dict(zip(ids, tokenise([f" {text};" for text in texts["text"].gather(ids)]), strict=True))
        heads = tokenise([f"\n{s.title}:" for s in sources])
        opening, latest_head, close = tokenise([f"A {dataset.who}.", "\nlatest events:", f"\nThis {dataset.who} is"])
        lists: dict[int, list[tuple[str, list[int]]]] = {}
        for s in sources:
            for user, row in often[s.name].items():
                lists.setdefault(user, []).append((s.name, row))
        named = {s.name: head for s, head in zip(sources, heads, strict=True)}
        return cls(pieces, named, opening, latest_head, close, lists, latest)

    def history(self, user: int) -> list[int]:
        """At most TOKENS ids: half for what is frequent, in equal shares by source, the rest for the latest events."""
        room = TOKENS - len(self.opening) - len(self.latest_head) - len(self.close)
        lists, ids = self.often.get(user, []), list(self.opening)
        for source, texts in lists:
            ids += self._fitting(self.heads[source], texts, room // 2 // len(lists))
        # The newest first into what room is left, then told in order of time.
        told = self._fitting([], self.latest.get(user, []), room + len(self.opening) - len(ids), newest_first=True)
        return ids + (self.latest_head + told if told else []) + self.close

    def _fitting(self, head: list[int], texts: list[int], room: int, *, newest_first: bool = False) -> list[int]:
        """The head and as many whole texts after it as have room; nothing if not one has."""
        chosen, left = [], room - len(head)
        for text in texts:
            if (left := left - len(self.pieces[text])) < 0:
                break
            chosen.append(self.pieces[text])
        chosen = chosen[::-1] if newest_first else chosen
        return head + [token for piece in chosen for token in piece] if chosen else []


def _frequent(population: Population, source: SourceSpec) -> dict[int, list[int]]:
    """The texts that a user has most often, by position; of an attribute table all."""
    others = [s.name for s in population.tables.dataset.sources if s.name != source.name]
    counts = text_counts(population, others).tocoo()
    pairs = pl.DataFrame({"user": counts.row, "text": counts.col, "count": counts.data})
    ranked = pairs.sort(["user", "count", "text"], descending=[False, True, False])
    if source.kind == "events":
        ranked = ranked.group_by("user", maintain_order=True).head(FREQUENT)
    return dict(_lists(ranked.group_by("user", maintain_order=True).agg("text"), "text"))


def _latest(population: Population, sources: list[str]) -> dict[int, list[int]]:
    """The last TOKENS / 4 distinct events of all sources together, the newest first, by position."""
    if not sources:
        return {}
    events = [population.past(s).select("position", "age", pl.col("text_id").cast(pl.Int64)) for s in sources]
    ordered = pl.concat(events).sort(["position", "age", "text_id"])
    # A text that stands there already says nothing new.
    ordered = ordered.unique(["position", "text_id"], keep="first", maintain_order=True)
    kept = ordered.group_by("position", maintain_order=True).head(TOKENS // 4)
    return dict(_lists(kept.group_by("position", maintain_order=True).agg("text_id"), "text_id"))


def _lists(grouped: pl.DataFrame, column: str) -> Iterator[tuple[int, list[int]]]:
    yield from zip(grouped.to_series(0).to_list(), grouped[column].to_list(), strict=True)
