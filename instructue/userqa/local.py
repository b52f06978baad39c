"""A teacher from a local folder of weights: many prompts at once, what they share is read once.

B prompts, H heads, K key/value heads, G = H / K, L tokens at once, N those of them that are no padding, D width of a
head, P shared tokens, T own tokens.

A batch's prompts begin with the same few-shot examples. Their keys and values are held once for all (as in Hydragen,
Juravsky et al. 2024, arXiv 2402.05099): a cache per prompt would be copied at every token and cost more than the model.
Prompts of other lengths are read together as one row of tokens; padding is put in for attention alone.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instructue.userqa.teacher import Decoding

if TYPE_CHECKING:
    import torch

TOP_K = 50
ATTENTION = "instructue_shared_prefix"
LEAVE = 0.25  # when so many of a batch have stopped, they leave it: each time costs a copy


class LocalTeacher:
    """A causal language model of the Llama family (transformers). `identity`: of its weights."""

    batch = 192

    def __init__(self, folder: Path, identity: str, dtype: str = "bfloat16") -> None:
        self.folder, self.identity, self.dtype = folder, identity, dtype
        self._loaded: Any = None

    def _load(self) -> Any:
        if self._loaded is None:  # late: a run answered from the cache never loads the weights
            import torch
            from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer

            AttentionInterface.register(ATTENTION, _attend)
            tokenizer = AutoTokenizer.from_pretrained(self.folder)
            model = AutoModelForCausalLM.from_pretrained(
                self.folder, dtype=getattr(torch, self.dtype), attn_implementation=ATTENTION
            ).eval()
            stops = {n for token, n in tokenizer.get_vocab().items() if any(s in token for s in ("\n", "Ċ", "<0x0A>"))}
            self._loaded = (model, tokenizer, stops | {tokenizer.eos_token_id})
        return self._loaded

    def complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        """As Teacher says. What is drawn for a prompt depends on the prompt, not on those beside it."""
        import torch

        model, tokenizer, stops = self._load()
        ids = tokenizer(prompts)["input_ids"]
        shared = min(len(os.path.commonprefix(ids)), min(map(len, ids)) - 1)
        noise = _noise(prompts, decoding)
        with torch.inference_mode():
            run = _Run(model, ids, shared, stops, decoding.max_new_tokens)
            written = _sample(run, noise, stops, decoding)
        return [(tokenizer.decode(tokens, skip_special_tokens=True), len(tokens)) for tokens in written]


def _noise(prompts: list[str], decoding: Decoding) -> np.ndarray:
    """Gumbel noise [prompts, tokens, TOP_K]: the largest of score + noise is a draw from the softmax of the scores."""
    drawn, seen = [], {}
    for prompt in prompts:
        seen[prompt] = seen.get(prompt, 0) + 1
        content = f"{decoding.seed} {decoding.temperature} {seen[prompt]} {prompt}".encode()
        seed = int.from_bytes(hashlib.sha256(content).digest()[:8])
        drawn.append(np.random.default_rng(seed).gumbel(size=(decoding.max_new_tokens, TOP_K)))
    return np.stack(drawn).astype(np.float32)


def _sample(run: "_Run", noise: np.ndarray, stops: set[int], decoding: Decoding) -> list[list[int]]:
    import torch

    written: list[list[int]] = [[] for _ in noise]
    rows, going = np.arange(len(noise)), np.ones(len(noise), bool)
    for step in range(decoding.max_new_tokens):
        best = run.logits.float().topk(TOP_K)
        scores = best.values.numpy() / (decoding.temperature or 1)
        chosen = (scores + noise[rows, step]).argmax(1) if decoding.temperature > 0 else scores.argmax(1)
        picked = best.indices.numpy()[np.arange(len(rows)), chosen]
        going &= np.array([token not in stops for token in picked.tolist()])
        for row, token in zip(rows[going].tolist(), picked[going].tolist(), strict=True):
            written[row].append(token)
        if not going.any() or step + 1 == decoding.max_new_tokens:
            break
        if going.mean() < 1 - LEAVE:
            run.keep(torch.from_numpy(going.nonzero()[0]))
            rows, picked, going = rows[going], picked[going], going[going]
        run.read(torch.from_numpy(picked)[:, None])
    return written


class _Run:
    """One batch: keys and values of what is shared and of what is not, and the logits_BV after the last token."""

    def __init__(self, model: Any, ids: list[list[int]], shared: int, stops: set[int], new_tokens: int) -> None:
        import torch

        self.model, self.shared = model, shared
        self.prefix: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.own: list[tuple[torch.Tensor, torch.Tensor]] = []
        cuts = [_last_line(row, shared, stops) for row in ids]
        lines: dict[tuple[int, ...], int] = {}
        place = torch.tensor(
            [lines.setdefault(tuple(row[shared:cut]), len(lines)) for row, cut in zip(ids, cuts, strict=True)]
        )
        ends = [row[cut:] for row, cut in zip(ids, cuts, strict=True)]
        self.room = max(map(len, lines)) + max(map(len, ends)) + new_tokens
        self.real = torch.zeros(len(lines), 0, dtype=torch.bool)
        self.reading, self.reading_shared = 0, True
        if shared:
            self._forward(torch.tensor([ids[0][:shared]]), torch.arange(shared)[None])
        self.reading_shared = False
        if max(map(len, lines)):
            self.read(*_padded(list(map(list, lines))))  # prompts that differ in their last line alone share the rest
        else:
            self.logits = torch.empty(len(lines), 0)
        self.keep(place)
        self.read(*_padded(ends))

    @property
    def used(self) -> int:
        """How many places of its own every prompt has, padding included."""
        return self.real.shape[1] - self.reading

    def read(self, tokens_BL: "torch.Tensor", real_BL: "torch.Tensor | None" = None) -> None:
        """Append tokens to every prompt; where `real_BL` is false stands padding, which nothing sees."""
        import torch

        real_BL = torch.ones_like(tokens_BL, dtype=torch.bool) if real_BL is None else real_BL
        self.real, self.reading = torch.cat([self.real, real_BL], dim=1), tokens_BL.shape[1]
        places_BL = (self.real.cumsum(1) - 1)[:, -tokens_BL.shape[1] :]
        self.unseen = ~self._visible(tokens_BL.shape[1])  # once for all layers
        self.reading_BL, self.whole = real_BL, bool(real_BL.all())
        hidden_1ND = self._forward(tokens_BL[real_BL][None], self.shared + places_BL[real_BL][None])
        self.reading = 0
        last_B = real_BL.sum(1).cumsum(0) - 1  # padding stands in front
        self.logits = self.model.lm_head(hidden_1ND[0, last_B])

    def keep(self, rows: "torch.Tensor") -> None:
        """Go on with these alone; a row may be taken several times."""
        self.own = [(keys[rows], values[rows]) for keys, values in self.own]
        self.real, self.logits = self.real[rows], self.logits[rows]

    def _forward(self, tokens_1N: "torch.Tensor", positions_1N: "torch.Tensor") -> "torch.Tensor":
        decoder = self.model.model
        hidden_1ND = decoder.embed_tokens(tokens_1N)
        rotary = decoder.rotary_emb(hidden_1ND, positions_1N)
        for layer in decoder.layers:
            hidden_1ND = layer(
                hidden_1ND, attention_mask=None, position_ids=positions_1N, position_embeddings=rotary, run=self
            )
        return decoder.norm(hidden_1ND)

    def padded(self, rows_N: "torch.Tensor") -> "torch.Tensor":
        """[N, ...] -> [B, L, ...], zeros where padding stands."""
        if self.whole:
            return rows_N.unflatten(0, self.reading_BL.shape)
        out = rows_N.new_zeros(*self.reading_BL.shape, *rows_N.shape[1:])
        out[self.reading_BL] = rows_N
        return out

    def unpadded(self, rows_BL: "torch.Tensor") -> "torch.Tensor":
        """[B, L, ...] -> [N, ...]."""
        return rows_BL.flatten(0, 1) if self.whole else rows_BL[self.reading_BL]

    def _visible(self, length: int) -> "torch.Tensor":
        """Which own tokens each of the last `length` tokens may see: bool [B, 1, length, used + length]."""
        import torch

        columns = torch.arange(self.used + length)
        itself_LT = columns[None] == torch.arange(self.used, self.used + length)[:, None]
        causal_LT = columns[None] <= torch.arange(self.used, self.used + length)[:, None]
        # A padded place sees itself: a row without anything to see would be not a number.
        return (causal_LT[None] & self.real[:, None] | itself_LT[None])[:, None]

    def remember(
        self, layer: int, keys_BLKD: "torch.Tensor", values_BLKD: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Put the new tokens' keys and values behind those that are there; gives all, [B, K, T, D] each."""
        batch, length, kinds, width = keys_BLKD.shape
        if layer == len(self.own):
            size = (batch, kinds, self.room, width)
            self.own.append((keys_BLKD.new_empty(size), keys_BLKD.new_empty(size)))
        end = self.used + length
        for kept, new in zip(self.own[layer], (keys_BLKD, values_BLKD), strict=True):
            kept[:, :, self.used : end] = new.transpose(1, 2)
        keys, values = self.own[layer]
        return keys[:, :, :end], values[:, :, :end]


