"""Progress with time left, on standard error; one plain line each tenth where that is not a terminal."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")


def speaks() -> bool:
    """Whether this process is the one that shows progress and results: of several under torchrun the first."""
    return int(os.environ.get("RANK", "0")) == 0


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` while showing how far it is: a bar in a terminal, lines in a log."""
    if not speaks():
        yield from items
        return
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(items, description=what, total=total, console=Console(stderr=True))
        return
    yield from _lines(items, what, total)


def _lines(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    started = said = time.monotonic()
    tenth = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        # Quiet for quick loops; otherwise a line per tenth or per half minute, whichever comes first.
        reached = done * 10 // total if total else 0
        if now - started > 5 and (reached > tenth or now - said > 30):
            left = f", {(now - started) / done * (total - done):.0f} s left" if total else ""
            print(
                f"{what}: {done}{f'/{total}' if total else ''} in {now - started:.0f} s{left}",
                file=sys.stderr,
                flush=True,
            )
            said, tenth = now, reached
