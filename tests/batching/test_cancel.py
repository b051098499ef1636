"""Clients that go away: in the queue, in a run with others, in a run for nobody else."""

from collections.abc import Callable
from weakref import WeakSet

import pytest

from app.batching.batch import Entry
from app.batching.runs import Result
from app.protocol.messages import Outputs, Timings
from tests.batching.models import breaks_on
from tests.batching.world import World


def busy(**options: int) -> World:
    """A world whose one instance is under way."""
    world = World(**options)
    world.submit(client="busy")
    world.settle()
    return world


def cancelled(world: World) -> dict[str, float]:
    """How many were cancelled at each stage, where any were."""
    counts = {stage: world.value("bonsai_cancelled_total", stage=stage) for stage in ("queue", "batch", "run")}
    return {stage: count for stage, count in counts.items() if count}


def test_a_cancelled_request_that_waits_is_neither_run_nor_answered() -> None:
    world = busy()
    gone, stays = world.submit(2), world.submit()
    world.cancel(gone)
    assert world.value("bonsai_queue_rows") == 1
    world.drain()
    assert gone.outcomes == []
    assert stays.answered_right
    assert world.batches() == [[1], [3]]
    assert cancelled(world) == {"queue": 1}


def test_a_request_may_be_cancelled_in_the_turn_that_it_came_in() -> None:
    world = World()
    gone = world.submit(3)
    world.cancel(gone)
    assert world.value("bonsai_queue_rows") == 0
    assert world.batcher.idle
    world.drain()
    assert world.starts == 0
    assert cancelled(world) == {"queue": 1}


def test_a_cancelled_request_in_a_run_with_others_is_not_answered_and_they_are() -> None:
    world = World()
    tickets = [world.submit() for _ in range(3)]
    world.settle()
    world.cancel(tickets[1])
    world.drain()
    assert tickets[1].outcomes == []
    assert tickets[0].answered_right
    assert tickets[2].answered_right
    assert not world.runs[0].halt.asked
    assert cancelled(world) == {"batch": 1}


def test_a_run_for_nobody_is_asked_to_halt() -> None:
    world = World()
    tickets = [world.submit() for _ in range(2)]
    world.settle()
    world.cancel(tickets[0])
    assert not world.runs[0].halt.asked
    world.cancel(tickets[1])
    assert world.runs[0].halt.asked
    assert cancelled(world) == {"batch": 1, "run": 1}
    world.drain()
    assert len(world.runs) == 1, "a run that was halted is not a failure to be searched"
    assert all(ticket.outcomes == [] for ticket in tickets)


@pytest.mark.parametrize("when", ["waiting", "running", "answered"])
def test_to_cancel_twice_is_to_cancel_once(when: str) -> None:
    world = World()
    ticket = world.submit()
    if when != "waiting":
        world.settle()
    if when == "answered":
        world.complete()
    for _ in range(2):
        world.cancel(ticket)
    world.drain()
    assert sum(cancelled(world).values()) == (when != "answered")
    assert world.value("bonsai_requests_in_flight") == 0


def test_a_cancelled_request_does_not_expire() -> None:
    world = World()
    ticket = world.submit(within=5)
    world.settle()
    world.cancel(ticket)
    world.wait(60)
    assert ticket.outcomes == []
    assert world.value("bonsai_deadline_misses_total") == 0


def test_a_culprit_that_is_cancelled_is_not_tried_again() -> None:
    world = World(breaks_on(1))
    culprit, innocent = world.submit(), world.submit()
    world.settle()
    world.cancel(culprit)
    world.drain()
    assert culprit.outcomes == []
    assert innocent.answered_right
    assert world.batches() == [[1, 2], [2]]


def test_a_half_whose_requests_are_all_cancelled_is_not_tried() -> None:
    world = World(breaks_on(1))
    tickets = [world.submit() for _ in range(4)]
    world.settle()
    world.complete()
    for ticket in tickets[2:]:
        world.cancel(ticket)
    world.drain()
    assert world.batches() == [[1, 2, 3, 4], [1, 2], [1], [2]]
    assert world.batcher.idle


@pytest.mark.parametrize(("when", "stages"), [("waiting", {"queue": 1}), ("running", {"run": 1})])
def test_all_parts_of_a_cancelled_split_request_are_dropped(when: str, stages: dict[str, float]) -> None:
    world = World(max_batch_rows=2)
    ticket = world.submit(7)
    if when == "running":
        world.settle()
    world.cancel(ticket)
    assert world.value("bonsai_queue_rows") == 0
    world.drain()
    assert ticket.outcomes == []
    assert len(world.runs) == (when == "running")
    assert all(run.halt.asked for run in world.runs)
    assert cancelled(world) == stages
    assert world.value("bonsai_requests_in_flight") == 0


def test_a_part_beside_another_request_leaves_the_run_to_it() -> None:
    world = World(max_batch_rows=4)
    split, other = world.submit(6), world.submit(2)
    world.settle()
    world.complete()
    world.cancel(split)
    world.drain()
    assert cancelled(world) == {"batch": 1}
    assert split.outcomes == []
    assert other.answered_right


def test_a_reply_may_cancel_a_batch_mate() -> None:
    world = World()
    first, second = world.submit(), world.submit()
    first.then = lambda: world.cancel(second)
    world.drain()
    assert first.answered_right
    assert second.outcomes == []
    assert world.value("bonsai_requests_in_flight") == 0


def test_a_reply_may_cancel_its_own_request() -> None:
    world = World()
    ticket = world.submit()
    ticket.then = lambda: world.cancel(ticket)
    world.drain()
    assert ticket.answered_right
    assert cancelled(world) == {}


class Late(World):
    """An executor whose threads begin when the run completes."""

    def start(self, work: Callable[[], Outputs], done: Callable[[Result], None]) -> None:
        self.call_at(self.now + 1, lambda: super(Late, self).start(work, done))


def test_a_request_cancelled_before_its_thread_began_does_not_break_the_run() -> None:
    world = Late()
    tickets = [world.submit() for _ in range(3)]
    world.settle()
    world.cancel(tickets[1])
    world.drain()
    assert tickets[0].answered_right
    assert tickets[2].answered_right
    assert world.starts == 1


def test_requests_cancelled_during_a_delay_take_no_room() -> None:
    world = World(max_queue_delay_ms=10_000, max_queue_rows=4)
    for _ in range(10):
        world.cancel(world.submit(2))
    ticket = world.submit(4)
    world.drain()
    assert ticket.answered_right


@pytest.mark.parametrize("keys", [1, 7, 10_000])
@pytest.mark.parametrize("waiting", [0, 5])
@pytest.mark.parametrize("delay", [0, 3_600_000])
def test_clients_that_come_and_go_behind_a_long_run_leave_nothing_behind(keys: int, waiting: int, delay: int) -> None:
    world = World(max_queue_delay_ms=delay) if delay else busy()
    for number in range(waiting):
        world.submit(client=number)
    alive: WeakSet[Waiter] = WeakSet()
    for number in range(3000):
        waiter = Waiter()
        alive.add(waiter)
        entry = Entry({}, 1, number % keys, waiter, Timings(0.0), world.now + 3600, 1 + number % 3, number % 11)
        del waiter
        world.batcher.submit(entry)
        world.batcher.cancel(entry)
    assert len(alive) < 1500  # the timer forgets 1024 at a time
    world.drain()
    assert all(ticket.answered_right for ticket in world.tickets)


class Waiter:
    """Who is told the outcome; it lives no longer than its entry."""

    def __call__(self, outcome: object) -> None: ...
