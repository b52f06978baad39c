"""One of several training processes below Dagster: instructue's own worker, whose log the first process hands over."""

import logging
import sys
from collections.abc import Callable

from instructue.progress import speaks
from instructue.training import worker


class _ToDagster(logging.Handler):
    def __init__(self, log: logging.Logger) -> None:
        super().__init__()
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.log(record.levelno, self.format(record))


def main(argv: list[str], work: Callable[[list[str]], int] = worker.main) -> int:
    """Run `work`; in the first process between opening and closing Dagster's pipe."""
    if not speaks():
        return work(argv)
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        handler = _ToDagster(pipes.log)
        logging.getLogger("instructue").addHandler(handler)
        try:
            return work(argv)
        finally:
            logging.getLogger("instructue").removeHandler(handler)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
