"""Starts training in several processes: torchrun below this one, its progress passed through, its end explained.

`python -m instructue.training.launch FOLDER N WORKER ROOT` is the program in between: it runs torchrun's own `run`,
which says what became of each process, and leaves that in FOLDER for `in_processes`, or for whoever else started it.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructue.config import Config
from instructue.errors import InstructUEError
from instructue.files import remove, replacing, write_json
from instructue.paths import Paths
from instructue.report import StageReport

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

CONFIG, REPORT, FAILURE = "config.json", "report.json", "failure.json"
WORKER = "instructue.training.worker"
GRACE = 40  # seconds; torchrun gives its processes 30 to end
ENDED = -15  # the others are ended by SIGTERM once one has failed


class TrainingFailed(InstructUEError):
    """One of several training processes failed, and all were ended."""


def in_processes(
    config: Config, paths: Paths, call: Callable[[list[str]], int] | None = None, worker: str = WORKER
) -> StageReport:
    """Run `worker` in model.training.processes processes; returns the report that the first one leaves.

    call: runs a command and returns its exit status; by default below this process, on its terminal.
    Raises TrainingFailed saying which process failed and how.
    """
    count = config.model.training.processes
    folder = paths.cache / "processes"
    remove(folder)
    with replacing(folder / CONFIG) as temporary:
        temporary.write_text(config.model_dump_json(), encoding="utf-8")
    command = [sys.executable, "-m", __name__, str(folder.resolve()), str(count), worker, str(paths.root.resolve())]
    status = (call or _call)(command)
    failure = folder / FAILURE
    if failure.is_file():
        raise TrainingFailed(json.loads(failure.read_text(encoding="utf-8")))
    if status or not (folder / REPORT).is_file():
        raise TrainingFailed(f"training in {count} processes ended with status {status} and no report; see its log")
    report = StageReport.of(json.loads((folder / REPORT).read_text(encoding="utf-8")))
    remove(folder)
    return report


def leave_report(folder: Path, report: StageReport) -> None:
    """What the first worker does with its report."""
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(json.dumps(dataclasses.asdict(report), default=str), encoding="utf-8")


def end_with_parent() -> None:
    """End this process when the one that started it has gone, so that no orphan writes on."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _call(command: list[str]) -> int:
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except BaseException:
        process.terminate()  # torchrun ends its processes
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
        raise


def main(argv: list[str]) -> int:
    """Run torchrun; 1 if a process failed, with the reason left in the folder."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    folder, count, worker, root = Path(argv[0]), int(argv[1]), argv[2], argv[3]
    end_with_parent()
    # Each process its part of the cores; torchrun would give it one.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    try:
        run(parse_args(["--standalone", f"--nproc-per-node={count}", "-m", worker, str(folder), root]))
    except ChildFailedError as error:
        write_json(folder / FAILURE, said_of(error, count))
        return 1
    except SignalException as error:
        print(f"training in {count} processes: {error}", file=sys.stderr)
        return 1
    return 0


def said_of(error: "ChildFailedError", count: int) -> str:
    """What ended training, in a sentence. A killed process comes before those that then missed it."""
    first, _ = error.get_first_failure()
    killed = [rank for rank, failure in error.failures.items() if failure.exitcode < 0 and failure.exitcode != ENDED]
    rank = killed[0] if killed else first
    failure = error.failures[rank]
    who = f"training process {rank} of {count}"
    if failure.exitcode < 0:
        memory = "if nobody did, memory ran out: lower model.training.micro_batch or processes; "
        mend = (
            memory if failure.exitcode == -signal.SIGKILL else ""
        ) + "run it again to go on from the last checkpoint"
        return f"{who} was killed by {signal.Signals(-failure.exitcode).name} and the others were ended; {mend}"
    # A dict if an exception was recorded, a hint to record them if none was.
    message: Any = failure.message
    how = message["message"] if isinstance(message, dict) else f"it ended with status {failure.exitcode}; see its log"
    return f"{who} failed and the others were ended: {how}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
