"""The configured teacher behind its cache."""

import hashlib
import json

from instructue.config import UserQAConfig
from instructue.errors import ConfigError, DataError
from instructue.models.bring import MANIFEST
from instructue.paths import Paths
from instructue.userqa.local import LocalTeacher
from instructue.userqa.server import OpenAITeacher
from instructue.userqa.teacher import CachedTeacher


def open_teacher(config: UserQAConfig, paths: Paths) -> CachedTeacher | None:
    """The configured teacher behind its cache; None for teacher: template, which asks nobody."""
    if config.teacher == "template":
        return None
    if config.teacher == "openai":
        if not config.base_url or not config.model:
            raise ConfigError("userqa.teacher is openai: set userqa.base_url and userqa.model in params.yaml")
        limits = {"concurrency": config.concurrency, "requests_per_minute": config.requests_per_minute}
        return CachedTeacher(OpenAITeacher(config.base_url, config.model, **limits), paths.cache / "teacher")
    manifest = paths.base_models / MANIFEST
    if not manifest.is_file():
        raise DataError(f"{manifest} is not there; run the base_models stage first: python -m instructue base_models")
    checksums = json.dumps(json.loads(manifest.read_text())["language"]["sha256"], sort_keys=True)
    identity = hashlib.sha256(checksums.encode()).hexdigest()
    return CachedTeacher(LocalTeacher(paths.language_model, identity), paths.cache / "teacher")
