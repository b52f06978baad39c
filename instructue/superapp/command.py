"""python -m instructue superapp: the made-up super-app from the command line."""

import argparse
import os
import time
from pathlib import Path

SUPERAPP = """make up the data of a super-app, of any size, whose best attainable results are known

docs/superapp.md says what is in it; `make run DATASET=FOLDER/superapp` runs the chain on it."""


def add_superapp(parser: argparse.ArgumentParser) -> None:
    """What the verb takes and does."""
    parser.set_defaults(do=run_superapp)
    parser.add_argument("--users", type=int, required=True, metavar="N", help="how many users, 1 to 10,000,000")
    parser.add_argument("--seed", type=int, default=7, metavar="S", help="the same seed gives the same bytes (7)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder to write, replaced if it is")
    parser.add_argument(
        "--noise", type=float, default=0.3, metavar="SHARE", help="share of a user's events that mean nothing (0.3)"
    )
    parser.add_argument(
        "--users-per-file", type=int, default=10_000, metavar="N", help="how many users share a Parquet file (10,000)"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes; changes no byte (all cores)"
    )


def run_superapp(args: argparse.Namespace) -> int:
    """Generate, and say what was written and how to go on."""
    from instructue.superapp.write import Wish, generate

    started = time.monotonic()
    wish = Wish(args.users, args.seed, args.noise, args.users_per_file)
    events = generate(wish, args.out.resolve(), args.workers)
    seconds, total = time.monotonic() - started, sum(events.values())
    for name, count in events.items():
        print(f"{name:>14}: {count:>12,} events")
    print(
        f"{total:,} events of {args.users:,} users in {seconds:.1f} s ({total / seconds:,.0f} a second) in {args.out}"
    )
    print(f"next: make run DATASET={args.out / 'superapp'}, or VARIANT=debug with it for a first look")
    return 0
