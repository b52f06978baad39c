"""python -m instructue init and describe: a team's own data from the command line."""

import argparse
import contextlib
from pathlib import Path

from instructue.config import load_config
from instructue.paths import Paths

INIT = """look at a folder of files or a database and propose a description of it

Writes NAME.yaml, with the reason of each guess beside it, NAME.tasks.yaml and NAME.params.yaml, and reads rows
through them. Edit the lines marked CHECK; then `make run DATASET=NAME` runs the whole chain.
docs/sources.md explains the rest."""
DESCRIBE = """what is in a data set, before any training

Events per source and month, users, missing values, texts and lengths of histories: in the terminal, and with plots in
reports/describe-NAME.html."""


def add_init(parser: argparse.ArgumentParser) -> None:
    """What init takes and does."""
    place = "folder of CSV, Parquet or JSON lines files, a .duckdb or .sqlite file, or env:VARIABLE (PostgreSQL's URL)"
    parser.add_argument("place", metavar="PLACE", help=place)
    parser.add_argument("--out", type=Path, metavar="NAME.yaml", help="what to write (default: the place's name, here)")
    parser.set_defaults(do=run_init)


def add_describe(parser: argparse.ArgumentParser) -> None:
    """What describe takes and does."""
    what = "a described data set, by path or one of ours by name (default: that of params.yaml)"
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help=what)
    parser.set_defaults(do=run_describe)


def run_init(args: argparse.Namespace) -> int:
    """Propose a description and say how to go on."""
    from instructue.sources.init.run import default_out, init, show

    with contextlib.chdir(args.root):
        out = args.out or default_out(args.place)
        print(show(init(args.place, out), out))
    return 0


def run_describe(args: argparse.Namespace) -> int:
    """Show a data set's figures, and say where the page is."""
    from instructue.sources.describe.show import show_dataset

    paths = Paths(args.root.resolve())
    with contextlib.chdir(paths.root):
        if args.dataset:
            page = show_dataset(args.dataset, paths)
        else:
            data = load_config(paths.params, args.variant).data
            page = show_dataset(data.description(), paths, data.folder)
    print(f"page: {page}")
    return 0
