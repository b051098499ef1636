"""What is said of batches as they form, and of what waits for them."""

from collections.abc import Callable

import pytest

from app.batching.runs import Result
from app.protocol.messages import Outputs
from tests.batching.world import World


def test_metrics_follow_the_queue_and_the_batches() -> None:
    world = World()
    world.submit(2)
    assert world.value("bonsai_queue_rows") == 2
    assert world.value("bonsai_requests_in_flight") == 1
    world.settle()
    world.submit(3)
    assert world.value("bonsai_queue_rows") == 3
    assert world.value("bonsai_requests_in_flight") == 2
    world.drain()
    assert world.value("bonsai_queue_rows") == 0
    assert world.value("bonsai_requests_in_flight") == 0
    assert world.value("bonsai_batch_rows_count") == 2
    assert world.value("bonsai_batch_rows_sum") == 5


def test_a_batch_that_leaves_something_behind_was_full() -> None:
    world = World(max_batch_rows=2)
    for _ in range(3):
        world.submit()
    world.drain()
    assert world.value("bonsai_batches_total", reason="full") == 1
    assert world.value("bonsai_batches_total", reason="idle") == 1


@pytest.mark.parametrize(("rows", "reason"), [(3, "idle"), (4, "full")])
def test_a_batch_of_as_many_rows_as_may_be_was_full(rows: int, reason: str) -> None:
    world = World(max_batch_rows=4)
    for _ in range(rows):
        world.submit()
    world.drain()
    assert world.value("bonsai_batches_total", reason=reason) == 1


class Faulty(World):
    """An executor whose second start raises what no batch can be blamed for."""

    asked = 0

    def start(self, work: Callable[[], Outputs], done: Callable[[Result], None]) -> None:
        self.asked += 1
        if self.asked == 2:
            raise KeyboardInterrupt
        super().start(work, done)


def test_after_a_fault_while_batches_were_formed_the_next_ones_are() -> None:
    world = Faulty(instances=2)
    world.submit()
    world.settle()
    world.submit()
    with pytest.raises(KeyboardInterrupt):
        world.settle()
    third = world.submit()
    world.complete()
    world.complete()
    assert third.answered_right


def test_pending_requests_are_those_that_wait() -> None:
    world = World(max_batch_rows=2)
    for _ in range(5):
        world.submit()
    world.settle()
    assert world.load.pending == 3


def test_a_split_request_that_runs_is_not_pending() -> None:
    world = World(instances=3, max_batch_rows=2)
    world.submit(6)
    world.settle()
    assert world.load.pending == 0


def test_a_cancelled_request_that_still_runs_is_not_pending() -> None:
    world = World()
    world.cancel(world.submit())
    gone, _ = world.submit(), world.submit()
    world.settle()
    world.cancel(gone)
    assert world.load.pending == 0


def test_it_is_idle_only_while_nothing_waits_and_nothing_runs() -> None:
    world = World()
    assert world.batcher.idle
    world.submit()
    assert not world.batcher.idle
    world.settle()
    assert not world.batcher.idle
    world.complete()
    assert world.batcher.idle
