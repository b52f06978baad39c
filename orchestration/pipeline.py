"""dvc.yaml as data: which stage reads and writes what. The asset graph's edges are derived from it."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from instructue.errors import ConfigError

ROOT = "INSTRUCTUE_ROOT"


def project_root() -> Path:
    """The project that Dagster shows and runs: $INSTRUCTUE_ROOT, else the current folder."""
    return Path(os.environ.get(ROOT) or Path.cwd()).resolve()


@dataclass(frozen=True)
class Step:
    """One stage of dvc.yaml. deps and outs are paths relative to the root, params the sections it follows."""

    name: str
    cmd: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: tuple[Any, ...]


@dataclass(frozen=True)
class Pipeline:
    """All steps, in the order of dvc.yaml."""

    root: Path
    steps: dict[str, Step]

    def maker(self, path: str) -> str | None:
        """The stage whose output `path` is or lies in; None for code."""
        for step in self.steps.values():
            if any(path == out or path.startswith(out + "/") for out in step.outs):
                return step.name
        return None

    def upstream(self, name: str) -> list[str]:
        """The stages whose outputs `name` reads."""
        makers = (self.maker(dep) for dep in self.steps[name].deps)
        return list(dict.fromkeys(m for m in makers if m is not None))

    def code(self, name: str) -> list[str]:
        """The code that `name` runs, as dvc.yaml says."""
        return [dep for dep in self.steps[name].deps if self.maker(dep) is None]

    def code_version(self, name: str) -> str:
        """Short hash of that code's bytes: what Dagster compares to say that code changed."""
        digest = hashlib.sha256()
        for dep in self.code(name):
            path = self.root / dep
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file() and file.suffix != ".pyc":
                    digest.update(str(file.relative_to(self.root)).encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()[:12]


def load_pipeline(root: Path) -> Pipeline:
    """Read dvc.yaml. Raises ConfigError if it is not there."""
    path = root / "dvc.yaml"
    if not path.is_file():
        raise ConfigError(f"{path} is not there; run from the project's root, give --root or set {ROOT}")
    text = path.read_text(encoding="utf-8")
    # DVC fills in ${section.key} from params.yaml; so do we.
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    stages = yaml.safe_load(re.sub(r"\$\{([\w.]+)\}", lambda m: str(_lookup(params, m[1])), text))["stages"]
    steps = {
        name: Step(name, s["cmd"], tuple(s.get("deps", ())), _outs(s), tuple(s.get("params", ())))
        for name, s in stages.items()
    }
    return Pipeline(root, steps)


def _outs(stage: dict[str, Any]) -> tuple[str, ...]:
    """Paths of outs and metrics; DVC lets either be a path or {path: options}."""
    named = [*stage.get("outs", ()), *stage.get("metrics", ())]
    return tuple(next(iter(out)) if isinstance(out, dict) else out for out in named)


def _lookup(params: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        params = params[key]
    return params
