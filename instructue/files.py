"""Reading files with clear errors, and writing them so that a killed run leaves nothing half done."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from instructue.errors import DataError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; move it into place when the block ends without error.

    Works for a file and for a folder (make it yourself). On error the temporary path is removed
    and what stood at `target` before still stands.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    remove(temporary)
    try:
        yield temporary
        retired = target.with_name(f".{target.name}.old-{os.getpid()}")
        if target.is_dir():
            os.replace(target, retired)
        os.replace(temporary, target)
        remove(retired)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, mend: str) -> dict[str, Any]:
    """A file that holds one JSON object. Raises DataError with `mend`, what to do, if it cannot be read as that."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # no JSON, or no UTF-8
        raise DataError(f"{path} cannot be read ({error}); {mend}") from error
    if not isinstance(said, dict):
        raise DataError(f"{path} cannot be read (it holds no JSON object); {mend}")
    return said


def write_json(path: Path, value: Any) -> None:
    """Write JSON with a stable layout, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n", encoding="utf-8")
