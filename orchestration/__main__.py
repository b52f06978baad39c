"""python -m orchestration run | ui: the whole chain in this process, or Dagster's web page."""

import argparse
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

from instructue.errors import ConfigError, InstructUEError
from instructue.telemetry import telemetry_off
from orchestration.pipeline import ROOT

EXAMPLES = """
examples:
  python -m orchestration run                             make everything up to date
  python -m orchestration run --refresh                   read the data set's files anew; go on only if they changed
  python -m orchestration run --select sources,validation these stages alone (assets such as source/purchase work too)
  python -m orchestration run --select evaluation --force run it even if it is up to date
  python -m orchestration run --dataset shop              another data set, in a project of its own in runs/shop
  python -m orchestration run --variant debug             a variant of params.yaml, in runs/complete_journey-debug
  python -m orchestration ui                              http://127.0.0.1:3000
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m orchestration",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--root", type=Path, help=f"the project's root (default: ${ROOT}, else here)")
    common.add_argument("--dataset", metavar="PATH", help="another data set's description, with or without .yaml")
    common.add_argument("--variant", metavar="NAME", help="apply this named set of changes from params.yaml")
    verbs = top.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", parents=[common], help="make the chain, or a part of it, up to date")
    run.add_argument("--select", default="", metavar="NAME,...", help="only these stages or assets")
    run.add_argument("--force", action="store_true", help="run what is selected even if it is up to date")
    run.add_argument("--refresh", action="store_true", help="read the data set's files anew: they may have changed")
    ui = verbs.add_parser("ui", parents=[common], help="Dagster's web page and daemon on 127.0.0.1")
    ui.add_argument("--port", type=int, default=3000)
    return top


def main(argv: list[str] | None = None) -> int:
    """Set the scene (root, DAGSTER_HOME, telemetry), then run or serve."""
    telemetry_off()
    args = parser().parse_args(argv)
    if args.root is not None:
        os.environ[ROOT] = str(args.root.resolve())
    _log_ours()
    from orchestration.home import prepare_home
    from orchestration.pipeline import project_root

    try:
        root = project_root()
        if not (root / "dvc.yaml").is_file():
            raise ConfigError(f"{root} holds no dvc.yaml; run from the project's root, give --root or set {ROOT}")
        if args.dataset or args.variant:
            from orchestration.own import own_project

            root = own_project(root, args.dataset, args.variant)
            os.environ[ROOT] = str(root)
        prepare_home(root)
        return _ui(root, args.port) if args.verb == "ui" else _run(root, args)
    except InstructUEError as error:
        print(f"{args.verb}: {error}", file=sys.stderr)
        return 1


def _log_ours() -> None:
    """Our own lines as they are; of the tools' only warnings, whatever level they or Dagster set."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.name.startswith("instructue") or record.levelno >= logging.WARNING)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    warnings.simplefilter("ignore", FutureWarning)  # the tools' words to their own developers
    logging.getLogger("instructue").setLevel(logging.INFO)


def _run(root: Path, args: argparse.Namespace) -> int:
    from orchestration.run import run_chain

    selected = [name for name in args.select.split(",") if name]
    return run_chain(root, selected, force=args.force, refresh=args.refresh)


def _ui(root: Path, port: int) -> int:
    from orchestration.pages import serve

    dagster = Path(sys.executable).with_name("dagster")
    os.chdir(root)
    os.environ[ROOT] = str(root)
    # The checkout's pyproject.toml names the module too, and what the page calls it.
    module = [] if (root / "pyproject.toml").is_file() else ["-m", "orchestration.definitions"]
    command = [str(dagster), "dev", *module, "-h", "127.0.0.1", "-p", str(port)]
    print(f"http://127.0.0.1:{port} in half a minute; end with Ctrl-C", file=sys.stderr, flush=True)
    serve(root)
    process = subprocess.Popen(command)
    # Dagster ends its own processes: Ctrl-C reaches it as it does us, a signal to end is passed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
