"""What was judged before is not judged again: results by what they rest on, as small files below .cache/evaluation.

A key holds everything that a result depends on: method, features, labels, folds and draws, and the code itself.
"""

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from instructue.errors import DataError
from instructue.evaluation.judged import Judged
from instructue.files import replacing

SHOWN = ("report", "studies", "own.py", "tracked.py")  # code that changes no figure


class Cache:
    """Keyed store of judged methods and of slow features; safe to delete, and several processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def judged(self, key: str, make: Callable[[], Judged]) -> Judged:
        """The result under `key`, made now if it is not there."""
        found = self.find(key)
        if found is None:
            found = make()
            self._write(key, found)
        return found

    def find(self, key: str) -> Judged | None:
        """The result under `key`; None if there is none or its file is damaged."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / "judged" / f"{key}.safetensors"
        try:
            with safe_open(str(path), "np") as file:
                said = json.loads(file.metadata()["judged"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            return None
        outside = {name: arrays.pop(name) for name in ("scores", "chances") if name in arrays}
        draws = {name: arrays[name] for name in said.pop("metrics")}
        return Judged(**said, draws=draws, **outside)

    def _write(self, key: str, judged: Judged) -> None:
        from safetensors.numpy import save_file

        names = ("task", "family", "method", "labels", "n", "positives")
        said = {name: getattr(judged, name) for name in names} | {"metrics": list(judged.draws)}
        arrays = dict(judged.draws) | {"scores": judged.scores, "chances": judged.chances}
        kept = {name: np.ascontiguousarray(value) for name, value in arrays.items() if value is not None}
        with replacing(self.folder / "judged" / f"{key}.safetensors") as temporary:
            save_file(kept, str(temporary), {"judged": json.dumps(said)})

    def array(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array under `key`, made now if it is not there."""
        path = self.folder / "features" / f"{key}.npy"
        try:
            return np.load(path, allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            made = make()
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, made, allow_pickle=False)
        return made


def key_of(*parts: Any) -> str:
    """A short name for what these parts say: JSON values, arrays, bytes."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        elif isinstance(part, bytes):
            digest.update(part)
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


@cache
def code() -> str:
    """Hash of the code that figures come from: this package without what only shows them."""
    root = Path(__file__).parent
    files = [p for p in sorted(root.rglob("*.py")) if p.relative_to(root).parts[0] not in SHOWN]
    return key_of(*(part for p in files for part in (str(p.relative_to(root)), p.read_bytes())))


def digest(path: Path) -> str:
    """MD5 of a file, as DVC names it. Raises DataError if it is not there."""
    if not path.is_file():
        raise DataError(f"{path} is not there; run the chain up to it first: make run")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
