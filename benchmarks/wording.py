"""Wording with the local teacher beside transformers' own generation.

    python benchmarks/wording.py --root . [--prompts 192] [--rounds 3]

Needs a project whose `userqa` stage has run: its templates are asked about, those of one set of few-shot examples.

- library: `model.generate` in bfloat16, the prompts padded to one length, a key/value cache per prompt, sampling among
  the 50 likeliest tokens, ended at a line break; as many prompts at once as suit it best (--library-batch);
- ours: `LocalTeacher.complete` (instructue/userqa/local.py).

Each round runs both in turn; the two draw other texts, so the figure is of tokens written a second: wording_vs_library
is the median of the rounds' ratios. The last line is one JSON object.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from instructue.config import load_config
from instructue.paths import Paths
from instructue.userqa.ask import asks
from instructue.userqa.generate import find_facts
from instructue.userqa.lexicon import Lexicon
from instructue.userqa.local import TOP_K, LocalTeacher
from instructue.userqa.teacher import Decoding
from measure.clock import load, ratio, seconds


def main() -> None:
    options = _options()
    config, paths = load_config(options.root / "params.yaml"), Paths(options.root)
    print(f"load average {load():.2f}")
    tables, _, asked, chosen = find_facts(config, paths)
    lexicon = Lexicon.of(tables.dataset)
    whole = (prompt for ask in asks(asked, tables.dataset, chosen) for prompt in ask.first(config.userqa, lexicon))
    prompts = _alike(sorted(whole), options.prompts)
    decoding, teacher = Decoding.of(config.userqa), LocalTeacher(paths.language_model, "benchmark")
    plain = Library(paths.language_model, teacher, options.library_batch)
    rates: dict[str, list[float]] = {"library": [], "ours": []}
    for round_number in range(options.rounds + 1):
        for name, complete in (("library", plain.complete), ("ours", teacher.complete)):
            made: list[list[tuple[str, int]]] = []
            took = seconds(lambda made=made, complete=complete: made.append(complete(prompts, decoding)))
            if round_number:  # the first warms up
                rates[name].append(sum(tokens for _, tokens in made[0]) / took)
    for name, found in rates.items():
        print(f"{name}: " + ", ".join(f"{rate:.0f}" for rate in found) + " tokens a second")
    figures = {
        "prompts": len(prompts),
        "tokens_a_second": round(statistics.median(rates["ours"])),
        "wording_vs_library": round(ratio(rates["ours"], rates["library"]), 2),
    }
    print(json.dumps(figures))


def _alike(prompts: list[str], count: int) -> list[str]:
    """Those that show the most usual examples."""
    examples = [prompt.rsplit("\n\n", 1)[0] for prompt in prompts]
    usual = statistics.mode(examples)
    return [prompt for prompt, shown in zip(prompts, examples, strict=True) if shown == usual][:count]


class Library:
    """transformers' `generate` on the same weights."""

    def __init__(self, folder: Path, teacher: LocalTeacher, batch: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self.batch, (_, self.tokenizer, self.stops) = batch, teacher._load()
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()

    def complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        batches = (prompts[at : at + self.batch] for at in range(0, len(prompts), self.batch))
        return [made for batch in batches for made in self._complete(batch, decoding)]

    def _complete(self, prompts: list[str], decoding: Decoding) -> list[tuple[str, int]]:
        import torch

        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        read = self.tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
        sampling = {"do_sample": True, "temperature": decoding.temperature, "top_k": TOP_K, "top_p": 1.0}
        with torch.inference_mode():
            out = self.model.generate(
                **read,
                **sampling,
                max_new_tokens=decoding.max_new_tokens,
                eos_token_id=sorted(self.stops),
                pad_token_id=self.tokenizer.pad_token_id,
            )
        made = []
        for row in out[:, read["input_ids"].shape[1] :].tolist():
            end = next((place for place, token in enumerate(row) if token in self.stops), len(row))
            made.append((self.tokenizer.decode(row[:end]), end))
        return made


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="a project whose userqa stage has run")
    parser.add_argument("--prompts", type=int, default=192, help="how many at once")
    parser.add_argument("--library-batch", type=int, default=48, help="how many at once for the library")
    parser.add_argument("--rounds", type=int, default=3, help="each side runs once in every round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
