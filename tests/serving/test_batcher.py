"""The thread that runs the model: what is run together, in which order, and what happens to failures and to the impatient."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from predgen.serving.batcher import Batcher, ModelTurn, QueueFullError, StoppedError, Work

WAIT_S = 10


class Model:
    """Doubles numbers, one turn at a time and only when it may; remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.may_run = threading.Event()
        self.began = threading.Event()

    def run(self, items: list[int]) -> list[int]:
        self.began.set()
        assert self.may_run.wait(WAIT_S)
        self.calls.append(list(items))
        if -1 in items:
            raise ValueError("minus one")
        return [2 * item for item in items]

    def work(self, *items: int, key: str = "a", size: int = 1, budget: int = 4) -> Work:
        return Work((key,), self.run, items, [size] * len(items), budget)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def turns() -> list[ModelTurn]:
    return []


@pytest.fixture
def batcher(model: Model, turns: list[ModelTurn]) -> Iterator[Batcher]:
    found = Batcher(100, turns.append)
    found.start()
    yield found
    model.may_run.set()
    found.stop(WAIT_S)


def held(batcher: Batcher, model: Model) -> Any:
    """Keep the thread busy with one item, so that what comes now gathers."""
    first = batcher.submit(model.work(0))
    assert model.began.wait(WAIT_S)
    return first


def test_what_waits_is_run_together_and_each_gets_its_own(
    batcher: Batcher, model: Model, turns: list[ModelTurn]
) -> None:
    first = held(batcher, model)
    others = [batcher.submit(model.work(n)) for n in (1, 2, 3)]
    model.may_run.set()
    assert [f.result(WAIT_S) for f in (first, *others)] == [[0], [2], [4], [6]]
    assert model.calls == [[0], [1, 2, 3]]
    batcher.stop(WAIT_S)
    assert [(turn.works, turn.items, turn.tokens) for turn in turns] == [(1, 1, 1), (3, 3, 3)]


def test_a_turn_keeps_to_its_budget_with_all_as_wide_as_the_widest(batcher: Batcher, model: Model) -> None:
    held(batcher, model)
    works = [model.work(1, size=1, budget=10), model.work(2, size=5), model.work(3, size=1), model.work(4, size=11)]
    futures = [batcher.submit(work) for work in works]
    model.may_run.set()
    assert [f.result(WAIT_S) for f in futures] == [[2], [4], [6], [8]]
    # 2 x 5 tokens are 10; a third item would make them 15; an item beyond the budget is run alone.
    assert model.calls == [[0], [1, 2], [3], [4]]


def test_a_large_request_lets_small_ones_pass(batcher: Batcher, model: Model) -> None:
    held(batcher, model)
    large = batcher.submit(model.work(*range(1, 8)))
    small = batcher.submit(model.work(9))
    model.may_run.set()
    assert large.result(WAIT_S) == [2, 4, 6, 8, 10, 12, 14]
    assert small.result(WAIT_S) == [18]
    assert model.calls == [[0], [1, 2, 3, 4], [9, 5, 6, 7]]


def test_other_keys_are_not_mixed(batcher: Batcher, model: Model) -> None:
    held(batcher, model)
    futures = [batcher.submit(model.work(n, key="ab"[n % 2])) for n in (1, 2, 3)]
    model.may_run.set()
    assert [f.result(WAIT_S) for f in futures] == [[2], [4], [6]]
    assert model.calls == [[0], [1, 3], [2]]


def test_a_failure_concerns_its_own_request_alone(batcher: Batcher, model: Model) -> None:
    held(batcher, model)
    good, bad, other = (batcher.submit(model.work(n)) for n in (1, -1, 2))
    model.may_run.set()
    assert (good.result(WAIT_S), other.result(WAIT_S)) == ([2], [4])
    with pytest.raises(ValueError, match="minus one"):
        bad.result(WAIT_S)
    assert batcher.is_alive
    assert batcher.submit(model.work(5)).result(WAIT_S) == [10]


def test_what_nobody_waits_for_is_not_run(batcher: Batcher, model: Model) -> None:
    held(batcher, model)
    gone, kept = batcher.submit(model.work(1)), batcher.submit(model.work(2))
    assert gone.cancel()
    assert batcher.n_items == 2  # the one that runs, and the one that is waited for
    model.may_run.set()
    assert kept.result(WAIT_S) == [4]
    assert model.calls == [[0], [2]]


def test_a_full_queue_refuses_and_says_when_to_come_back(model: Model) -> None:
    batcher = Batcher(3)
    batcher.start()
    held(batcher, model)
    fits = batcher.submit(model.work(1, 2))
    with pytest.raises(QueueFullError) as refused:
        batcher.submit(model.work(3))
    assert 1 <= refused.value.retry_after_s <= 60
    model.may_run.set()
    assert fits.result(WAIT_S) == [2, 4]
    assert batcher.submit(model.work(*range(5), budget=10)).result(WAIT_S) == [
        0,
        2,
        4,
        6,
        8,
    ]  # nothing waits: it is taken
    batcher.stop(WAIT_S)


def test_stopping_finishes_what_was_taken_and_takes_no_more(batcher: Batcher, model: Model) -> None:
    first = held(batcher, model)
    waiting = batcher.submit(model.work(1))
    stopping = threading.Thread(target=batcher.stop)
    stopping.start()
    while not batcher._is_stopped:
        pass
    with pytest.raises(StoppedError):
        batcher.submit(model.work(2))
    model.may_run.set()
    stopping.join(WAIT_S)
    assert (first.result(0), waiting.result(0)) == ([0], [2])
    assert not batcher.is_alive
