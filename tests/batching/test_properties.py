"""What holds for every schedule: requests, completions, deadlines and changed limits in any order."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import DeadlineExceeded, ExecutionFailed, Overloaded
from app.protocol.messages import Array, Tensors
from tests.batching.world import ROWS_A_TICKET, Ticket, World, plus_half

Step = tuple[Any, ...]
QUEUE_ROWS = 60
KEYS = ("a", "b", None)

submissions = st.tuples(
    st.just("submit"), st.integers(1, 20), st.sampled_from(KEYS), st.none() | st.integers(0, 5), st.booleans()
)
steps = st.lists(
    submissions
    | st.tuples(st.just("turn"))
    | st.tuples(st.just("complete"), st.integers(0, 5))
    | st.tuples(st.just("wait"), st.integers(1, 5))
    | st.tuples(st.just("limit"), st.integers(1, 12)),
    max_size=60,
)


class Schedule:
    """Plays steps on a world, and remembers which requests the model is to fail on."""

    def __init__(self, instances: int, max_batch_rows: int, *, failures: bool) -> None:
        self.bad: set[int] = set()
        self.answered_at: dict[int, float] = {}
        self.world = World(self._run, instances=instances, max_batch_rows=max_batch_rows, max_queue_rows=QUEUE_ROWS)
        self._failures = failures

    def play(self, schedule: Iterable[Step]) -> "Schedule":
        for name, *arguments in schedule:
            getattr(self, name)(*arguments)
        self.world.drain()
        return self

    def submit(self, rows: int, key: str | None, patience: int | None, bad: bool) -> None:
        number = len(self.world.tickets) + 1
        if bad and self._failures:
            self.bad.add(number)
        try:
            deadline = None if patience is None else self.world.now + patience
            ticket = self.world.submit(rows, key=key, deadline=deadline)
        except Overloaded:
            self.bad.discard(number)  # the number goes to the next request
            return
        ticket.then = lambda: self.answered_at.setdefault(number, self.world.now)

    def turn(self) -> None:
        world = self.world
        world.turn()
        assert len(world.under_way) == world.count or world.value("bonsai_queue_rows") == 0, "an instance idles"
        assert world.value("bonsai_queue_rows") <= QUEUE_ROWS

    def complete(self, index: int) -> None:
        if self.world.under_way:
            self.world.complete(index % len(self.world.under_way))

    def wait(self, seconds: int) -> None:
        self.world.now += seconds

    def limit(self, rows: int) -> None:
        self.world.batcher.max_batch_rows = rows

    def _run(self, inputs: Tensors) -> dict[str, Array]:
        if self.bad & {int(row) // ROWS_A_TICKET for row in inputs["x"][:, 0]}:
            raise ValueError("a row that the model fails on")
        return plus_half(inputs)


def check(schedule: Schedule) -> None:
    """Holds everything that must be true at the end of any schedule."""
    world = schedule.world
    assert world.batcher.idle
    for ticket in world.tickets:
        check_answer(schedule, ticket)
    check_runs(world)
    check_order(world)


def check_answer(schedule: Schedule, ticket: Ticket) -> None:
    """Answered once, with its own rows; an error only where there is a reason."""
    if isinstance(ticket.outcome, DeadlineExceeded):
        assert ticket.deadline is not None
        assert schedule.answered_at[ticket.number] >= ticket.deadline
    elif isinstance(ticket.outcome, ExecutionFailed):
        assert ticket.number in schedule.bad
    else:
        assert ticket.number not in schedule.bad
        assert ticket.answered_right


def check_runs(world: World) -> None:
    """One shape a run, no run of several over budget, nothing after its deadline, what has no key alone and whole."""
    tickets = {ticket.number: ticket for ticket in world.tickets}
    tried: set[int] = set()
    for run in world.runs:
        members = [tickets[number] for number in run.tickets]
        assert len({ticket.key for ticket in members}) == 1
        if tried.isdisjoint(run.rows):  # half of a failed batch was measured by the limit of its time
            assert len(members) == 1 or len(run.rows) <= run.budget
        tried.update(run.rows)
        assert all(ticket.deadline is None or run.time < ticket.deadline for ticket in members)
        if members[0].key is None:
            assert len(members) == 1
            assert len(run.rows) == len(members[0].x)


def check_order(world: World) -> None:
    """Rows of one key begin to run in the order in which they arrived, those without a key too."""
    begun: dict[object, list[int]] = defaultdict(list)
    seen: set[int] = set()
    tickets = {ticket.number: ticket for ticket in world.tickets}
    for run in world.runs:
        fresh = [row for row in run.rows if row not in seen]
        begun[tickets[run.tickets[0]].key].extend(fresh)
        seen.update(fresh)
    for rows in begun.values():
        assert rows == sorted(rows)


@settings(max_examples=250, deadline=None)
@given(steps, st.integers(1, 3), st.integers(1, 12))
def test_every_schedule_keeps_the_promises(schedule: list[Step], instances: int, max_batch_rows: int) -> None:
    check(Schedule(instances, max_batch_rows, failures=False).play(schedule))


@settings(max_examples=250, deadline=None)
@given(steps, st.integers(1, 3), st.integers(1, 12))
def test_every_schedule_keeps_the_promises_where_runs_fail(
    schedule: list[Step], instances: int, max_batch_rows: int
) -> None:
    check(Schedule(instances, max_batch_rows, failures=True).play(schedule))


@settings(max_examples=100, deadline=None)
@given(steps, st.integers(1, 3), st.integers(1, 12))
def test_with_a_fixed_limit_no_run_of_a_shape_is_over_budget(
    schedule: list[Step], instances: int, max_batch_rows: int
) -> None:
    fixed = [step for step in schedule if step[0] != "limit"]
    world = Schedule(instances, max_batch_rows, failures=True).play(fixed).world
    keys = {ticket.number: ticket.key for ticket in world.tickets}
    assert all(len(run.rows) <= max_batch_rows for run in world.runs if keys[run.tickets[0]] is not None)


def traffic(seed: int, requests: int) -> Iterable[Step]:
    """A long random schedule, with about as many rows as the instances can run."""
    random_ = random.Random(seed)
    choose: dict[str, Callable[[], Step]] = {
        "submit": lambda: (
            "submit",
            random_.choice((1, 1, 1, 2, 3, 20)),
            random_.choice(KEYS),
            random_.choice((None, None, 2, 8)),
            random_.random() < 0.05,
        ),
        "turn": lambda: ("turn",),
        "complete": lambda: ("complete", random_.randrange(5)),
        "wait": lambda: ("wait", 1),
        "limit": lambda: ("limit", random_.randint(1, 12)),
    }
    names = random_.choices(list(choose), weights=(40, 25, 25, 9, 1), k=requests * 5 // 2)
    return (choose[name]() for name in names)


@pytest.mark.parametrize("failures", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_long_traffic_keeps_the_promises(seed: int, failures: bool) -> None:
    schedule = Schedule(instances=2, max_batch_rows=8, failures=failures).play(traffic(seed, requests=10_000))
    assert len(schedule.world.tickets) > 5_000
    check(schedule)
