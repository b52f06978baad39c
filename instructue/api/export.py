"""Writing a bundle: the network, the dictionary of texts with its vectors, the description of the sources, base
models, prompts learnt on it, the results that are known of it, and a card. No event of any user is in it."""

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from instructue.api import prompts
from instructue.api.card import card
from instructue.api.network import Network
from instructue.api.origin import BASE_MODELS, BUNDLE_FORMAT, DATASET, RESULTS, TEXTS, Origin
from instructue.errors import ConfigError, DataError
from instructue.evaluation.cache import digest
from instructue.evaluation.results import GENERAL, Results, parse_results
from instructue.files import replacing, sha256, write_json
from instructue.models.bring import MANIFEST
from instructue.network.checkpoint import SETTINGS
from instructue.paths import WEIGHTS, Paths
from instructue.sources.spec import DatasetSpec
from instructue.sources.tables import VECTORS

README = "README.md"
# Of single users, or of no use to a reader of the card.
LEFT_OUT = ("examples", "maps", "slices", "calibration", "uplift")
SAME = 0.999  # cosine of a stored vector and the same made anew; bf16 rounds a little differently by batch


def export(network: Network, folder: Path, base_models: bool, evaluation: Path | None) -> Path:
    """See InstructUE.save_pretrained."""
    _check_target(folder)
    origin = network.origin
    results, note = known_results(network, evaluation)
    with replacing(folder) as temporary:
        temporary.mkdir(parents=True)
        shutil.copyfile(origin.bundle / WEIGHTS, temporary / WEIGHTS)
        shutil.copyfile(origin.texts, temporary / TEXTS)
        shutil.copyfile(origin.vectors, temporary / VECTORS)
        (temporary / DATASET).write_text(described(origin.dataset), encoding="utf-8")
        if results is not None:
            write_json(temporary / RESULTS, results.model_dump(mode="json", exclude_unset=True))
        if base_models:
            _copy_base_models(origin, temporary / BASE_MODELS)
        for path in prompts.belonging(origin):
            (temporary / prompts.PROMPTS).mkdir(exist_ok=True)
            shutil.copyfile(path, temporary / prompts.PROMPTS / path.name)
        settings = _settings(origin, temporary)
        write_json(temporary / SETTINGS, settings)
        text = card(origin, settings, network.parameters(), results, note, base_models)
        (temporary / README).write_text(text, encoding="utf-8")
    return folder


def _check_target(folder: Path) -> None:
    """Only a bundle may be replaced: an exported folder's name mistyped must not cost anybody's files."""
    if not folder.exists():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    try:
        ours = "bundle" in json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise ConfigError(f"{folder} holds something else than a bundle of save_pretrained; name a new folder")


def described(dataset: DatasetSpec) -> str:
    """The description as YAML without the places of its data, which may name folders and servers of its owner."""
    raw = dataset.model_dump(mode="json", exclude_unset=True)
    raw |= {"tables": {name: f"{name}.parquet" for name in dataset.tables}}
    if dataset.package is None:
        raw["folder"] = ""
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def _copy_base_models(origin: Origin, target: Path) -> None:
    target.mkdir()
    for name in origin.manifest:
        shutil.copytree(origin.base_models / name, target / name)
    shutil.copyfile(origin.base_models / MANIFEST, target / MANIFEST)


def _settings(origin: Origin, folder: Path) -> dict[str, Any]:
    kept = {name: value for name, value in origin.settings.items() if name not in ("bundle", "shape", "format")}
    written = json.loads((origin.bundle / SETTINGS).read_text(encoding="utf-8"))
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    bundle = {
        "format": BUNDLE_FORMAT,
        "sha256": {name: sha256(folder / name) for name in names},
        "base_models": origin.manifest,
        "licences": licences(origin),
    }
    return {"format": written["format"], "shape": written["shape"], **kept, "bundle": bundle}


def licences(origin: Origin) -> dict[str, str]:
    """Base model -> its licence as its model card says, else its package, else 'not stated'; an export keeps it."""
    known = origin.settings.get("bundle", {}).get("licences", {})
    found = {}
    for part, entry in origin.manifest.items():
        said = _card_licence(origin.base_models / part / README) or _package_licence(entry)
        found[part] = said or known.get(part, "not stated")
    return found


def _card_licence(path: Path) -> str | None:
    if not path.is_file():
        return None
    head = path.read_text(encoding="utf-8", errors="replace").split("---")
    try:
        front = yaml.safe_load(head[1]) if len(head) > 2 and not head[0].strip() else None
    except yaml.YAMLError:
        return None
    return str(front["license"]) if isinstance(front, dict) and front.get("license") else None


def _package_licence(entry: dict[str, Any]) -> str | None:
    if entry.get("source") != "package":
        return None
    try:
        told = metadata.metadata(entry["name"])
    except metadata.PackageNotFoundError:
        return None
    said = [told[name] for name in ("License-Expression", "License") if name in told]
    return said[0] if said else None


def known_results(network: Network, evaluation: Path | None) -> tuple[Results | None, str]:
    """What an evaluation found of this model, without anything of single users; else why there is nothing.

    A project's evaluation counts only if it is of the embeddings that lie there and those are this model's.
    Raises DataError if a named file is none.
    """
    origin = network.origin
    if evaluation is not None:
        return _read(evaluation), ""
    path = origin.project.evaluation_report.with_suffix(".json") if origin.project else None
    if path is not None and path.is_file() and not origin.exported:
        results, paths = _read(path), origin.project
        assert paths is not None
        doubt = _doubt(network, paths, results)
        return (None, f"The project's evaluation is not of this model: {doubt}.") if doubt else (results, "")
    kept = origin.bundle / RESULTS
    return (_read(kept), "") if kept.is_file() else (None, "It has not been evaluated.")


def _read(path: Path) -> Results:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no evaluation: {error}") from None
    if not isinstance(raw, dict):
        raise DataError(f"{path} is no evaluation: it holds a {type(raw).__name__}")
    return parse_results({key: value for key, value in raw.items() if key not in LEFT_OUT})


def _doubt(network: Network, paths: Paths, results: Results) -> str:
    """Why results in a project may be another model's; empty if they are this one's."""
    files = {
        "embeddings": paths.embeddings / "embeddings.parquet",
        "histories": paths.histories / "histories.parquet",
    }
    for name, file in files.items():
        if not file.is_file() or digest(file) != results.data.get(name):
            return f"its {name} are of another version than {file}"
    general = (pl.col("method") == GENERAL) & (pl.col("task") == "")
    stored = pl.scan_parquet(files["embeddings"]).filter(general).head(1).collect()
    if stored.is_empty() or len(stored["vector"][0]) != network.dim:
        return f"{files['embeddings']} holds no general vectors as wide as this model's"
    from instructue.api.given import published

    tables = published(network.base, paths, stored["user"].to_list(), None)
    again = network.embed(tables, None, (), 1)[0, 0]
    cosine = float(np.dot(again, stored["vector"].to_numpy()[0]))
    return "" if cosine > SAME else f"it gives user {stored['user'][0]} another vector than {files['embeddings']}"
