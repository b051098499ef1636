"""Steps in any order, played on a world, and what must be true whatever they were."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from functools import partial
from typing import Any

from app.batching.padding import Bucket, Padding
from app.batching.queue import LIFT_SECONDS
from app.errors import DeadlineExceeded, ExecutionFailed, Overloaded
from app.protocol.messages import Inputs, Tensors
from tests.batching.models import ROWS_A_TICKET, numbers, plus_half
from tests.batching.records import Run, Ticket
from tests.batching.world import World

Step = tuple[Any, ...]
QUEUE_ROWS = 60
PADDED_SIZE = 32
EARLY = 0.0005
"""How much too early timers ring in some worlds; deadlines are then met to within as much."""
LENGTHY = Bucket(4, ())
KEYS = ("a", "b", None, LENGTHY)


class Schedule:
    """Plays steps on a world, and remembers which requests the model is to fail on."""

    def __init__(self, **options: Any) -> None:
        self.bad: set[int] = set()
        self.refused = 0
        padding = Padding({"x": 0.0}, frozenset({"y"}))
        limits = {"max_queue_rows": QUEUE_ROWS, "max_padded_size": PADDED_SIZE}
        self.world = World(self._model, padding=padding, **{**limits, **options})

    def play(self, steps: Iterable[Step]) -> "Schedule":
        for name, *arguments in steps:
            getattr(self, name)(*arguments)
        self.world.drain()
        return self

    def submit(
        self,
        rows: int = 1,
        key: Hashable | None = "a",
        within: float | None = None,
        client: str = "",
        level: int = 2,
        bad: bool = False,
        again: int = 0,
    ) -> None:
        """`again` so many times: whoever is answered sends the next one at once."""
        number = len(self.world.tickets) + 1
        if bad:
            self.bad.add(number)
        length = 3 + rows % 2 if key == LENGTHY else 1
        try:
            ticket = self.world.submit(rows, key=key, within=within, client=client, level=level, length=length)
        except Overloaded:
            self.refused += 1
            self.bad.discard(number)  # the number goes to the next request
            return
        if again:
            ticket.then = partial(self._go_on, ticket, (rows, key, within, client, level, bad, again - 1))

    def _go_on(self, ticket: Ticket, following: Step) -> None:
        if not isinstance(ticket.outcome, Overloaded):  # who is displaced goes away
            self.submit(*following)

    def turn(self) -> None:
        assert self.world.queue_rows <= QUEUE_ROWS
        self.world.settle()
        self._check_busy()

    def complete(self, index: int) -> None:
        if self.world.under_way:
            self.world.complete(index % len(self.world.under_way))
            self.turn()

    def wait(self, seconds: float) -> None:
        self.world.wait(seconds)

    def cancel(self, index: int) -> None:
        if self.world.tickets:
            self.world.cancel(self.world.tickets[-1 - index % len(self.world.tickets)])

    def limit(self, rows: int) -> None:
        self.world.limit(max_batch_rows=rows)

    def resize(self, instances: int) -> None:
        self.world.resize(instances)
        self.turn()

    def _check_busy(self) -> None:
        """No instance is idle while something waits."""
        world = self.world
        if sum(flight.slots for flight in world.under_way) < world.count:
            assert world.load.queue_rows == 0, "an instance idles"

    def _model(self, inputs: Inputs) -> Tensors:
        if self.bad and not self.bad.isdisjoint(number // ROWS_A_TICKET for number in numbers(inputs)):
            raise ValueError("a row that the model fails on")
        return plus_half(inputs)


def check(schedule: Schedule) -> None:
    """Holds everything that must be true at the end of any schedule."""
    for ticket in schedule.world.tickets:
        check_answer(ticket, ticket.number in schedule.bad)
    check_runs(schedule.world)
    check_order(schedule.world)
    check_metrics(schedule)


def check_answer(ticket: Ticket, bad: bool) -> None:
    """Answered once, in time and with its own rows; an error only where there is a reason. Never where cancelled."""
    if ticket.cancelled is not None:
        assert ticket.outcomes == []
    elif isinstance(ticket.outcome, DeadlineExceeded):
        assert ticket.answered_at is not None
        late = ticket.answered_at - max(ticket.deadline, ticket.submitted_at)
        assert -ticket.run_seconds <= late < EARLY, "at its deadline, or when a run might have ended after it"
    elif isinstance(ticket.outcome, Overloaded):
        assert ticket.outcome.reason == "queue_full"
    elif isinstance(ticket.outcome, ExecutionFailed):
        assert bad
    else:
        assert not bad
        assert ticket.answered_right
        assert ticket.answered_at is not None
        assert ticket.entry.deadline is None or ticket.answered_at < ticket.entry.deadline


def check_runs(world: World) -> None:
    """One shape a run, no run of several over budget, what has no key alone and whole, and only what is wanted."""
    tickets = {ticket.number: ticket for ticket in world.tickets}
    tried: set[int] = set()
    for run in world.runs:
        members = [tickets[number] for number in run.tickets]
        assert len({ticket.entry.key for ticket in members}) == 1
        if tried.isdisjoint(run.rows):  # half of a failed batch was measured by the limits of its time
            assert len(members) == 1 or len(run.rows) <= _budget(run, members[0].entry.key)
        tried.update(run.rows)
        for ticket in members:
            assert ticket.entry.deadline is None or run.time < ticket.entry.deadline, "executed after its deadline"
            assert ticket.cancelled is None or run.event < ticket.cancelled, "executed after it was cancelled"
        if members[0].entry.key is None:
            assert len(members) == 1
            assert len(run.rows) == len(members[0].x)
    assert world.starts == len(world.runs), "a batch could not be joined"


def _budget(run: Run, key: Hashable) -> int:
    rows = run.limits.max_batch_rows
    return rows if key != LENGTHY else min(rows, max(1, PADDED_SIZE // LENGTHY.length))


def check_order(world: World) -> None:
    """Rows of equals begin to run in the order in which they arrived, but where age has lifted one of them."""
    begun: dict[Hashable, list[tuple[int, float]]] = defaultdict(list)
    seen: set[int] = set()
    tickets = {ticket.number: ticket for ticket in world.tickets}
    for run in world.runs:
        for row in run.rows:
            if row not in seen:
                begun[tickets[row // ROWS_A_TICKET].equals].append((row, run.time))
        seen.update(run.rows)
    for rows in begun.values():
        for older, younger in _overtaken(rows):
            ticket = tickets[older // ROWS_A_TICKET]
            assert ticket.level > 1, "overtaken"
            assert younger - ticket.submitted_at >= LIFT_SECONDS, "overtaken"


def _overtaken(begun: list[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """Rows that began after a younger one, and when the first such began."""
    youngest = -1
    for row, _ in begun:
        if row < youngest:
            yield row, next(time for other, time in begun if other > row)
        youngest = max(youngest, row)


def check_metrics(schedule: Schedule) -> None:
    """Nothing is left, and every fate has been counted once."""
    world = schedule.world
    assert world.entrance.idle
    assert world.load == (0, 0, 0)
    assert world.requests == 0
    outcomes = [outcome for ticket in world.tickets for outcome in ticket.outcomes]
    missed = sum(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)
    displaced = sum(isinstance(outcome, Overloaded) for outcome in outcomes)
    rejected = sum(world.value("bonsai_rejected_total", reason=reason) for reason in ("queue_full", "deadline"))
    cancelled = sum(world.value("bonsai_cancelled_total", stage=stage) for stage in ("queue", "batch", "run"))
    assert missed == world.value("bonsai_deadline_misses_total")
    assert displaced + schedule.refused == rejected
    assert cancelled == sum(ticket.cancelled is not None for ticket in world.tickets)
