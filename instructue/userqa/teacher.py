"""Who words instructions and answers: a language model behind one protocol, its answers kept by content.

A second run makes no calls; a killed run goes on after the last whole batch, with the same results.
"""

import hashlib
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Protocol

from instructue.config import UserQAConfig
from instructue.errors import DataError
from instructue.progress import track
from instructue.userqa.prompts import VERSION


@dataclass(frozen=True)
class Decoding:
    """How a completion is sampled; it ends at a line break."""

    max_new_tokens: int
    temperature: float
    seed: int

    @classmethod
    def of(cls, config: UserQAConfig) -> "Decoding":
        return cls(config.max_new_tokens, config.temperature, config.seed)


class Teacher(Protocol):
    """Completes prompts up to a line break. `identity` names the weights; `batch` is how many prompts go at once."""

    identity: str
    batch: int

    def complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        """(text, tokens generated) for each prompt, in order; a repeated prompt is sampled anew."""
        ...


class Unfinished(DataError):
    """A request failed for good; `made` holds, in order, what the others returned, None where nothing did."""

    def __init__(self, message: str, made: list[tuple[str, int] | None]) -> None:
        super().__init__(message)
        self.made = made


@dataclass
class CachedTeacher:
    """A teacher whose completions are kept on disk by content; counts what it did.

    calls, generated_tokens and seconds are of this run; completions and completion_tokens of all that was answered.
    """

    teacher: Teacher
    folder: Path
    calls: int = 0
    cache_hits: int = 0
    generated_tokens: int = 0
    seconds: float = field(default=0.0)
    completions: int = 0
    completion_tokens: int = 0
    asked: Counter[str] = field(default_factory=Counter)  # how often each prompt has come so far

    def complete(self, prompts: list[str], decoding: Decoding) -> list[str]:
        """A completion for each prompt; those not kept yet are made in batches, each written through at once."""
        import diskcache

        repeats, keys = self._keys(prompts, decoding, self.asked)
        with diskcache.Cache(str(self.folder), eviction_policy="none") as kept:
            found = {key: kept.get(key) for key in keys}
            wanted = zip(repeats, prompts, keys, strict=True)
            # In order of text: neighbours share their beginning, and a resumed run forms the same batches.
            missing = sorted(item for item in wanted if found[item[2]] is None)
            self.cache_hits += len(prompts) - len(missing)
            for batch in track(self._batches(missing), "wording with the language model"):
                # A prompt that comes again is another draw, whatever batch it falls into.
                seeded = replace(decoding, seed=decoding.seed + batch[0][0])
                for (_, _, key), made in zip(batch, self._made(kept, batch, seeded), strict=True):
                    found[key] = made
        self.completions += len(keys)
        self.completion_tokens += sum(found[key][1] for key in keys)
        return [found[key][0] for key in keys]

    def kept(self, prompts: list[str], decoding: Decoding) -> int:
        """How many of these prompts have their answer on disk."""
        import diskcache

        _, keys = self._keys(prompts, decoding, self.asked.copy())
        with diskcache.Cache(str(self.folder), eviction_policy="none") as kept:
            return sum(key in kept for key in keys)

    def _keys(self, prompts: list[str], decoding: Decoding, asked: Counter[str]) -> tuple[list[int], list[str]]:
        """How often each prompt came before, and the key of its answer; `asked` goes on counting."""
        repeats, keys = [], []
        for prompt in prompts:
            repeats.append(asked[prompt])
            asked[prompt] += 1
            content = [self.teacher.identity, VERSION, prompt, asked[prompt], asdict(decoding)]
            keys.append(hashlib.sha256(json.dumps(content).encode()).hexdigest())
        return repeats, keys

    def pace(self) -> tuple[float, float] | None:
        """(tokens, seconds) per call so far with these weights, earlier runs included; None before any call."""
        import diskcache

        with diskcache.Cache(str(self.folder), eviction_policy="none") as kept:
            calls, tokens, seconds = kept.get(("pace", self.teacher.identity), (0, 0, 0.0))
        return (tokens / calls, seconds / calls) if calls else None

    def _batches(self, missing: list[tuple[int, str, str]]) -> list[list[tuple[int, str, str]]]:
        """(repetition, prompt, key) in batches of one repetition and one set of examples, which is read once each."""
        groups = [
            list(group) for _, group in groupby(missing, key=lambda item: (item[0], item[1].rsplit("\n\n", 1)[0]))
        ]
        size = self.teacher.batch
        return [group[i : i + size] for group in groups for i in range(0, len(group), size)]

    def _made(self, kept, batch: list[tuple[int, str, str]], decoding: Decoding) -> list[tuple[str, int]]:
        """A batch's texts and tokens, written through; what came before a failure is kept too."""
        started = time.monotonic()
        failed: Unfinished | None = None
        try:
            made: list[tuple[str, int] | None] = [*self.teacher.complete([prompt for _, prompt, _ in batch], decoding)]
        except Unfinished as error:
            failed, made = error, error.made
        took, done = time.monotonic() - started, [result for result in made if result is not None]
        self.calls, self.seconds = self.calls + len(done), self.seconds + took
        self.generated_tokens += sum(tokens for _, tokens in done)
        with kept.transact():
            for (_, _, key), result in zip(batch, made, strict=True):
                if result is not None:
                    kept[key] = result
            pace = ("pace", self.teacher.identity)
            calls, tokens, seconds = kept.get(pace, (0, 0, 0.0))
            kept[pace] = (calls + len(done), tokens + sum(n for _, n in done), seconds + took)
        if failed is not None:
            raise failed
        return done
