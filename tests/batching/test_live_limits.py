"""Limits and instances that change while requests wait and run."""

import pytest

from app.errors import Overloaded
from tests.batching.world import World


def busy(**options: int) -> World:
    """A world whose one instance is under way with one row."""
    world = World(**options)
    world.submit(key="busy")
    world.settle()
    return world


def test_a_new_batch_limit_holds_for_the_next_batch() -> None:
    world = busy(max_batch_rows=4)
    for _ in range(6):
        world.submit()
    world.limit(max_batch_rows=2)
    world.complete()
    world.limit(max_batch_rows=3)
    world.complete()
    assert world.batches() == [[1], [2, 3], [4, 5, 6]]


def test_a_smaller_batch_limit_does_not_strand_a_larger_request_that_waits() -> None:
    world = busy(max_batch_rows=8)
    tickets = [world.submit(6), world.submit(1)]
    world.limit(max_batch_rows=4)
    world.drain()
    assert world.batches() == [[1], [2], [3]]
    assert all(ticket.answered_right for ticket in tickets)


def test_a_larger_batch_limit_lets_the_parts_of_a_split_request_share_a_run() -> None:
    world = busy(max_batch_rows=2)
    ticket = world.submit(6)
    world.limit(max_batch_rows=8)
    world.drain()
    assert world.batches() == [[1], [2]]
    assert ticket.answered_right


def test_a_new_queue_limit_holds_for_the_next_request() -> None:
    world = busy(max_queue_rows=2)
    world.submit(2)
    world.limit(max_queue_rows=4)
    world.submit(2)
    world.limit(max_queue_rows=3)
    with pytest.raises(Overloaded):
        world.submit()
    world.drain()
    assert all(ticket.answered_right for ticket in world.tickets)


def test_a_new_delay_holds_for_the_next_request() -> None:
    world = World()
    world.limit(max_queue_delay_ms=500)
    world.settle()
    world.submit()
    world.wait(0.25)
    assert world.runs == []
    world.wait(0.25)
    assert world.batches() == [[1]]


def test_a_delay_that_is_taken_away_does_not_hold_back_the_next_request() -> None:
    world = World(max_queue_delay_ms=10_000)
    world.submit()
    world.settle()
    world.limit(max_queue_delay_ms=0)
    world.submit()
    world.settle()
    assert world.batches() == [[1, 2]]


def test_new_instances_take_what_waits() -> None:
    world = World()
    for key in ("a", "b", "c", "d"):
        world.submit(key=key)
    world.settle()
    world.resize(3)
    world.settle()
    assert world.batches() == [[1], [2], [3]]


def test_instances_taken_away_finish_what_they_run_and_start_nothing() -> None:
    world = World(instances=3)
    for key in ("a", "b", "c"):
        world.submit(key=key)
    world.settle()
    world.resize(1)
    world.submit(key="d")
    for _ in range(2):
        world.complete()
        assert world.batches() == [[1], [2], [3]]
    world.complete()
    assert world.batches() == [[1], [2], [3], [4]]


def test_what_runs_when_the_instances_are_replaced_is_answered() -> None:
    """A reload of the instances hands the batcher another executor; the old one delivers what it runs."""
    world, successor = World(instances=2), World(instances=1)
    for key in ("a", "b", "c"):
        world.submit(key=key)
    world.settle()
    world.batcher.apply(world.limits, successor)
    world.complete()
    world.complete()
    assert len(successor.under_way) == 1
    successor.complete()
    assert all(ticket.answered_right for ticket in world.tickets)
    assert world.batcher.idle
