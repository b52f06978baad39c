"""python -m orchestration.reproduce: the README's table made anew from the committed project, and held against it.

Works in a clone below build/, so that nothing in the reader's own tree changes.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from instructue.changes import with_variant
from instructue.config import parse_config
from instructue.errors import ConfigError, DataError, InstructUEError
from instructue.files import remove, replacing
from instructue.paths import Paths
from instructue.telemetry import telemetry_off
from orchestration.pipeline import ROOT, project_root

VARIANT = "reproduce"
CLONE = Path("build") / "reproduce"
COMMITTED = Path("docs") / "results.json"
KEY = ("task", "method", "metric")
FIELDS = (*KEY, "value", "low", "high")
IN_TABLE = "item_by_item"  # a study with a row of its own in the README's table
ROUNDING = 1e-6  # figures are written with six digits

Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One committed figure and what came out now; `new` None if the method or task is missing."""

    old: Row
    new: float | None

    @property
    def within(self) -> bool:
        """Whether the new value lies in the committed interval, or equals the value where there is none."""
        low, high = (self.old["value"] if self.old[end] is None else self.old[end] for end in ("low", "high"))
        return self.new is not None and low - ROUNDING <= self.new <= high + ROUNDING


def main(argv: list[str] | None = None) -> int:
    """0 if every committed figure came out within its interval, 1 if not or if something is in the way."""
    telemetry_off()
    args = parser().parse_args(argv)
    root = args.root.resolve() if args.root else project_root()
    try:
        committed = None if args.accept else read_committed(root / COMMITTED)  # before hours of work, not after
        results = args.results or remake(
            root, args.variant, dirty=args.dirty, fresh=args.fresh, share=not args.no_cache
        )
        found = main_rows(results)
    except InstructUEError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 1
    if committed is None:
        write_committed(root / COMMITTED, found)
        print(f"{len(found)} figures of {results} are now in {root / COMMITTED}; commit it with the README's table")
        return 0
    lines = compare(committed, found)
    print("\n".join(table(lines)))
    return 0 if all(line.within for line in lines) else 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m orchestration.reproduce", description=__doc__)
    top.add_argument("--root", type=Path, help=f"the project's root (default: ${ROOT}, else here)")
    top.add_argument("--variant", default=VARIANT, help=f"variant of params.yaml to run (default: {VARIANT})")
    top.add_argument("--dirty", action="store_true", help="go on despite uncommitted changes; they are left out")
    top.add_argument("--fresh", action="store_true", help="throw away what an earlier run left in build/reproduce")
    top.add_argument("--no-cache", action="store_true", help="take nothing from the DVC cache: run every stage")
    top.add_argument("--results", type=Path, metavar="JSON", help="hold this evaluation.json against it; run nothing")
    top.add_argument("--accept", action="store_true", help=f"write what came out into {COMMITTED} instead")
    return top


def remake(root: Path, variant: str, *, dirty: bool = False, fresh: bool = False, share: bool = True) -> Path:
    """Run the whole chain of the committed project in a clone; returns its evaluation.json.

    A run that was killed goes on, if HEAD is still the same. Raises ConfigError for uncommitted changes and for a
    folder that is no git repository, DataError if the chain fails.
    """
    refuse_changes(root, dirty)
    clone = bring_clone(root, fresh)
    write_params(clone, variant)
    if share:
        share_cache(root, clone)
    print(f"running the chain in {clone}", file=sys.stderr, flush=True)
    if subprocess.run(
        [sys.executable, "-m", "orchestration", "run"], cwd=clone, env=_env(clone), check=False
    ).returncode:
        raise DataError(f"the chain stopped in {clone}; the cause stands above. The same command goes on from there")
    return Paths(clone).evaluation_report.with_suffix(".json")


def refuse_changes(root: Path, dirty: bool) -> None:
    """Raise ConfigError if tracked files differ from HEAD, unless `dirty`."""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no").splitlines()
    if changed and not dirty:
        names = ", ".join(line[3:] for line in changed[:5]) + (" ..." if len(changed) > 5 else "")
        raise ConfigError(
            f"{len(changed)} tracked files have uncommitted changes ({names}), which a clone of HEAD would not hold; "
            "commit them, or give --dirty to reproduce HEAD without them"
        )


def bring_clone(root: Path, fresh: bool = False) -> Path:
    """A clone of HEAD in build/reproduce: the one that is there if it is of the same commit, else a new one."""
    clone, head = root / CLONE, _git(root, "rev-parse", "HEAD")
    there = (clone / ".git").is_dir() and _git(clone, "rev-parse", "HEAD") == head
    if fresh or not there:
        remove(clone)
        with replacing(clone) as temporary:
            _git(root, "clone", "--quiet", "--local", "--no-checkout", str(root), str(temporary))
            _git(temporary, "checkout", "--quiet", "--detach", head)
    return clone


