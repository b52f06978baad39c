"""What was said of a version of a stage's outputs, kept so that a reused version is shown as fully as a new one.

Local state in .cache: safe to delete. Without it, figures that can be read from the outputs are still shown.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instructue.files import replacing
from instructue.paths import Paths
from instructue.report import StageReport
from orchestration.versioning import Version

Suite = dict[str, Any]  # one suite's verdict, in the form of reports/validation/results.json


@dataclass
class Record:
    """A stage's own report (None if it was run elsewhere), the suites that judged its outputs, its seconds."""

    report: StageReport | None = None
    suites: dict[str, Suite] = field(default_factory=dict)
    seconds: float | None = None


def _place(paths: Paths, version: Version) -> Path:
    return paths.cache / "records" / version.stage / f"{hashlib.sha256(version.id.encode()).hexdigest()[:16]}.json"


def save(paths: Paths, version: Version, record: Record) -> None:
    """Keep what was said of `version`."""
    with replacing(_place(paths, version)) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(record), default=str), encoding="utf-8")


def load(paths: Paths, version: Version) -> Record | None:
    """What was said of `version`; None if nothing was kept, or it cannot be read any more."""
    try:
        kept = json.loads(_place(paths, version).read_text(encoding="utf-8"))
        report = kept["report"]
        return Record(None if report is None else StageReport.of(report), kept["suites"], kept["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