def _last_line(row: list[int], shared: int, stops: set[int]) -> int:
    """Where the prompt's last line begins, behind what all share."""
    breaks = [place + 1 for place in range(shared, len(row) - 1) if row[place] in stops]
    return breaks[-1] if breaks else shared


def _padded(rows: list[list[int]]) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Token ids [rows, longest] and which are real; padding stands in front, so that all end together."""
    import torch

    longest = max(map(len, rows))
    tokens = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    return tokens, torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in rows])


def _attend(module, query, key, value, attention_mask, scaling, dropout=0.0, *, run: _Run, **_):
    """query [1, H, N, D], key and value [1, K, N, D] -> [1, N, H, D]: softmax over what is shared and what is not."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    if run.reading_shared:
        run.prefix.append((key[0], value[0]))
        out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=True)
        return out.transpose(1, 2), None
    layer, kinds, groups = module.layer_idx, key.shape[1], query.shape[1] // key.shape[1]
    query_HND = query[0] * scaling
    query_BLKGD = run.padded(query_HND.transpose(0, 1)).unflatten(2, (kinds, groups))
    keys_BKTD, values_BKTD = run.remember(layer, *(run.padded(rows[0].transpose(0, 1)) for rows in (key, value)))
    grouped = query_BLKGD.permute(0, 2, 3, 1, 4).flatten(2, 3)
    own_BKGLT = (grouped @ keys_BKTD.transpose(2, 3)).unflatten(2, (groups, -1))
    own_BKGLT.masked_fill_(run.unseen[:, :, None], float("-inf"))
    own = run.unpadded(own_BKGLT.permute(0, 3, 1, 2, 4)).permute(1, 2, 0, 3)  # [K, G, N, T]
    if run.shared:
        prefix_keys, prefix_values = run.prefix[layer]
        together = query_HND.reshape(kinds, -1, query.shape[3])
        shared = (together @ prefix_keys.transpose(1, 2)).unflatten(1, (groups, -1))
        chances = torch.cat([shared, own], dim=-1).softmax(-1)
        on_shared, on_own = chances.split([run.shared, own.shape[-1]], dim=-1)
    else:
        on_own = own.softmax(-1)
    own_BKLGT = run.padded(on_own.permute(2, 0, 1, 3)).permute(0, 2, 1, 3, 4)
    seen_BKLGD = (own_BKLGT.flatten(2, 3) @ values_BKTD).unflatten(2, (-1, groups))
    seen_NHD = run.unpadded(seen_BKLGD.transpose(1, 2)).flatten(1, 2)
    if run.shared:
        seen_NHD = seen_NHD + (on_shared.flatten(1, 2) @ prefix_values).view(query_HND.shape).transpose(0, 1)
    return seen_NHD[None], None
