"""Where a trained model comes from, and where the rest of what it needs lies: checked, each lack named with its mend.

A *bundle* is what `save_pretrained` writes: everything but users' data. What the model stage leaves in data/model is
less, and takes base models, event texts and the data set's description from its project.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from instructue.config import load_config
from instructue.config_model import ModelConfig, NetworkConfig, TrainingConfig
from instructue.errors import ConfigError, DataError
from instructue.files import sha256
from instructue.models.bring import MANIFEST, check_base_models
from instructue.paths import Paths
from instructue.sources.spec import DatasetSpec, load_dataset
from instructue.sources.tables import VECTORS

BUNDLE_FORMAT = 1
DATASET, TEXTS, RESULTS, BASE_MODELS = "dataset.yaml", "texts.parquet", "results.json", "base_models"
REMOTE = ("models:/", "runs:/", "mlflow-artifacts:/")
NEEDED = ("base_model", "texts", "network", "data")


@dataclass(frozen=True)
class Origin:
    """All places and settings of one trained model. `project` is None where there are no users' data beside it."""

    bundle: Path
    base_models: Path
    manifest: dict[str, Any]
    dataset: DatasetSpec
    texts: Path
    vectors: Path
    settings: dict[str, Any]
    project: Paths | None

    @property
    def exported(self) -> bool:
        return "bundle" in self.settings

    @property
    def model(self) -> ModelConfig:
        """The knobs that it was trained with. Raises ConfigError if they are not those of a network."""
        try:
            network = NetworkConfig.model_validate(self.settings["network"])
        except ValidationError as error:
            raise ConfigError(f"{self.bundle}: its network is not one that this version knows: {error}") from None
        # Not validated: knobs of training that came or went since then change nothing in what was trained.
        training = TrainingConfig.model_construct(**{"matryoshka": []} | self.settings["training"])
        return ModelConfig.model_construct(network=network, training=training)


def find(where: str | Path, project: str | Path | None = None, base_models: str | Path | None = None) -> Origin:
    """Resolve what `InstructUE.from_pretrained` is given; all but weights and dictionary is checked here.

    Raises DataError (nothing there, damaged, foreign) or ConfigError (newer version, base models missing or others
    than those it was trained with).
    """
    own = _project(project)
    folder = _fetch(str(where), own) if str(where).startswith(REMOTE) else Path(where)
    bundle = _bundle(folder)
    settings = _settings(bundle)
    own = own or next((Paths(f) for f in (folder, bundle.parent.parent) if (f / "params.yaml").is_file()), None)
    if "bundle" in settings:
        _check_files(bundle, settings["bundle"]["sha256"])
        dataset, texts, vectors = load_dataset(str(bundle / DATASET)), bundle / TEXTS, bundle / VECTORS
    elif own is None:
        raise ConfigError(
            f"{bundle} holds the network alone, without event texts and base models; give project=FOLDER, the project "
            "that trained it, or load what save_pretrained wrote"
        )
    else:
        config = load_config(own.params)
        settings = {"training": config.model.training.model_dump()} | settings
        dataset = load_dataset(config.data.description(own.root))
        texts, vectors = own.texts(), own.histories / VECTORS
    models = _base_models(bundle, own, base_models)
    manifest = _check_base_models(bundle, models, settings)
    for file in (texts, vectors):
        if not file.is_file():
            raise DataError(f"{file} is not there, which {bundle} needs; run the validation and histories stages first")
    return Origin(bundle, models, manifest, dataset, texts, vectors, settings, own)


def _project(folder: str | Path | None) -> Paths | None:
    if folder is None:
        return None
    if not (Path(folder) / "params.yaml").is_file():
        raise ConfigError(f"project {folder} is no project: it has no params.yaml")
    return Paths(Path(folder))


def _fetch(uri: str, project: Paths | None) -> Path:
    """The folder that an MLflow URI names, from MLFLOW_TRACKING_URI, else the project's store, else MLflow's own."""
    import mlflow
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    store = os.environ.get("MLFLOW_TRACKING_URI") or (project.mlflow_uri if project else mlflow.get_tracking_uri())
    client = mlflow.MlflowClient(tracking_uri=store, registry_uri=store)
    try:
        return Path(download_artifacts(artifact_uri=_resolved(client, uri), tracking_uri=store, registry_uri=store))
    except (MlflowException, OSError, ValueError) as error:
        raise DataError(
            f"{uri} cannot be fetched from the MLflow store {store}: {error}; give project=FOLDER or set "
            "MLFLOW_TRACKING_URI"
        ) from None


