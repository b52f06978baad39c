"""Batches made ahead come in order, one ahead at most, and their errors arrive; all of a batch moves to the device."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

from instructue.batching.ahead import ahead
from instructue.training.devices import moved


class Steps:
    """Numbers as batches; remembers which were made and where. Number 3 cannot be made."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.threads: set[threading.Thread] = set()

    def make(self, number: int) -> int:
        if number == 3:
            raise KeyError("planted")
        self.made.append(number)
        self.threads.add(threading.current_thread())
        return number * 10


def test_the_next_batch_is_made_meanwhile_and_no_further_one():
    steps = Steps()
    given = []
    for number, batch in ahead(steps.make, range(3)):
        until = time.monotonic() + 10
        while len(steps.made) < min(number + 2, 3) and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.02)  # for one more, were it allowed
        assert steps.made == list(range(min(number + 2, 3)))
        given.append((number, batch))
    assert given == [(0, 0), (1, 10), (2, 20)]
    assert threading.current_thread() not in steps.threads and len(steps.threads) == 1
    assert not list(ahead(steps.make, range(2, 2)))


def test_an_error_in_making_a_batch_arrives_at_its_step():
    given = []
    with pytest.raises(KeyError, match="planted"):
        for number, _ in ahead(Steps().make, range(1, 5)):
            given.append(number)
    assert given == [1, 2]


def test_stopping_early_leaves_no_thread():
    steps = Steps()
    for _ in ahead(steps.make, range(3)):
        break
    assert not [t for t in steps.threads if t.is_alive()]


@dataclass
class Inner:
    ids: torch.Tensor
    name: str = "kept"


@dataclass
class Outer:
    here: torch.Tensor
    groups: list[Inner]
    none: torch.Tensor | None = None


def test_moving_takes_every_tensor_along():
    thing = Outer(torch.ones(2), [Inner(torch.ones(3)), Inner(torch.ones(4))])
    there = moved(thing, torch.device("meta"))
    assert {t.device.type for t in (there.here, *(g.ids for g in there.groups))} == {"meta"}
    assert there.groups[1].name == "kept" and there.none is None and thing.here.device.type == "cpu"


def test_the_second_thread_computes_alone_and_leaves_others_theirs():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = [made for _, made in ahead(lambda number: torch.get_num_threads(), range(3))]
        with ThreadPoolExecutor(1) as fresh:
            assert seen == [1, 1, 1] and fresh.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
