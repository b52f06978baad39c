"""Who words instructions and answers: a language model behind one protocol, its answers kept by content.

A second run makes no calls; a killed run goes on after the last whole batch, with the same results.
"""

import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from instructue.progress import track
from instructue.userqa.prompts import VERSION


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
