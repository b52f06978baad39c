"""Makes the next batch while this one is computed."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def ahead(make: Callable[[int], T], numbers: range) -> Iterator[tuple[int, T]]:
    """(number, make(number)) in order, the next being made by a second thread while this one is used.

    For a `make` that touches no state that its user touches, so that the result is the same. Its exceptions are
    raised here.
    """
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, "batches") as thread:
        thread.submit(_alone).result()
        torch.set_num_threads(threads)  # new threads of others start with what was last said anywhere
        coming = thread.submit(make, numbers[0]) if numbers else None
        for number in numbers:
            assert coming is not None
            made = coming.result()
            coming = thread.submit(make, number + 1) if number + 1 in numbers else None
            yield number, made


def _alone() -> None:
    """A second team of torch's threads would keep the processors of the first busy with waiting."""
    torch.get_num_threads()  # else this thread's first work would set the number again
    torch.set_num_threads(1)
