"""Encoding texts beside sentence-transformers' own loop, and once more when their vectors are kept.

    python benchmarks/texts.py --root . [--texts 4000] [--rounds 3]

Needs a project whose `userqa` stage has run; texts are its instructions, answers and event texts, drawn at random.

- library: `SentenceTransformer.encode` in batches of 128 sorted by length, padded to the longest of a batch;
- ours: `TextEncoder.encode` with an empty folder for kept vectors, so that writing them is counted;
- kept: the same encoder object's folder, everything in it; the model is not loaded.

Each round runs every side in turn. anew_vs_library and kept_vs_library are medians of the rounds' ratios, library's
seconds over ours, in float32 (event texts) and bfloat16 (training's texts). The last line is one JSON object.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from instructue.models.text_encoder import Library, TextEncoder
from instructue.paths import Paths
from measure.clock import in_turn, load, ratio


def main() -> None:
    options = _options()
    paths = Paths(options.root)
    print(f"load average {load():.2f}")
    texts = _texts(paths, options.texts)
    figures: dict[str, float] = {"texts": len(texts)}
    for dtype in ("float32", "bfloat16"):
        figures |= {f"{name}_{dtype}": value for name, value in _measure(paths, texts, dtype, options.rounds).items()}
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def _texts(paths: Paths, count: int) -> list[str]:
    triplets = pl.read_parquet(paths.userqa / "triplets.parquet", columns=["instruction", "answer", "opposite"])
    said = pl.concat([column.alias("text") for column in triplets.get_columns()])
    texts = pl.concat([said, pl.read_parquet(paths.texts())["text"]]).drop_nulls().unique().sort()
    return texts.sample(min(count, len(texts)), seed=7).to_list()


def _measure(paths: Paths, texts: list[str], dtype: str, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        plain = TextEncoder(paths.text_encoder, dtype)
        full = TextEncoder(paths.text_encoder, dtype, Path(folder) / "full")
        whole = full.encode(texts)
        empty = iter(range(10**6))

        def anew() -> None:
            encoder = TextEncoder(paths.text_encoder, dtype, Path(folder) / str(next(empty)))
            encoder.model = plain.model  # loading is on neither side
            encoder.encode(texts)

        sentences = Library(paths.text_encoder, dtype).model
        library = {"batch_size": 128, "convert_to_numpy": True, "show_progress_bar": False}
        sides = {
            "library": lambda: sentences.encode(texts, **library),
            "anew": anew,
            "kept": lambda: TextEncoder(paths.text_encoder, dtype, Path(folder) / "full").encode(texts),
        }
        times = in_turn(sides, rounds)
        kept = TextEncoder(paths.text_encoder, dtype, Path(folder) / "full")
        if not np.array_equal(kept.encode(texts), whole) or kept.computed:
            raise SystemExit("vectors that were kept are not those that were computed")
    for name, seconds in times.items():
        print(f"{dtype}, {name}: " + ", ".join(f"{s:.2f} s" for s in seconds))
    return {f"{name}_vs_library": ratio(times["library"], times[name]) for name in ("anew", "kept")}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(), help="a project whose userqa stage has run")
    parser.add_argument("--texts", type=int, default=4000, help="how many distinct texts")
    parser.add_argument("--rounds", type=int, default=3, help="each side runs once in every round")
    return parser.parse_args()


if __name__ == "__main__":
    main()
