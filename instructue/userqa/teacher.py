"""Who words instructions and answers: a language model behind one protocol, its answers kept by content.

A second run makes no calls; a killed run goes on after the last whole batch, with the same results.
"""

import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from instructue.config import UserQAConfig
from instructue.errors import ConfigError, DataError
from instructue.models.bring import MANIFEST
from instructue.paths import Paths
from instructue.progress import track
from instructue.userqa.prompts import VERSION

TOP_K = 50


@dataclass(frozen=True)
class Decoding:
    """How a completion is sampled; it ends at a line break."""

    max_new_tokens: int
    temperature: float
    seed: int


class Teacher(Protocol):
    """Completes prompts up to a line break. `identity` names the weights; `batch` is how many prompts go at once."""

    identity: str
    batch: int

    def complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        """(text, tokens generated) for each prompt, in order; a repeated prompt is sampled anew."""
        ...


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


class OpenAITeacher:
    """Any server that speaks OpenAI's chat completions. The key, if it wants one, comes from OPENAI_API_KEY."""

    batch = 32

    def __init__(self, base_url: str, model: str, *, retries: int = 4, timeout: float = 60, wait: float = 0.5) -> None:
        self.url, self.model = base_url.rstrip("/") + "/chat/completions", model
        self.retries, self.timeout, self.wait = retries, timeout, wait
        self.identity = f"{self.url} {model}"

    def complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda item: self._one(item[1], decoding, item[0]), enumerate(prompts)))

    def _one(self, prompt: str, decoding: Decoding, place: int) -> tuple[str, int]:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "stop": ["\n"],
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": decoding.seed + place,
        }
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}",
        }
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        for attempt in range(self.retries + 1):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    reply = json.load(response)
                break
            except urllib.error.HTTPError as error:
                if error.code not in {408, 429} and error.code < 500 or attempt == self.retries:
                    raise DataError(
                        f"{self.url} answered {error.code}: {error.read()[:200]!r}; mend userqa in params.yaml"
                    ) from error
            except OSError as error:
                if attempt == self.retries:
                    raise DataError(
                        f"{self.url} cannot be reached ({error}); is the server up? See userqa.base_url"
                    ) from error
            time.sleep(min(self.wait * 2**attempt, 20))
        text = reply["choices"][0]["message"]["content"] or ""
        # A chat model says the whole sentence, its forced beginning included.
        start = prompt.rsplit("\n", 1)[-1].split(":", 1)[-1].strip()
        text = text.strip().splitlines()[0] if text.strip() else ""
        text = text[len(start) :] if start and text.startswith(start) else " " + text
        return text, int(reply.get("usage", {}).get("completion_tokens", 0))


@dataclass
class CachedTeacher:
    """A teacher whose completions are kept on disk by content; counts what it did."""

    teacher: Teacher
    folder: Path
    calls: int = 0
    cache_hits: int = 0
    generated_tokens: int = 0
    seconds: float = field(default=0.0)

    def complete(self, prompts: list[str], decoding: Decoding) -> list[str]:
        """A completion for each prompt; those not kept yet are made in batches, each written through at once."""
        import diskcache

        seen: dict[str, int] = {}
        keys = []
        for prompt in prompts:
            seen[prompt] = seen.get(prompt, 0) + 1
            content = [self.teacher.identity, VERSION, prompt, seen[prompt], asdict(decoding)]
            keys.append(hashlib.sha256(json.dumps(content).encode()).hexdigest())
        with diskcache.Cache(str(self.folder), eviction_policy="none") as kept:
            found = {key: kept.get(key) for key in keys}
            # In order of text: neighbours share their beginning, and a resumed run forms the same batches.
            missing = sorted((prompt, key) for prompt, key in zip(prompts, keys, strict=True) if found[key] is None)
            self.cache_hits += len(prompts) - len(missing)
            started = time.monotonic()
            batches = [missing[i : i + self.teacher.batch] for i in range(0, len(missing), self.teacher.batch)]
            for batch in track(batches, "wording with the language model"):
                made = self.teacher.complete([prompt for prompt, _ in batch], decoding)
                self.calls += len(batch)
                self.generated_tokens += sum(tokens for _, tokens in made)
                with kept.transact():
                    for (_, key), (text, _) in zip(batch, made, strict=True):
                        kept[key] = found[key] = text
            self.seconds += time.monotonic() - started
        return [found[key] for key in keys]


def open_teacher(config: UserQAConfig, paths: Paths) -> CachedTeacher | None:
    """The configured teacher behind its cache; None for teacher: template, which asks nobody."""
    if config.teacher == "template":
        return None
    if config.teacher == "openai":
        if not config.base_url or not config.model:
            raise ConfigError("userqa.teacher is openai: set userqa.base_url and userqa.model in params.yaml")
        return CachedTeacher(OpenAITeacher(config.base_url, config.model), paths.cache / "teacher")
    manifest = paths.base_models / MANIFEST
    if not manifest.is_file():
        raise DataError(f"{manifest} is not there; run the base_models stage first: python -m instructue base_models")
    checksums = json.dumps(json.loads(manifest.read_text())["language"]["sha256"], sort_keys=True)
    identity = hashlib.sha256(checksums.encode()).hexdigest()
    return CachedTeacher(LocalTeacher(paths.language_model, identity), paths.cache / "teacher")
