"""A teacher from a local folder of weights."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from instructue.userqa.teacher import Decoding

TOP_K = 50


class LocalTeacher:
    """A causal language model from a local folder (transformers), in bf16, many prompts at once.

    What all prompts of a batch begin with, the few-shot examples, is read once and its keys and values shared.
    """

    batch = 64

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity
        self._loaded: Any = None

    def _load(self) -> Any:
        if self._loaded is None:  # late: a run answered from the cache never loads the weights
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(self.folder)
            model = AutoModelForCausalLM.from_pretrained(
                self.folder, dtype=torch.bfloat16, attn_implementation="sdpa"
            ).eval()
            stops = {
                place
                for token, place in tokenizer.get_vocab().items()
                if any(s in token for s in ("\n", "Ċ", "<0x0A>"))
            }
            self._loaded = (model, tokenizer, stops | {tokenizer.eos_token_id})
        return self._loaded

    def complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        import torch
        from transformers import DynamicCache

        model, tokenizer, stops = self._load()
        ids = tokenizer(prompts)["input_ids"]
        shared = min(len(os.path.commonprefix(ids)), min(map(len, ids)) - 1)
        content = json.dumps([prompts, asdict(decoding)]).encode()
        random = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(content).digest()[:6]))
        with torch.inference_mode():
            cache = DynamicCache()
            if shared:
                model(
                    input_ids=torch.tensor([ids[0][:shared]]), past_key_values=cache, use_cache=True, logits_to_keep=1
                )
                cache.batch_repeat_interleave(len(ids))
            tails = [row[shared:] for row in ids]
            longest, pad = max(map(len, tails)), min(stops)  # any token will do: padding is masked
            inputs = torch.tensor([[pad] * (longest - len(row)) + row for row in tails])
            mask = torch.tensor([[1] * shared + [0] * (longest - len(row)) + [1] * len(row) for row in tails])
            written = self._sample(model, inputs, mask, cache, shared, stops, decoding, random)
        return [(tokenizer.decode(tokens, skip_special_tokens=True), len(tokens)) for tokens in written]

    @staticmethod
    def _sample(model, inputs_BL, mask_BK, cache, shared, stops, decoding, random) -> list[list[int]]:
        """Sample until every sequence has stopped; those that have leave the batch."""
        import torch

        written: list[list[int]] = [[] for _ in range(len(inputs_BL))]
        alive = torch.arange(len(inputs_BL))
        positions_BL = (mask_BK.cumsum(1) - 1).clamp(min=0)[:, shared:]
        for _ in range(decoding.max_new_tokens):
            out = model(
                input_ids=inputs_BL,
                attention_mask=mask_BK,
                position_ids=positions_BL,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            best = out.logits[:, -1].float().topk(TOP_K)
            if decoding.temperature > 0:
                chances = (best.values / decoding.temperature).softmax(-1)
                picked = best.indices.gather(1, torch.multinomial(chances, 1, generator=random))[:, 0]
            else:
                picked = best.indices[:, 0]
            going = torch.tensor([token not in stops for token in picked.tolist()])
            for row, token in zip(alive[going].tolist(), picked[going].tolist(), strict=True):
                written[row].append(token)
            if not going.any():
                break
            if not going.all():
                cache.batch_select_indices(going.nonzero()[:, 0])
                alive, picked, mask_BK, positions_BL = alive[going], picked[going], mask_BK[going], positions_BL[going]
            mask_BK = torch.cat([mask_BK, mask_BK.new_ones(len(alive), 1)], dim=1)
            inputs_BL, positions_BL = picked[:, None], positions_BL[:, -1:] + 1
        return written
