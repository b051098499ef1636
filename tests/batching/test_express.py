"""The short way of a model on the loop's thread: what it takes, what it leaves to the batcher."""

import pytest

from app.errors import ExecutionFailed, Overloaded
from tests.batching.models import breaks_on
from tests.batching.records import Ticket
from tests.batching.world import World

KNEE = ((1, 1.0), (2, 1.5), (8, 8.0))
"""Batching pays up to two rows."""


def submit(world: World, *rows: int) -> list[Ticket]:
    return [world.submit(some, key=()) for some in rows]


def test_what_comes_in_one_turn_shares_a_run() -> None:
    world = World(express=True)
    tickets = submit(world, 1, 3, 2)
    assert world.load == (6, 3, 3)
    assert world.runs == []
    world.settle()
    assert world.batches() == [[1, 2, 3]]
    assert all(ticket.answered_right for ticket in tickets)
    assert world.load == (0, 0, 0)
    assert world.value("bonsai_batch_rows_sum") == 6
    assert world.value("bonsai_batches_total", reason="idle") == 1


def test_a_full_batch_is_called_full() -> None:
    world = World(express=True, max_batch_rows=4)
    submit(world, 2, 2)
    world.settle()
    assert world.value("bonsai_batches_total", reason="full") == 1


@pytest.mark.parametrize("rows", [(3, 3), (9,), (1, 8)])
def test_more_than_one_batch_goes_through_the_queue(rows: tuple[int, ...]) -> None:
    world = World(express=True, max_batch_rows=4)
    tickets = submit(world, *rows)
    assert world.queue_rows == sum(rows)
    world.drain()
    assert max(len(run.rows) for run in world.runs) <= 4
    assert all(ticket.answered_right for ticket in tickets)


def test_a_batch_is_not_larger_than_pays() -> None:
    world = World(express=True, costs=KNEE)
    tickets = submit(world, 1, 1, 1)
    world.drain()
    assert world.batches() == [[1, 2], [3]]
    assert all(ticket.answered_right for ticket in tickets)


def test_a_deadline_sends_everything_through_the_queue_in_order() -> None:
    world = World(express=True)
    submit(world, 1)
    world.submit(1, key=(), within=5)
    submit(world, 1)
    assert world.queue_rows == 3
    world.drain()
    assert world.batches() == [[1, 2, 3]]


def test_in_a_failing_batch_only_the_culprit_fails() -> None:
    world = World(breaks_on(2), express=True)
    tickets = submit(world, 1, 1, 1)
    world.drain()
    assert tickets[0].answered_right
    assert tickets[2].answered_right
    assert isinstance(tickets[1].outcome, ExecutionFailed)
    assert world.load == (0, 0, 0)


def test_a_request_that_fails_alone_is_run_once() -> None:
    world = World(breaks_on(1), express=True)
    (ticket,) = submit(world, 1)
    world.drain()
    assert isinstance(ticket.outcome, ExecutionFailed)
    assert len(world.runs) == 1


def test_what_is_cancelled_before_the_turn_ends_is_not_run() -> None:
    world = World(express=True)
    first, second, third = submit(world, 1, 2, 1)
    world.cancel(second)
    world.cancel(second)
    assert world.load == (2, 2, 2)
    world.settle()
    assert world.batches() == [[1, 3]]
    assert (first.answered_right, second.outcomes, third.answered_right) == (True, [], True)
    assert world.value("bonsai_cancelled_total", stage="queue") == 1


def test_a_waiter_may_cancel_another_of_its_batch() -> None:
    world = World(express=True)
    first, second = submit(world, 1, 1)
    first.then = lambda: world.cancel(second)
    world.settle()
    assert second.outcomes == []
    assert world.value("bonsai_discarded_answers_total") == 1


def test_a_waiter_that_fails_leaves_no_other_waiting() -> None:
    world = World(express=True)
    first, second = submit(world, 1, 1)

    def fail() -> None:
        raise RuntimeError("a waiter's own fault")

    first.then = fail
    world.settle()
    assert second.answered_right


def test_whoever_is_answered_may_send_the_next_one() -> None:
    world = World(express=True)
    (first,) = submit(world, 1)
    first.then = lambda: submit(world, 1)
    world.settle()
    assert world.batches() == [[1], [2]]


def test_a_delay_is_the_batchers_and_limits_change_live() -> None:
    world = World(express=True)
    submit(world, 1)
    world.limit(max_queue_delay_ms=500)
    submit(world, 1)
    assert world.queue_rows == 2
    world.wait(1)
    world.limit(max_queue_delay_ms=0)
    submit(world, 1)
    assert world.queue_rows == 0
    world.drain()
    assert world.batches() == [[1, 2], [3]]


def test_what_new_limits_leave_no_room_for_is_told() -> None:
    world = World(express=True)
    first, second = submit(world, 1, 1)
    world.limit(max_queue_rows=1)
    world.drain()
    assert first.answered_right
    assert isinstance(second.outcome, Overloaded)


def test_there_is_room_for_a_batch_unless_something_waits() -> None:
    world = World(express=True, costs=KNEE)
    assert world.express is not None
    assert world.express.room() == 2
    submit(world, 1)
    assert world.express.room() == 0
    world.submit(1, key=(), within=100)
    assert world.express.room() == 0
    world.drain()
    assert world.express.room() > 0
    world.limit(max_queue_delay_ms=500)
    assert world.express.room() == 0
