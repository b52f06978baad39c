"""Validation against reading: python benchmarks/validation.py [--rows 10000000] [--folder FOLDER]

Complete Journey's lines, copied under new baskets and users until there are as many rows as asked for, are validated by
the whole suite. Prints how long the rules take against reading the same rows from Parquet, in this process and run, and
the peak of memory; the last line is one JSON object. Expects less than 2 times the reading and less than 4 GiB.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import polars as pl

from data_checks.runner import validate
from instructue.sources.events import number_texts, tidy, with_text_ids
from instructue.sources.ingest import write_table
from instructue.sources.readers import Reader, data_folder
from instructue.sources.spec import load_dataset

SOURCE = "purchase"
ROUNDS = 3


def make(rows: int, folder: Path) -> None:
    """The staged table with `rows` rows and its texts, written in pieces."""
    whole = load_dataset("complete_journey")
    source = whole.source(SOURCE)
    with Reader(whole, data_folder(whole)) as reader:
        events, own = tidy(whole, source, reader.rows(source))
    texts = number_texts([own])
    for name in sorted({a for s in whole.sources for a in s.attributes} - set(texts.columns)):
        texts = texts.with_columns(pl.lit(None, pl.String).alias(name))
    events = with_text_ids(source, events, texts)
    copies, parts = -(-rows // events.height), folder / "parts"
    parts.mkdir()
    for n in range(copies):
        more = events.head(min(events.height, rows - n * events.height)).with_columns(
            pl.col("user") + 10_000 * n, pl.col("basket_id") + 10**12 * n, pl.col("row") + events.height * n
        )
        more.write_parquet(parts / f"{n:04}.parquet")
    pl.scan_parquet(parts / "*.parquet").sink_parquet(folder / "rows.parquet", compression="zstd")
    write_table(texts, folder / "texts.parquet")


def measure(folder: Path) -> dict[str, float]:
    """Seconds of reading and of validating, the best of a few rounds; rows; findings."""
    whole = load_dataset("complete_journey")
    dataset = whole.model_copy(update={"sources": [whole.source(SOURCE)]})
    texts, reads, rules = pl.read_parquet(folder / "texts.parquet"), [], []
    origins = {SOURCE: folder / "rows.parquet"}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        table = pl.read_parquet(folder / "rows.parquet")
        reads.append(time.perf_counter() - start)
        start = time.perf_counter()
        outcomes = validate(dataset, {SOURCE: table}, texts, origins, folder / "report")
        rules.append(time.perf_counter() - start)
    broken = [o.name for o in outcomes if not o.passed]
    if any(o.blocking for o in outcomes if not o.passed):
        raise SystemExit(f"the copies should be good, but broken are: {broken}")
    # The first round pays for importing Great Expectations.
    return {"rows": table.height, "rules": len(outcomes), "read_s": min(reads), "validate_s": min(rules)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="keep the table here and use it again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "rows.parquet").exists():
            make(args.rows, folder)
            print("made; run again for a memory peak without the making" if args.folder else "made")
        found = measure(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found |= {"times_read": round(found["validate_s"] / found["read_s"], 2), "peak_gib": round(peak, 2)}
    print(f"{found['rows']:,.0f} rows, {found['rules']:.0f} rules: read in {found['read_s']:.2f} s, "
          f"validated in {found['validate_s']:.2f} s = {found['times_read']} x; peak {peak:.2f} GiB")  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
