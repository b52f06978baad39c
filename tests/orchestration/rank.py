"""A process of test_processes.py in place of training: says something; rank 0 leaves a report."""

import logging
import os
import sys
from pathlib import Path

from instructue.report import StageReport
from instructue.training.launch import leave_report
from orchestration.worker import main


def work(argv: list[str]) -> int:
    rank, log = os.environ["RANK"], logging.getLogger("instructue.training")
    log.setLevel(logging.INFO)
    log.info("rank %s of %s is here", rank, os.environ["WORLD_SIZE"])
    if rank == "0":
        leave_report(Path(argv[0]), StageReport("model", metrics={"loss": 0.5}, plots={"curves": Path("c.png")}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], work))
