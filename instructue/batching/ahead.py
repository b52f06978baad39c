"""Makes the next batch while this one is computed."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], numbers: range) -> Iterator[tuple[int, T]]:
    """(number, make(number)) in order, the next being made by a second thread while this one is used.

    For a `make` that touches no state that its user touches, so that the result is the same. Its exceptions are
    raised here.
    """
    with ThreadPoolExecutor(1, "batches") as thread:
        coming = thread.submit(make, numbers[0]) if numbers else None
        for number in numbers:
            assert coming is not None
            made = coming.result()
            coming = thread.submit(make, number + 1) if number + 1 in numbers else None
            yield number, made
