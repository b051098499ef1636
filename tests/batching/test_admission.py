"""What the queue takes in, and what it says about itself."""

import pytest

from app.errors import Overloaded, TooLarge
from tests.batching.world import World, breaks_on


def busy(**options: int) -> World:
    """A world whose instances are all under way with one row each."""
    world = World(**options)
    for index in range(world.count):
        world.submit(key=("busy", index))
        world.turn()
    return world


def test_a_full_queue_is_refused_with_a_time_to_come_back() -> None:
    world = busy(max_queue_rows=4)
    waiting = world.submit(3)
    with pytest.raises(Overloaded, match="3 rows wait, 4 may") as refusal:
        world.submit(2)
    assert refusal.value.retry_after >= 1
    world.drain()
    assert waiting.answered_right


def test_the_queue_may_be_filled_to_its_bound() -> None:
    world = busy(max_queue_rows=4)
    tickets = [world.submit(rows) for rows in (3, 1)]
    world.drain()
    assert all(ticket.answered_right for ticket in tickets)


def test_a_request_that_was_refused_is_not_answered_later() -> None:
    world = busy(max_queue_rows=1)
    world.submit()
    with pytest.raises(Overloaded):
        world.submit()
    world.drain()
    assert world.batches() == [[1], [2]]


def test_rows_that_run_do_not_count_as_waiting() -> None:
    world = World(max_batch_rows=4, max_queue_rows=4)
    world.submit(4)
    world.turn()
    assert world.submit(4)


def test_a_request_larger_than_the_queue_can_never_be_taken() -> None:
    world = World(max_queue_rows=4)
    with pytest.raises(TooLarge, match="at most 4 rows, got 5"):
        world.submit(5)


def test_a_full_queue_takes_requests_again_once_it_has_drained() -> None:
    world = busy(max_queue_rows=1)
    world.submit()
    world.drain()
    assert world.submit()


def test_rows_without_a_key_count_too() -> None:
    world = busy(max_queue_rows=4)
    world.submit(3, key=None)
    with pytest.raises(Overloaded):
        world.submit(2)


def test_the_backlog_is_the_waiting_rows_at_the_pace_of_late() -> None:
    world = World(max_batch_rows=4)
    world.submit(4)
    world.turn()
    world.submit(6)
    assert world.batcher.backlog() == 0  # nothing has been measured yet
    world.now += 8
    world.complete()
    assert world.batcher.backlog() == pytest.approx(2 * 2.0)


def test_two_instances_halve_the_backlog() -> None:
    world = World(instances=2, max_batch_rows=1)
    world.submit()
    world.turn()
    world.now += 6
    world.complete()
    for _ in range(4):
        world.submit()
        world.turn()
    assert world.batcher.backlog() == pytest.approx(2 * 6.0 / 2)


def test_the_pace_follows_what_runs_take_now() -> None:
    world = World()
    for seconds in [100.0] + [1.0] * 50:
        world.submit()
        world.turn()
        world.now += seconds
        world.complete()
    world.submit(10)
    assert world.batcher.backlog() == pytest.approx(10, rel=0.01)


def test_retry_after_covers_the_backlog() -> None:
    world = World(max_batch_rows=1, max_queue_rows=5)
    world.submit()
    world.turn()
    world.submit()
    world.now += 7
    world.complete()
    for _ in range(5):
        world.submit()
    with pytest.raises(Overloaded) as refusal:
        world.submit()
    assert refusal.value.retry_after >= 5 * 7


def test_an_empty_queue_has_no_backlog() -> None:
    world = World()
    world.submit()
    world.turn()
    world.now += 5
    world.complete()
    assert world.batcher.backlog() == 0


def test_a_new_batch_limit_holds_for_the_next_batch() -> None:
    world = busy(max_batch_rows=4)
    for _ in range(6):
        world.submit()
    world.batcher.max_batch_rows = 2
    world.complete()
    world.batcher.max_batch_rows = 3
    world.complete()
    assert world.batches() == [[1], [2, 3], [4, 5, 6]]


def test_a_smaller_batch_limit_does_not_strand_a_larger_request_that_waits() -> None:
    world = busy(max_batch_rows=8)
    tickets = [world.submit(6), world.submit(1)]
    world.batcher.max_batch_rows = 4
    world.drain()
    assert world.batches() == [[1], [2], [3]]
    assert all(ticket.answered_right for ticket in tickets)


def test_a_new_queue_limit_holds_for_the_next_request() -> None:
    world = busy(max_queue_rows=2)
    world.submit(2)
    world.batcher.max_queue_rows = 4
    world.submit(2)
    world.batcher.max_queue_rows = 3
    with pytest.raises(Overloaded):
        world.submit()
    world.drain()
    assert all(ticket.answered_right for ticket in world.tickets)


def test_it_is_idle_only_while_nothing_waits_and_nothing_runs() -> None:
    world = World()
    assert world.batcher.idle
    world.submit()
    assert not world.batcher.idle
    world.turn()
    assert not world.batcher.idle
    world.complete()
    assert world.batcher.idle


def test_it_is_not_idle_while_halves_of_a_failed_batch_are_to_be_tried() -> None:
    world = World(breaks_on(1))
    world.submit()
    world.submit()
    world.turn()
    seen = []
    while world.under_way:
        seen.append(world.batcher.idle)
        world.complete()
    assert seen == [False] * 3
    assert world.batcher.idle
