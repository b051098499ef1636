"""Requests whose time runs out while they wait."""

import pytest

from app.errors import DeadlineExceeded
from tests.batching.world import World, breaks_on


@pytest.mark.parametrize(("waited", "executed"), [(4.9, True), (5.0, False), (5.1, False)])
def test_an_expired_request_is_answered_and_never_executed(waited: float, executed: bool) -> None:
    world = World()
    world.submit()
    world.turn()
    ticket = world.submit(deadline=world.now + 5)
    world.now += waited
    world.drain()
    assert (2 in [number for run in world.runs for number in run.tickets]) is executed
    assert isinstance(ticket.outcome, DeadlineExceeded) is not executed


def test_an_expired_request_makes_room_for_the_ones_behind_it() -> None:
    world = World(max_batch_rows=2)
    world.submit()
    world.turn()
    expired = world.submit(2, deadline=world.now + 1)
    behind = [world.submit(), world.submit()]
    world.now += 2
    world.complete()
    world.complete()
    assert isinstance(expired.error, DeadlineExceeded)
    assert world.batches() == [[1], [3, 4]]
    assert all(ticket.answered_right for ticket in behind)


def test_where_everything_expired_nothing_runs_and_everybody_is_answered() -> None:
    world = World()
    world.submit()
    world.turn()
    keys = ("a", "b", None, None)
    expired = [world.submit(key=key, deadline=world.now + 1) for key in keys]
    world.now += 2
    world.complete()
    assert all(isinstance(ticket.error, DeadlineExceeded) for ticket in expired)
    assert world.batches() == [[1]]
    assert world.batcher.idle
    assert world.value("bonsai_queue_rows") == 0


def test_a_request_that_arrives_expired_is_not_executed() -> None:
    world = World()
    ticket = world.submit(deadline=world.now)
    world.drain()
    assert isinstance(ticket.error, DeadlineExceeded)
    assert world.runs == []


def test_a_deadline_that_passes_during_the_run_does_not_take_the_answer_away() -> None:
    world = World()
    ticket = world.submit(deadline=world.now + 1)
    world.turn()
    world.now += 2
    world.complete()
    assert ticket.answered_right


def test_an_expired_shape_does_not_keep_another_from_running() -> None:
    world = World()
    world.submit()
    world.turn()
    world.submit(key="a", deadline=world.now + 1)
    other = world.submit(key="b")
    world.now += 2
    world.complete()
    world.complete()
    assert other.answered_right


def test_half_of_a_failed_batch_is_not_executed_after_its_deadline() -> None:
    world = World(breaks_on(1))
    culprit, innocent = world.submit(), world.submit(deadline=world.now + 1)
    world.turn()
    world.now += 2
    world.drain()
    assert culprit.error
    assert isinstance(innocent.error, DeadlineExceeded)
    assert world.batches() == [[1, 2], [1]]
