"""A first embedding in a fresh process, beside the libraries that know the same two base models.

    python benchmarks/loading.py --root . [--rounds 3]

Needs a project whose `embeddings` stage has run.

- ours: `InstructUE.from_pretrained` and `encode` of one user's history under one instruction;
- library: transformers and peft load the language model's first layers with LoRA beside them and run them over the
  instruction alone; sentence-transformers loads the text encoder and encodes the instruction. No history is read.

Each round starts one process per side; what counts is the process's whole time, from start to end. The first round
finds the files as the machine left them, the later ones in its memory: fastest and slowest are given too.
library_vs_ours is the median of the rounds' ratios. The last line is one JSON object.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import polars as pl

from instructue.network.decoder import LORA_TARGETS
from instructue.paths import Paths
from measure.clock import load, ratio, seconds

INSTRUCTION = "Will this household react to a coupon?"
OURS = """
import sys
from instructue import InstructUE
model = InstructUE.from_pretrained(sys.argv[1])
print(model.encode([int(sys.argv[2])], sys.argv[3]).shape)
"""
LIBRARY = """
import json, sys
import torch
from peft import LoraConfig, get_peft_model
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForCausalLM, AutoTokenizer
language, texts, instruction, targets, layers, rank, dtype = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(language, dtype=dtype, num_hidden_layers=int(layers))
model = get_peft_model(model, LoraConfig(r=int(rank), target_modules=json.loads(targets))).eval()
with torch.inference_mode():
    print(model(**AutoTokenizer.from_pretrained(language)(instruction, return_tensors="pt")).logits.shape)
print(SentenceTransformer(texts, device="cpu").encode([instruction]).shape)
"""


def main() -> None:
    options = _options()
    print(f"load average {load():.2f}")
    commands = _commands(Paths(options.root))
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(options.rounds):
        for name, command in commands.items():
            times[name].append(seconds(partial(subprocess.run, command, check=True, capture_output=True)))
            print(f"round {number + 1} of {options.rounds}, {name}: {times[name][-1]:.2f} s", flush=True)
    figures = {"library_vs_ours": ratio(times["library"], times["ours"])}
    for name, taken in times.items():
        figures |= {f"{name}_fastest_s": min(taken), f"{name}_slowest_s": max(taken)}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def _commands(paths: Paths) -> dict[str, list[str]]:
    said = json.loads((paths.model / "config.json").read_text(encoding="utf-8"))
    user = pl.scan_parquet(paths.embeddings / "embeddings.parquet").select("user").first().collect().item()
    shape = said["shape"]
    library = [paths.language_model, paths.text_encoder, INSTRUCTION, json.dumps(LORA_TARGETS)]
    library += [shape["layers"], shape["lora_rank"], said["training"]["dtype"]]
    return {
        "ours": [sys.executable, "-c", OURS, str(paths.root), str(user), INSTRUCTION],
        "library": [sys.executable, "-c", LIBRARY, *map(str, library)],
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="a project whose embeddings stage has run")
    parser.add_argument("--rounds", type=int, default=3, help="each side runs once in every round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