def write_params(clone: Path, variant: str) -> None:
    """The clone's params.yaml as committed, with the variant applied. Raises ConfigError if it has none so named."""
    raw = with_variant(yaml.safe_load(_git(clone, "show", "HEAD:params.yaml")), variant)
    parse_config(raw, f"params.yaml with variant {variant}")
    text = yaml.safe_dump(raw, sort_keys=False)
    if (clone / "params.yaml").read_text(encoding="utf-8") != text:
        (clone / "params.yaml").write_text(text, encoding="utf-8")


def share_cache(root: Path, clone: Path) -> None:
    """Let the clone use the project's DVC cache, and take from it what dvc.lock names and is not in place."""
    place = (root / _dvc(root, "cache", "dir").strip()).resolve()
    _dvc(clone, "cache", "dir", "--local", str(place))
    if (clone / "dvc.lock").is_file():
        _dvc(clone, "checkout", "--allow-missing")


def main_rows(results: Path) -> list[Row]:
    """The primary metric of every method and task with all labels, and what the study IN_TABLE found of ours, from
    an evaluation.json. Raises DataError."""
    from instructue.evaluation.results import MACRO, OURS, PRIMARY, parse_results
    from instructue.evaluation.studies.items import WHOLE

    if not results.is_file():
        raise DataError(f"{results} is not there; the evaluation has not run")
    parsed = parse_results(json.loads(results.read_text(encoding="utf-8")))
    kept = [r for r in parsed.rows if r.labels == "all" and r.metric == PRIMARY[r.family] and r.task != MACRO]
    found = [{name: getattr(r, name) for name in FIELDS} for r in kept if r.value is not None]
    studied = [r for s in parsed.studies if s.name == IN_TABLE for r in s.rows if r.value is not None]
    for row in (r for r in studied if r.method == OURS and r.metric in PRIMARY.values() and r.task != MACRO):
        if row.setting != WHOLE:  # stands above already
            found.append({name: getattr(row, name) for name in FIELDS} | {"method": f"{OURS}, {row.setting}"})
    return found


def read_committed(path: Path) -> list[Row]:
    """The committed figures. Raises DataError if they are not there or lack a field."""
    if not path.is_file():
        raise DataError(f"{path} is not there; write it with: python -m orchestration.reproduce --accept")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [{name: row[name] for name in FIELDS} for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is no list of rows with {', '.join(FIELDS)}: {error!r}") from None


def write_committed(path: Path, rows: list[Row]) -> None:
    """One row a line, so that a diff shows which figures changed."""
    with replacing(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n", encoding="utf-8")


def compare(committed: list[Row], found: list[Row]) -> list[Line]:
    """Each committed figure with its new value, in the committed order. Figures that are new are not judged."""
    new = {tuple(row[name] for name in KEY): row["value"] for row in found}
    return [Line(row, new.get(tuple(row[name] for name in KEY))) for row in committed]


def table(lines: list[Line]) -> list[str]:
    """Lines for a person: what was committed, what came out, whether it lies within."""
    head = ("task", "method", "metric", "committed", "95% interval", "now", "")
    cells: list[tuple[str, ...]] = [head]
    for line in lines:
        old, new = line.old, line.new
        ends = "-" if old["low"] is None or old["high"] is None else f"{old['low']:.3f} to {old['high']:.3f}"
        said = "missing" if new is None else "within" if line.within else "OUTSIDE"
        now = "-" if new is None else f"{new:.3f}"
        cells.append((old["task"], old["method"], old["metric"], f"{old['value']:.3f}", ends, now, said))
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    good = sum(line.within for line in lines)
    return [*text, "", f"{good} of {len(lines)} committed figures came out within their 95% intervals"]


def _env(clone: Path) -> dict[str, str]:
    """This environment, with the clone's own packages, root and Dagster home, and this interpreter as `python`."""
    kept = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    packages = os.pathsep.join([str(clone), *filter(None, [os.environ.get("PYTHONPATH")])])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return kept | {"PYTHONPATH": packages, "PATH": programs, ROOT: str(clone)}


def _git(folder: Path, *words: str) -> str:
    return _said(["git", *words], folder)


def _dvc(folder: Path, *words: str) -> str:
    return _said([sys.executable, "-m", "dvc", *words], folder)


def _said(command: list[str], folder: Path) -> str:
    """What a command printed. Raises ConfigError with its own words if it failed."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"`{' '.join(command)}` failed in {folder}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
