"""Shared-prefix packing against separate passes: seconds to embed the same histories under 1 and 8 instructions.

    python benchmarks/packing.py --root . [--users 32] [--rounds 3]

Needs a project whose `histories` stage has run. The alternative named `separate` runs one sequence
[history][instruction] per question, as code without packing does; both sides run in this process, in turn, on the
same network, histories and instructions. The last line is one JSON object of ratios.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from instructue.batching.packs import Ask
from instructue.config import load_config
from instructue.models.text_encoder import TextEncoder
from instructue.paths import Paths
from instructue.sources.tables import load_tables
from instructue.training.build import build

QUESTIONS = [
    "Will this household buy coffee in the next four weeks?",
    "Will it redeem a coupon?",
    "Is it a family with children?",
    "Will it spend more than before?",
    "Which department matters most to it?",
    "Does it shop at the weekend?",
    "Will it try a category it never bought?",
    "Does it look for promotions?",
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    paths = Paths(options.root)
    config = load_config(paths.params)
    tables = load_tables(config, paths)
    parts = build(config.model, tables, paths)
    parts.model.eval()
    examples = np.flatnonzero((tables.histories["split"] == "evaluation").to_numpy())[: options.users]
    vectors = TextEncoder(paths.text_encoder).encode(QUESTIONS)
    limit = config.model.network.instruction_tokens

    def embed(rows: np.ndarray, questions: list[int]) -> torch.Tensor:
        ask = Ask(
            [[QUESTIONS[q] for q in questions]] * len(rows), np.stack([vectors[questions]] * len(rows)), None, limit
        )
        with torch.inference_mode(), torch.autocast("cpu", dtype=parts.dtype, enabled=parts.dtype != torch.float32):
            return parts.model(parts.packer.pack(rows, [ask])).embeddings[0]

    def seconds(work) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    runs = {
        "packed_8": lambda: embed(examples, list(range(8))),
        "separate_8": lambda: [embed(examples, [q]) for q in range(8)],
        "packed_1": lambda: embed(examples, [0]),
    }
    for work in runs.values():
        work()
    best = {name: min(seconds(work) for _ in range(options.rounds)) for name, work in runs.items()}
    for name, value in best.items():
        print(f"{name:>12}: {value:.2f} s for {len(examples)} histories")
    print(
        json.dumps(
            {
                "users": len(examples),
                "packed_8_vs_separate_8": round(best["separate_8"] / best["packed_8"], 2),
                "packed_8_vs_packed_1": round(best["packed_8"] / best["packed_1"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
