"""What the queue takes in, whom it makes room for, and what it says when it refuses."""

import weakref

import pytest

from app.errors import Overloaded, TooLarge
from tests.batching.world import STEADY, World
from tests.collector import no_collector


def busy(*, instances: int = 1, **options: object) -> World:
    """A world whose instances are all under way with one row each."""
    world = World(instances=instances, **options)
    for index in range(world.count):
        world.submit(key=("busy", index), client="busy")
        world.turn()
    return world


def test_a_full_queue_is_refused_with_a_time_to_come_back() -> None:
    world = busy(max_queue_rows=4)
    waiting = world.submit(3)
    with pytest.raises(Overloaded, match="3 rows wait, 4 may") as refusal:
        world.submit(2)
    assert refusal.value.reason == "queue_full"
    assert refusal.value.retry_after >= 1
    assert world.value("bonsai_rejected_total", reason="queue_full") == 1
    world.drain()
    assert waiting.answered_right


def test_the_queue_may_be_filled_to_its_bound() -> None:
    world = busy(max_queue_rows=4)
    tickets = [world.submit(rows) for rows in (3, 1)]
    world.drain()
    assert all(ticket.answered_right for ticket in tickets)


def test_a_request_that_was_refused_leaves_nothing_behind() -> None:
    world = busy(max_queue_rows=1)
    world.submit()
    with pytest.raises(Overloaded):
        world.submit()
    assert world.value("bonsai_requests_in_flight") == 2
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


def test_the_backlog_is_what_waits_by_what_runs_take() -> None:
    world = busy(costs=STEADY)
    assert world.backlog == 1  # the run under way
    world.submit(6)
    assert world.backlog == 1 + 6
    world.now += 0.5
    assert world.backlog == 0.5 + 6


def test_two_instances_halve_the_backlog() -> None:
    world = busy(instances=2, costs=STEADY)
    world.submit(6)
    assert world.backlog == 1 + 6 / 2


def test_an_idle_batcher_has_no_backlog() -> None:
    world = World(costs=STEADY)
    world.submit()
    world.drain()
    assert world.backlog == 0


def test_retry_after_covers_the_backlog() -> None:
    world = busy(costs=STEADY, max_queue_rows=5)
    world.submit(5)
    with pytest.raises(Overloaded) as refusal:
        world.submit()
    assert refusal.value.retry_after == 6


@pytest.mark.parametrize(("within", "taken"), [(7.9, False), (8.1, True)])
def test_what_would_be_answered_too_late_is_refused_at_the_door(within: float, taken: bool) -> None:
    world = busy(costs=STEADY)
    world.submit(5, within=7)  # 1 s for the run under way, 5 for these rows, 2 for its own
    if taken:
        ticket = world.submit(2, within=within)
        world.drain()
        assert ticket.answered_right
        return
    with pytest.raises(Overloaded, match="the answer would take 8000 ms, the deadline is in 7900 ms") as refusal:
        world.submit(2, within=within)
    assert refusal.value.reason == "deadline"
    assert refusal.value.retry_after == 6
    assert world.value("bonsai_rejected_total", reason="deadline") == 1


@pytest.mark.parametrize("is_free", [False, True], ids=["in the queue", "in the batch that is about to be"])
def test_what_its_own_client_has_without_a_deadline_is_not_ahead_of_one(is_free: bool) -> None:
    world = World(costs=STEADY, max_batch_rows=1) if is_free else busy(costs=STEADY, max_batch_rows=1)
    for _ in range(999):
        world.submit()
    ticket = world.submit(within=2.5)
    world.settle()
    while not ticket.outcomes:
        world.now += 1.0
        world.complete()
    assert ticket.answered_right


def test_what_its_own_client_has_with_later_deadlines_is_not_ahead_either() -> None:
    world = busy(costs=STEADY)
    world.submit(20, within=30)
    with pytest.raises(Overloaded):
        world.submit(within=20.5, client="other", level=3)
    assert world.submit(within=5)
    with pytest.raises(Overloaded):
        world.submit(6, within=7)


