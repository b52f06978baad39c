"""Seconds, the machine's own rate, and how busy it is."""

import os
import statistics
import time
from collections.abc import Callable

import torch

WARM = 5.0  # seconds
PRODUCT = 4096  # rows and columns of the matrix product that the machine is judged by


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run in each round, one run after the other, so that a slow minute hits all of them.

    A run below WARM seconds is done twice, and the second time counts: in use it follows its like, and what the run
    before it left in caches and took of the memory is none of its own.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, work in runs.items():
            first = seconds(work)
            times[name].append(seconds(work) if first < WARM else first)
    return times


def product(dtype: torch.dtype) -> Callable[[], object]:
    """Work that multiplies two large square matrices; see product_flops."""
    a, b = torch.randn(PRODUCT, PRODUCT).to(dtype), torch.randn(PRODUCT, PRODUCT).to(dtype)
    return lambda: a @ b


def product_flops() -> int:
    return 2 * PRODUCT**3


def ratio(above: list[float], below: list[float], scale: float = 1.0) -> float:
    """Median over the rounds of above / below, times scale."""
    return scale * statistics.median(a / b for a, b in zip(above, below, strict=True))


def load() -> float:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2)
