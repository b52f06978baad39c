"""`make run DATASET=mine`: a project in runs/mine for another data set or variant, so that no run undoes another's.

It holds a params.yaml made of the checkout's, links to the checkout's code, and its own dvc.yaml, data and reports.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from instructue.changes import with_changes, with_variant
from instructue.config import OURS, load_config, parse_config
from instructue.errors import ConfigError
from instructue.files import replacing

RUNS = Path("runs")
CODE = ("instructue", "data_checks")  # what dvc.yaml's deps name, from the root on
NO_GIT = "    no_scm = true\n"  # runs/ is not committed
# What params.yaml says of the checkout's own data set, and what it is for any other.
ELSEWHERE = {"data.folder": None, "data.max_users": 0, "evaluation.tasks": [], "evaluation.external": [],
             "studies.tasks": [], "userqa.own": None}  # fmt: skip


def own_project(root: Path, dataset: str | None, variant: str | None) -> Path:
    """Bring runs/NAME up to date with the checkout in `root` and the data set's description; returns its root.

    `dataset`: path of a description, with or without .yaml; None takes that of params.yaml. `variant`: one of
    params.yaml's. NAME.params.yaml beside the description, if it is there, holds changes {section.key: value} to
    params.yaml. Raises ConfigError if something is missing or wrong, before anything is written.
    """
    from instructue.evaluation.tasks import load_tasks
    from instructue.sources.spec import load_dataset

    stem = _stem(root, dataset)
    load_dataset(f"{stem}.yaml")
    tasks = load_tasks(f"{stem}.yaml")
    own = root / RUNS / "-".join(filter(None, [stem.name, variant]))
    params, parts = _params(root, stem, variant, other=dataset is not None)
    params["data"] |= {"dataset": stem.name, "described_in": os.path.relpath(stem.parent, own)}
    parse_config(params, " with ".join(map(str, parts)))
    chain = _chain(root, [os.path.relpath(f, own) for f in dict.fromkeys(f for task in tasks for f in task.files())])
    (own / ".dvc").mkdir(parents=True, exist_ok=True)
    said = ", ".join(os.path.relpath(part, own) for part in parts)
    _write(own / "params.yaml", f"# Made of {said} by each run: edit there, not here.\n{_dump(params)}")
    _write(own / "dvc.yaml", f"# Made of {os.path.relpath(root / 'dvc.yaml', own)} by each run.\n{_dump(chain)}")
    settings = (root / ".dvc" / "config").read_text(encoding="utf-8")
    _write(own / ".dvc" / "config", settings.replace("[core]\n", f"[core]\n{NO_GIT}", 1))
    _write(own / ".dvcignore", (root / ".dvcignore").read_text(encoding="utf-8"))
    for name in CODE:
        if not (own / name).is_symlink():
            (own / name).symlink_to(os.path.relpath(root / name, own))
    return own


def _stem(root: Path, dataset: str | None) -> Path:
    """The description's path without its ending, absolute."""
    if dataset is None:
        data = load_config(root / "params.yaml").data
        return (root / data.described_in / data.dataset).resolve()
    given = root / dataset.removesuffix(".yaml")
    for stem in (given, root / OURS / dataset):
        if stem.with_name(f"{stem.name}.yaml").is_file():
            return stem.resolve()
    raise ConfigError(
        f"there is no {given}.yaml; python -m instructue init FOLDER --out {given.name}.yaml proposes one"
    )


def _params(root: Path, stem: Path, variant: str | None, *, other: bool) -> tuple[dict[str, Any], list[Path]]:
    """The checkout's params with the data set's own changes and then the variant's; and the files that they are of."""
    parts = [root / "params.yaml"]
    raw = yaml.safe_load(parts[0].read_text(encoding="utf-8"))
    if other:
        raw = with_changes(raw, ELSEWHERE, "a run of another data set")
    changes = stem.with_name(f"{stem.name}.params.yaml")
    if changes.is_file():
        said = yaml.safe_load(changes.read_text(encoding="utf-8"))
        if not isinstance(said, dict):
            raise ConfigError(f"{changes} holds no changes; write lines such as `histories.label_days: 30`")
        raw, parts = with_changes(raw, said, str(changes)), [*parts, changes]
    return (with_variant(raw, variant) if variant else raw), parts


def _chain(root: Path, named: list[str]) -> dict[str, Any]:
    """dvc.yaml, in which a stage that follows a part of the description follows it whole, as a description may lack
    optional keys, which DVC cannot follow one by one. Who follows the tasks follows the files `named` in them too.
    """
    chain = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    for stage in chain["stages"].values():
        parts = [param for param in stage["params"] if isinstance(param, dict)]
        stage["params"] = [param for param in stage["params"] if param not in parts]
        deps = [*stage["deps"], *(file for part in parts for file in part)]
        if any(dep.endswith(".tasks.yaml") for dep in deps):
            deps += named
        stage["deps"] = sorted(deps)
    return chain


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def _write(path: Path, text: str) -> None:
    """Write where it differs, so that what is up to date keeps its time of change."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
