"""Requests whose time runs out: answered at that instant, never executed after it."""

import pytest

from app.errors import DeadlineExceeded
from tests.batching.models import breaks_on
from tests.batching.world import STEADY, World


def busy(**options: int) -> World:
    """A world whose one instance is under way."""
    world = World(**options)
    world.submit()
    world.settle()
    return world


@pytest.mark.parametrize(("waited", "executed"), [(4.9, True), (5.0, False), (5.1, False)])
def test_an_expired_request_is_never_executed(waited: float, executed: bool) -> None:
    world = busy()
    ticket = world.submit(within=5)
    world.now += waited
    world.complete()
    world.drain()
    assert (2 in [number for run in world.runs for number in run.tickets]) is executed
    assert isinstance(ticket.outcome, DeadlineExceeded) is not executed


def test_a_request_that_waits_is_answered_at_its_deadline() -> None:
    world = busy()
    ticket = world.submit(within=5)
    world.wait(60)
    assert isinstance(ticket.error, DeadlineExceeded)
    assert ticket.answered_at == 1005.0
    assert world.value("bonsai_queue_rows") == 0
    assert world.value("bonsai_deadline_misses_total") == 1


def test_a_request_that_runs_is_answered_at_its_deadline_and_its_late_answer_is_dropped() -> None:
    world = World()
    ticket, patient = world.submit(within=5), world.submit()
    world.wait(60)
    assert isinstance(ticket.error, DeadlineExceeded)
    assert ticket.answered_at == 1005.0
    world.complete()
    assert len(ticket.outcomes) == 1
    assert patient.answered_right


def test_a_run_whose_requests_have_all_expired_is_asked_to_halt() -> None:
    world = World()
    for seconds in (1, 2):
        world.submit(within=seconds)
    world.wait(1)
    assert not world.runs[0].halt.asked
    world.wait(1)
    assert world.runs[0].halt.asked


@pytest.mark.parametrize("early", [1e-9, 0.0005])
def test_a_timer_that_rings_a_little_early_costs_no_deadline(early: float) -> None:
    world = World(early=early)
    tickets = [world.submit(within=seconds) for seconds in (1, 2, 1.5)]
    world.wait(60)
    assert [ticket.answered_at for ticket in tickets] == pytest.approx([1001, 1002, 1001.5], abs=0.001)


def test_an_answer_is_not_delivered_after_its_deadline_where_the_loop_was_too_busy_to_ring() -> None:
    world = World()
    ticket = world.submit(within=1)
    world.settle()
    world.now += 2
    world.complete()
    assert isinstance(ticket.error, DeadlineExceeded)


def test_an_answer_in_time_is_not_followed_by_a_missed_deadline() -> None:
    world = World()
    ticket = world.submit(within=5)
    world.drain()
    world.wait(60)
    assert ticket.answered_right
    assert world.value("bonsai_deadline_misses_total") == 0


def test_an_expired_request_makes_room_for_the_ones_behind_it() -> None:
    world = busy(max_batch_rows=2)
    expired = world.submit(2, within=1)
    behind = [world.submit(), world.submit()]
    world.now += 2
    world.complete()
    world.complete()
    assert isinstance(expired.error, DeadlineExceeded)
    assert world.batches() == [[1], [3, 4]]
    assert all(ticket.answered_right for ticket in behind)


def test_while_others_wait_no_run_is_spent_on_an_answer_that_would_be_too_late() -> None:
    world = World(costs=((1, 10.0),), max_batch_rows=1)
    world.submit()
    world.settle()
    late, other = world.submit(within=21.0), world.submit()
    world.now += 12  # longer than foreseen
    world.complete()
    world.settle()
    assert isinstance(late.outcome, DeadlineExceeded)
    assert late.answered_at == 1012.0
    world.drain()
    assert world.batches() == [[1], [3]]
    assert other.answered_right


def test_an_answer_that_would_be_too_late_is_tried_for_where_nothing_else_waits() -> None:
    world = World(costs=((1, 10.0),), max_batch_rows=1)
    world.submit()
    world.settle()
    late = world.submit(within=21.0)
    world.now += 12  # longer than foreseen
    world.complete()
    world.now += 5  # quicker than ever before
    world.complete()
    assert late.answered_right


@pytest.mark.parametrize("rows", [8, 16, 20])
def test_the_parts_of_a_request_are_nothing_else_that_waits(rows: int) -> None:
    """Only a run can show that runs have become quicker, and a request of one batch is run for that."""
    world = World(costs=STEADY, takes=lambda run: 0.01)
    ticket = world.submit(rows, within=5)
    world.drain()
    assert ticket.answered_right


def test_beside_others_a_part_that_would_be_too_late_is_not_run() -> None:
    world = World(costs=STEADY)
    late, other = world.submit(16, within=5), world.submit(client="other")
    world.drain()
    assert isinstance(late.outcome, DeadlineExceeded)
    assert world.batches() == [[2]]
    assert other.answered_right


def test_where_everything_expired_nothing_runs_and_everybody_is_answered() -> None:
    world = busy()
    expired = [world.submit(key=key, within=1) for key in ("a", "b", None, None)]
    world.now += 2
    world.complete()
    assert all(isinstance(ticket.error, DeadlineExceeded) for ticket in expired)
    assert world.batches() == [[1]]
    assert world.batcher.idle
    assert world.value("bonsai_queue_rows") == 0


@pytest.mark.parametrize("within", [0, -1])
def test_a_request_that_arrives_expired_is_answered_and_not_executed(within: float) -> None:
    world = World()
    ticket = world.submit(within=within)
    world.drain()
    assert isinstance(ticket.error, DeadlineExceeded)
    assert world.runs == []


def test_an_expired_shape_does_not_keep_another_from_running() -> None:
    world = busy()
    world.submit(key="a", within=1)
    other = world.submit(key="b")
    world.now += 2
    world.complete()
    world.complete()
    assert other.answered_right


def test_half_of_a_failed_batch_is_not_executed_after_its_deadline() -> None:
    world = World(breaks_on(2))
    innocent, culprit = world.submit(within=1), world.submit()
    world.settle()
    world.now += 2
    world.complete()  # the loop was too busy to ring
    world.drain()
    assert isinstance(innocent.error, DeadlineExceeded)
    assert culprit.error
    assert world.batches() == [[1, 2], [2]]


def test_one_client_s_earliest_deadline_goes_first() -> None:
    world = busy(max_batch_rows=1)
    for within in (30, None, 10, 20):
        world.submit(within=within)
    world.drain()
    assert world.batches() == [[1], [4], [5], [2], [3]]


def test_no_deadline_is_a_deadline_far_away() -> None:
    world = busy(max_batch_rows=1)
    for within in (3600, None, 3600, 50):
        world.submit(within=within)
    world.drain()
    assert world.batches() == [[1], [5], [2], [3], [4]]


def test_a_deadline_of_one_client_does_not_overtake_another_client() -> None:
    world = busy(max_batch_rows=1)
    world.submit(client="a")
    for _ in range(2):
        world.submit(client="b", within=5)
    world.drain()
    assert world.batches() == [[1], [2], [3], [4]]


def test_a_waiter_of_an_expired_request_may_cancel_its_sibling() -> None:
    world = busy()
    expired, sibling, other = world.submit(within=1), world.submit(client="b"), world.submit(client="c")
    expired.then = lambda: world.cancel(sibling)
    world.now += 2
    world.complete()
    world.drain()
    assert sibling.outcomes == []
    assert other.answered_right
    assert world.batches() == [[1], [4]]
    assert world.starts == 2
