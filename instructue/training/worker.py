"""One of several training processes, started by launch.py: `-m instructue.training.worker FOLDER ROOT`."""

import contextlib
import logging
import sys
from pathlib import Path

from instructue.config import Config
from instructue.errors import InstructUEError
from instructue.paths import Paths
from instructue.progress import speaks
from instructue.report import StageReport
from instructue.telemetry import hub_off, telemetry_off
from instructue.training.launch import CONFIG, end_with_parent, leave_report


def work(folder: Path, root: Path) -> StageReport:
    """Take part in the training that FOLDER describes; the first process leaves the report there."""
    from torch.distributed.elastic.multiprocessing.errors import record

    telemetry_off()
    end_with_parent()
    config = Config.model_validate_json((folder / CONFIG).read_text(encoding="utf-8"))
    hub_off(config.base_models.language.source, config.base_models.text_encoder.source)
    from instructue.training.fit import fit

    with contextlib.chdir(root):  # so that folders named in params.yaml are relative to the root
        report = record(fit)(config, Paths(root))  # `record` carries an error's words to launch.py
    assert report is not None
    if speaks():
        leave_report(folder, report)
    return report


def main(argv: list[str]) -> int:
    """Log as `python -m instructue` does; of several processes only the first says what is not a warning."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("instructue").setLevel(logging.INFO if speaks() else logging.WARNING)
    try:
        work(Path(argv[0]), Path(argv[1]))
    except InstructUEError:
        return 1  # its words are on their way to whoever started all this
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