def test_retry_after_goes_by_what_runs_take_now() -> None:
    """Not by what they took at load."""
    world = World(costs=((1, 10.0),), max_batch_rows=1, max_queue_rows=1, takes=lambda run: 100.0)
    for _ in range(3):
        world.submit()
        world.drain()
    world.submit()
    world.turn()
    world.submit()
    with pytest.raises(Overloaded) as full:
        world.submit()
    assert full.value.retry_after == pytest.approx(200, rel=0.1)
    with pytest.raises(Overloaded) as late:
        world.submit(within=1)
    assert late.value.retry_after == full.value.retry_after


def test_the_bound_holds_where_the_displaced_submit_again_at_once() -> None:
    world = busy(max_queue_rows=4)
    refused: list[float] = []

    def again() -> None:
        try:
            world.submit(client="large")
        except Overloaded as error:
            refused.append(error.retry_after)

    for _ in range(4):
        world.submit(client="large").then = again
    small = world.submit(2, client="small")
    assert len(refused) == 2
    assert world.queue_rows == 4
    world.drain()
    assert small.answered_right


def test_an_idle_batcher_tries_even_what_is_predicted_to_be_late() -> None:
    world = World(costs=STEADY)
    ticket = world.submit(within=0.5)
    world.drain()
    assert ticket.answered_right


def test_a_free_instance_has_no_wait_to_be_counted() -> None:
    world = World(instances=2, costs=STEADY)
    world.submit()
    world.turn()
    assert world.submit(within=1.1)


def test_a_free_instance_is_not_enough_where_the_run_itself_takes_too_long() -> None:
    world = World(instances=2, costs=STEADY)
    world.submit()
    world.turn()
    with pytest.raises(Overloaded):
        world.submit(within=0.9)


def test_a_run_that_lasts_longer_than_it_should_is_expected_to_end_now() -> None:
    world = busy(costs=STEADY)
    world.now += 30
    assert world.backlog == 0
    assert world.submit(within=1.1)


def test_only_what_goes_before_it_counts_for_a_higher_priority() -> None:
    world = busy(costs=STEADY)
    world.submit(20, within=21.5, level=3)
    with pytest.raises(Overloaded):
        world.submit(within=21.9, level=3)
    assert world.submit(within=5, level=2)


def test_only_what_goes_before_it_counts_for_a_client_with_little_waiting() -> None:
    world = busy(costs=STEADY)
    for _ in range(20):
        world.submit(client="a", within=21.5)
    with pytest.raises(Overloaded):
        world.submit(within=21.9, client="a")
    assert world.submit(within=5, client="b")


@pytest.mark.parametrize(("within", "taken"), [(16.9, False), (17.1, True)])
def test_the_turn_of_another_client_counts_with_all_of_its_rows(within: float, taken: bool) -> None:
    world = World(takes=lambda run: float(len(run.rows)), costs=STEADY)
    for _ in range(2):
        world.submit(8, client="a")
        world.settle()
    if not taken:
        with pytest.raises(Overloaded, match="the answer would take 17000 ms"):
            world.submit(within=within, client="b")
        return
    ticket = world.submit(within=within, client="b")
    world.drain()
    assert ticket.answered_right


def test_many_rows_of_another_client_count_by_its_turns() -> None:
    world = busy(costs=STEADY)
    for _ in range(20):
        world.submit(8, client="a")
    with pytest.raises(Overloaded):
        world.submit(within=9.9, client="b")
    assert world.submit(within=10.1, client="b")


def test_what_has_no_costs_yet_is_taken() -> None:
    world = busy()
    world.submit(100)
    assert world.submit(within=0.001)


def test_a_refused_deadline_displaces_nobody() -> None:
    world = busy(costs=STEADY, max_queue_rows=4)
    held = world.submit(4, client="a")
    with pytest.raises(Overloaded):
        world.submit(within=0.5, client="b")
    world.drain()
    assert held.answered_right


def test_a_refusal_leaves_nothing_to_the_garbage_collector() -> None:
    """It would keep the request that was refused, in the very moment when there are too many."""
    world = busy(max_queue_rows=1)
    world.submit()

    def refusal() -> "weakref.ref[Overloaded]":
        try:
            world.submit()
        except Overloaded as error:
            return weakref.ref(error)
        raise AssertionError("it was let in")

    with no_collector():
        assert refusal()() is None
