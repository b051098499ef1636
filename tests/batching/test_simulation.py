"""Days in the life of a batcher: a hundred thousand requests of every kind on the virtual clock."""

import random
from collections import Counter
from collections.abc import Iterator

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from app.batching.queue import LIFT_SECONDS
from app.errors import BonsaiError, DeadlineExceeded, ExecutionFailed, Overloaded
from tests.batching.records import Run, Ticket
from tests.batching.schedule import LENGTHY, QUEUE_ROWS, Schedule, Step, check

DAYS = 5
REQUESTS = 15_000
"""A day; as many as a third more follow an answer."""
WAVE = 2000
CLIENTS = tuple(f"client {number}" for number in range(20))
KEYS = ("a", "a", "a", "b", "c", LENGTHY, None)
PACES = (60, 250, 500)
"""Requests a second; some 400 can be served."""
FIXED, A_ROW = 0.004, 0.001
COSTS = tuple((rows, FIXED + A_ROW * rows) for rows in (1, 2, 4, 8, 16))
LONGEST_WAIT = 2 * LIFT_SECONDS + 2 * QUEUE_ROWS * (FIXED + A_ROW) * 1.3
"""After two lifts a request is at the highest level; then come the turns of what waits there."""


class Day:
    """Traffic that comes in waves, at times more than can be served."""

    def __init__(self, seed: int, instances: int, max_batch_rows: int) -> None:
        self.dice = random.Random(seed)
        self.schedule = Schedule(
            instances=instances, max_batch_rows=max_batch_rows, costs=COSTS, wide_costs=COSTS, takes=self._seconds
        )

    def steps(self) -> Iterator[Step]:
        """Some requests are followed by another one as soon as they are answered, by whoever waited for the first."""
        dice = self.dice
        for number in range(REQUESTS):
            yield ("submit", *self._request())
            yield "wait", dice.expovariate(PACES[number // WAVE % len(PACES)])
            if dice.random() < 0.02:
                yield "cancel", dice.randrange(20)
            if number % 1000 == 999:
                yield dice.choice((("limit", dice.choice((4, 8, 16, 16))), ("resize", dice.choice((1, 2, 2, 3)))))

    def _request(self) -> Step:
        dice = self.dice
        return (
            dice.choice((1, 1, 1, 1, 2, 3, 20)),
            dice.choice(KEYS),
            dice.choice((None, None, 0.02, 0.1, 1.0)),
            CLIENTS[min(int(dice.expovariate(0.2)), len(CLIENTS) - 1)],
            dice.choice((1, 2, 2, 2, 3)),
            dice.random() < 0.002,
            dice.choice((0, 0, 0, 0, 1, 3)),
        )

    def _seconds(self, run: Run) -> float:
        return (FIXED + A_ROW * len(run.rows)) * self.dice.uniform(0.8, 1.3)


@settings(max_examples=DAYS, deadline=None, derandomize=True, phases=[Phase.generate], database=None)
@given(st.integers(0, 1 << 32), st.integers(1, 3), st.sampled_from([8, 16]))
def test_a_hundred_thousand_requests_keep_the_promises(seed: int, instances: int, max_batch_rows: int) -> None:
    day = Day(seed, instances, max_batch_rows)
    schedule = day.schedule.play(day.steps())
    assert len(schedule.world.tickets) + schedule.refused > 1.2 * REQUESTS
    check(schedule)
    waits = [_wait(ticket) for ticket in schedule.world.tickets if ticket.cancelled is None]
    assert max(waits) < LONGEST_WAIT, "starved"
    kinds = Counter(_kind(ticket.outcomes[0]) for ticket in schedule.world.tickets if ticket.cancelled is None)
    assert kinds["answer"] > 0.5 * REQUESTS
    for kind in (DeadlineExceeded, ExecutionFailed, Overloaded):
        assert kinds[kind.__name__] > 1
    assert schedule.refused > 20
    assert sum(len(run.tickets) > 1 for run in schedule.world.runs) > 200


def _wait(ticket: Ticket) -> float:
    assert ticket.answered_at is not None
    return ticket.answered_at - ticket.submitted_at


def _kind(outcome: object) -> str:
    return type(outcome).__name__ if isinstance(outcome, BonsaiError) else "answer"
