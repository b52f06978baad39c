"""Embedding: ours under 8 instructions and 1, the plain way in its three degrees, and how each grows."""

import numpy as np
import torch

from measure import ours
from measure.clock import in_turn, product, product_flops, ratio
from measure.flops import forward_flops
from measure.growth import Row
from measure.setup import QUESTIONS, Setup

MANY = 8
PASS = 32  # separate sequences in one pass of the plain way


class Embedding:
    """Runs of both sides, and the operations that ours needs."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.network = setup, setup.config.model.network
        # Quicker, and what anybody would do: no LoRA beside the weights where nothing is trained.
        setup.plain.model.backbone.merge_adapter()
        self.sizes = ours.sizes(setup.parts, setup.paths, lora_rank=0)

    def close(self) -> None:
        self.setup.plain.model.backbone.unmerge_adapter()

    def ours(self, examples: np.ndarray, count: int) -> torch.Tensor:
        s, batch = self.setup, self.setup.config.embeddings.batch_users
        return ours.embed(s.parts, self.network, examples, QUESTIONS[:count], s.known_KV[:count], batch)

    def plain(self, examples: np.ndarray, count: int, texts) -> torch.Tensor:
        return self.setup.plain.embed(examples, QUESTIONS[:count], self.setup.known_KV[:count], texts, PASS)

    def useful(self, examples: np.ndarray, count: int) -> int:
        s, batch = self.setup, self.setup.config.embeddings.batch_users
        return forward_flops(self.sizes, ours.embedding_work(s.parts, self.network, examples, QUESTIONS[:count], batch))

    def measure(self, users: int, plain_users: int, rounds: int) -> dict[str, float]:
        """The figures of (a), and (c) for embedding."""
        setup = self.setup
        many = setup.histories("evaluation", users)
        few = many[setup.spread(many, min(plain_users, len(many)))]
        multiply = product(setup.parts.dtype)
        self.ours(many, MANY), self.plain(few[:1], MANY, "cached"), multiply()
        runs = {
            "product": multiply,
            "ours_8": lambda: self.ours(many, MANY),
            "ours_1": lambda: self.ours(many, 1),
            "separate": lambda: self.plain(many, MANY, "cached"),
            "user": lambda: self.plain(few, MANY, "user"),
            "plain": lambda: self.plain(few, MANY, "sequence"),
        }
        t = in_turn(runs, rounds)
        median = {name: float(np.median(values)) for name, values in t.items()}
        each = {"ours_8": len(many), "ours_1": len(many), "separate": len(many), "user": len(few), "plain": len(few)}
        for name, count in each.items():
            print(f"{name:>10}: {1000 * median[name] / count:10.1f} ms per user ({count} users)")
        useful, executed = self.useful(many, MANY), ours.executed_flops(lambda: self.ours(many, MANY))
        shared, everyone = len(many) / len(few), setup.tables.histories.filter(split="evaluation").height
        filling = setup.tables.texts.height / setup.texts_a_second / everyone
        mine, theirs = median["ours_8"] / len(many), median["plain"] / len(few)
        return {
            "embed_8_vs_plain": ratio(t["plain"], t["ours_8"], shared),
            "embed_8_vs_1": ratio(t["ours_8"], t["ours_1"]),
            "embed_8_vs_plain_texts_once_a_user": ratio(t["user"], t["ours_8"], shared),
            "embed_8_vs_separate": ratio(t["separate"], t["ours_8"]),
            "embed_8_vs_plain_with_filling_the_cache": theirs / (mine + filling),
            "embed_users_a_second": len(many) / median["ours_8"],
            "embed_events_a_user": float(setup.events[many].mean()),
            "embed_events_a_user_plain": float(setup.events[few].mean()),
            "embed_useful_gflop_a_user": useful / len(many) / 1e9,
            "embed_executed_over_useful": executed / useful,
            "gemm_gflop_a_second": product_flops() / median["product"] / 1e9,
            "gemm_share_embed": ratio(t["product"], t["ours_8"], min(useful, executed) / product_flops()),
        }

    def grow(self, users: int, plain_users: int, rounds: int) -> list[Row]:
        """Cost per user and instruction over users, instructions and events."""
        setup, rows = self.setup, []
        many = setup.histories("evaluation", users)
        for count in [2**i for i in range(10) if 2**i <= users]:
            chosen = many[setup.spread(many, count)]
            rows.append(self._row("users", count, chosen, MANY, chosen if count <= plain_users else None, rounds))
        some = many[setup.spread(many, min(2, plain_users))]
        for count in (1, 2, 4, 8, 16):
            rows.append(self._row("instructions", count, many, count, some if count <= MANY else None, rounds))
        every = setup.histories("evaluation", setup.tables.histories.height)
        for quarter in np.array_split(every, 4):
            chosen = quarter[setup.spread(quarter, min(users, len(quarter)))]
            value = round(setup.events[chosen].mean())
            one = quarter[setup.spread(quarter, 1)]
            rows.append(self._row("events", value, chosen, MANY, one, rounds))
        return rows

    def _row(self, axis: str, value: int, examples, count: int, few, rounds: int) -> Row:
        multiply = product(self.setup.parts.dtype)
        runs = {
            "product": multiply,
            "ours": lambda: self.ours(examples, count),
            "separate": lambda: self.plain(examples, count, "cached"),
        }
        t = in_turn(runs, rounds)
        each = {name: 1000 * float(np.median(times)) / len(examples) / count for name, times in t.items()}
        plain = None
        if few is not None:
            once = in_turn({"plain": lambda: self.plain(few, count, "sequence")}, 1)["plain"][0]
            plain = 1000 * once / len(few) / count
        share = ratio(t["product"], t["ours"], self.useful(examples, count) / product_flops())
        return Row(axis, value, each["ours"], each["separate"], plain, share)

    def agreement(self, users: int) -> float:
        """Smallest cosine between ours and the plain way's embeddings of the same users and questions."""
        few = self.setup.histories("evaluation", users)
        mine, theirs = self.ours(few, MANY).float(), self.plain(few, MANY, "sequence").float()
        return torch.nn.functional.cosine_similarity(mine, theirs, dim=-1).min().item()