def _resolved(client: Any, uri: str) -> str:
    """Where a model's files lie: models:/NAME/VERSION, models:/NAME@ALIAS or models:/ID.

    Asked of the client, as download_artifacts asks the process-wide registry whatever store it is given.
    """
    if not uri.startswith("models:/"):
        return uri
    name, _, version = uri.removeprefix("models:/").partition("/")
    if "@" in name:
        name, _, alias = name.partition("@")
        version = client.get_model_version_by_alias(name, alias).version
    elif not version:
        return client.get_logged_model(name).artifact_location
    return _resolved(client, client.get_model_version_download_uri(name, version))


def _bundle(folder: Path) -> Path:
    """The folder with config.json: `folder` itself, a project's data/model, or the one bundle somewhere below."""
    if not folder.is_dir():
        raise DataError(f"no model at {folder}: there is no such folder; for the registry write models:/NAME/VERSION")
    if (folder / "params.yaml").is_file():
        return Paths(folder).model
    if (folder / "config.json").is_file():
        return folder
    below = sorted({file.parent for file in folder.rglob(DATASET) if (file.parent / "config.json").is_file()})
    if len(below) > 1:
        raise DataError(f"{folder} holds {len(below)} models; name one of {[str(b) for b in below]}")
    return below[0] if below else folder


def _settings(bundle: Path) -> dict[str, Any]:
    from instructue.network.checkpoint import SETTINGS, read_settings

    try:
        settings = read_settings(bundle)
    except UnicodeDecodeError as error:
        raise DataError(f"{bundle / SETTINGS} is damaged: {error}") from None
    if missing := [name for name in NEEDED if name not in settings]:
        raise DataError(f"{bundle / SETTINGS} is damaged or foreign: it has no {', '.join(missing)}")
    extra = settings.get("bundle", {"format": BUNDLE_FORMAT, "sha256": {}})
    if not isinstance(extra, dict) or not isinstance(extra.get("format"), int) or "sha256" not in extra:
        raise DataError(f"{bundle / SETTINGS} is damaged or foreign: its part 'bundle' is {extra!r:.80}")
    if extra["format"] > BUNDLE_FORMAT:
        raise ConfigError(
            f"{bundle} was saved by a newer version (bundle format {extra['format']}, known {BUNDLE_FORMAT}); upgrade"
        )
    return settings


def _check_files(bundle: Path, sums: dict[str, str]) -> None:
    for name, expected in sums.items():
        path = bundle / name
        if not path.is_file():
            raise DataError(f"{path} is missing; copy or fetch the whole bundle again")
        if sha256(path) != expected:
            raise DataError(f"{path} is damaged: its checksum is not the one in config.json; fetch the bundle again")


def _base_models(bundle: Path, project: Paths | None, given: str | Path | None) -> Path:
    """The first folder with a manifest: the one given (and no other), the bundle's own, the project's."""
    if given is not None:
        candidates = [Path(given)]
    else:
        candidates = [bundle / BASE_MODELS, *([project.base_models] if project else [])]
    for folder in candidates:
        if (folder / MANIFEST).is_file():
            return folder
    raise ConfigError(
        f"the base models of {bundle} are missing: no {MANIFEST} in {' or '.join(map(str, candidates))}; give "
        "base_models=FOLDER (a project's data/base_models, made by python -m instructue base_models)"
    )


def _check_base_models(bundle: Path, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        found = language_digest(manifest)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder / MANIFEST} is damaged or foreign: {error}; run the base_models stage again"
        ) from None
    wanted = settings.get("bundle", {}).get("base_models", {})
    name = wanted.get("language", {}).get("name")
    if found != settings["base_model"]:
        raise ConfigError(
            f"{bundle} was trained with another base language model ({name or 'digest'} {settings['base_model']:.12}) "
            f"than {folder} holds ({manifest['language'].get('name')} {found:.12}); give base_models=FOLDER with that "
            "one, or train again"
        )
    encoder = wanted.get("text_encoder")
    if encoder and encoder["sha256"] != manifest.get("text_encoder", {}).get("sha256"):
        raise ConfigError(
            f"{bundle} was trained with another text encoder ({encoder['name']}) than {folder} holds; give "
            "base_models=FOLDER with that one, or train again"
        )
    check_base_models(folder)
    return manifest


def language_digest(manifest: dict[str, Any]) -> str:
    """What names the frozen language model in config.json, as instructue.training.build does, without loading torch."""
    return hashlib.sha256(json.dumps(manifest["language"]["sha256"], sort_keys=True).encode()).hexdigest()
