"""The one timer of all deadlines."""

import heapq
import random
import weakref
from collections.abc import Callable
from weakref import WeakSet

import pytest

from app.batching.batch import Entry, Outcome, tell
from app.batching.deadlines import FEW, Deadlines
from app.errors import ExecutionFailed
from app.protocol.messages import Timings
from tests.batching.world import Timer, World


class Clock:
    """A timer that a test winds on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[tuple[float, int, Timer]] = []
        self.asked = 0

    def call_soon(self, callback: Callable[[], None]) -> None:
        raise AssertionError("deadlines need no turn of the loop")

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        self.asked += 1
        timer = Timer(callback)
        heapq.heappush(self.calls, (when, self.asked, timer))
        return timer

    @property
    def set(self) -> int:
        """Timers that will ring."""
        return sum(not timer.is_cancelled for _, _, timer in self.calls)

    def to(self, end: float) -> None:
        while self.calls and self.calls[0][0] <= end:
            when, _, timer = heapq.heappop(self.calls)
            self.now = max(self.now, when)
            timer.ring()
        self.now = end


class Waiter:
    """Who is told the outcome; it lives no longer than its entry."""

    def __call__(self, outcome: Outcome) -> None: ...


class Watch:
    """Deadlines, and when each of them was said to have passed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.passed: list[tuple[float, float | None]] = []
        self.deadlines = Deadlines(self.clock, lambda: self.clock.now, self._pass)

    def enter(self, deadline: float, waiter: Waiter | None = None) -> Entry:
        entry = Entry({}, 1, "k", waiter or Waiter(), Timings(0.0), deadline)
        self.deadlines.watch(entry, deadline)
        return entry

    def _pass(self, entry: Entry) -> None:
        entry.done = True
        self.passed.append((self.clock.now, entry.deadline))


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (2, 2, 2)])
def test_every_deadline_passes_at_its_instant(order: tuple[int, ...]) -> None:
    watch = Watch()
    for deadline in order:
        watch.enter(deadline)
    watch.clock.to(10)
    assert watch.passed == [(deadline, deadline) for deadline in sorted(order)]


def test_what_is_done_does_not_pass() -> None:
    watch = Watch()
    entries = [watch.enter(deadline) for deadline in (1, 2, 3)]
    entries[0].done = entries[1].done = True
    watch.clock.to(10)
    assert watch.passed == [(3, 3)]


def test_one_timer_serves_deadlines_that_come_in_order() -> None:
    watch = Watch()
    for deadline in range(1, 1001):
        watch.enter(deadline)
    assert watch.clock.asked == 1


def test_earlier_and_earlier_deadlines_leave_one_timer() -> None:
    watch = Watch()
    for number in range(1000):
        watch.enter(1e9 - number).done = True
        assert watch.clock.set == 1


def test_an_earlier_deadline_rings_before_the_one_that_was_there() -> None:
    watch = Watch()
    watch.enter(10)
    watch.clock.to(1)
    watch.enter(2)
    watch.clock.to(5)
    assert watch.passed == [(2, 2)]


def test_a_deadline_that_has_passed_already_rings_at_once() -> None:
    watch = Watch()
    watch.clock.to(5)
    watch.enter(3)
    watch.clock.to(5)
    assert watch.passed == [(5, 3)]


def test_one_that_passes_may_make_another_done_and_add_a_third() -> None:
    watch = Watch()
    first, second = watch.enter(1), watch.enter(1)
    told: list[Entry] = []

    def passed(entry: Entry) -> None:
        told.append(entry)
        entry.done = second.done = True
        if entry is first:
            watch.enter(4)

    watch.deadlines._passed = passed
    watch.clock.to(10)
    assert told[0] is first
    assert [entry.deadline for entry in told] == [1, 4]


def test_random_deadlines_all_pass_in_time() -> None:
    watch, dice = Watch(), random.Random(1)
    expected = []
    for _ in range(3000):
        watch.clock.to(watch.clock.now + dice.random())
        entry = watch.enter(watch.clock.now + dice.choice((0.5, 5, 50)) * dice.random())
        entry.done = dice.random() < 0.5
        if not entry.done:
            expected.append((entry.deadline, entry.deadline))
    watch.clock.to(10_000)
    assert watch.passed == sorted(expected)


def test_entries_that_are_done_do_not_pile_up() -> None:
    watch = Watch()
    alive: WeakSet[Waiter] = WeakSet()
    most = 0
    for number in range(20 * FEW):
        waiter = Waiter()
        alive.add(waiter)
        watch.enter(1e6 + number, waiter).done = True
        del waiter
        most = max(most, len(alive))
    assert most <= 2 * FEW


def test_behind_an_early_deadline_that_lives_the_done_do_not_pile_up_either() -> None:
    watch = Watch()
    alive: WeakSet[Waiter] = WeakSet()
    watch.enter(10)
    for number in range(20 * FEW):
        waiter = Waiter()
        alive.add(waiter)
        watch.enter(1e6 + number, waiter).done = True
        del waiter
    assert len(alive) <= 2 * FEW
    watch.clock.to(20)
    assert watch.passed == [(10, 10)]


@pytest.mark.parametrize("end", ["answered", "cancelled"])
def test_what_is_done_holds_no_request_while_its_place_waits_to_be_forgotten(end: str) -> None:
    """Its body may be large, and an earlier deadline that lives keeps its place in the heap."""
    world = World(instances=2)
    waiter = Waiter()
    entry = world.submit(within=60).entry
    entry.reply, kept = waiter, weakref.ref(waiter)
    del waiter
    if end == "cancelled":
        entry.cancel()
    else:
        tell(entry, ExecutionFailed("no"))
    assert entry.done
    assert kept() is None


@pytest.mark.parametrize("delay", [0, 60_000])
def test_a_batcher_that_is_closed_leaves_no_timer(delay: float) -> None:
    """The event loop would hold it, and with it the model, until the timer rings."""
    world = World(max_queue_delay_ms=delay)
    world.cancel(world.submit(within=100))
    assert world.timers > 0
    world.batcher.close()
    assert world.timers == 0
