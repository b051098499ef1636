"""A day in the life of a batcher: a hundred thousand requests of every kind on the virtual clock."""

import random
from collections import Counter

from app.errors import BonsaiError, DeadlineExceeded, ExecutionFailed, Overloaded
from tests.batching.records import Run
from tests.batching.schedule import LENGTHY, Schedule, check

REQUESTS = 100_000
CLIENTS = tuple(f"client {number}" for number in range(20))
KEYS = ("a", "a", "a", "b", "c", LENGTHY, None)
PACES = (60, 250, 500)
"""Requests a second; some 400 can be served."""
FIXED, A_ROW = 0.004, 0.001
COSTS = tuple((rows, FIXED + A_ROW * rows) for rows in (1, 2, 4, 8, 16))


class Day:
    """Traffic that comes in waves, at times more than can be served."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.schedule = Schedule(
            instances=2, max_batch_rows=16, max_queue_rows=60, costs=COSTS, wide_costs=COSTS, takes=self._seconds
        )

    def live(self) -> Schedule:
        for number in range(REQUESTS):
            self._submit()
            self.schedule.wait(self.dice.expovariate(PACES[number // 5000 % 3]))
            if self.dice.random() < 0.02:
                self.schedule.cancel(self.dice.randrange(20))
            if number % 1000 == 999:
                self._change()
        return self.schedule.play([])

    def _submit(self) -> None:
        dice = self.dice
        self.schedule.submit(
            dice.choice((1, 1, 1, 1, 2, 3, 20)),
            dice.choice(KEYS),
            dice.choice((None, None, 0.02, 0.1, 1.0)),
            CLIENTS[min(int(dice.expovariate(0.2)), 19)],
            dice.choice((1, 2, 2, 2, 3)),
            dice.random() < 0.002,
        )

    def _change(self) -> None:
        if self.dice.random() < 0.5:
            self.schedule.limit(self.dice.choice((4, 8, 16, 16)))
        else:
            self.schedule.resize(self.dice.choice((1, 2, 2, 3)))

    def _seconds(self, run: Run) -> float:
        return (FIXED + A_ROW * len(run.rows)) * self.dice.uniform(0.8, 1.3)


def test_a_hundred_thousand_requests_keep_the_promises() -> None:
    schedule = Day(seed=1).live()
    check(schedule)
    kinds = Counter(_kind(ticket.outcomes[0]) for ticket in schedule.world.tickets if ticket.cancelled is None)
    assert kinds["answer"] > 0.6 * REQUESTS
    for kind in (DeadlineExceeded, ExecutionFailed, Overloaded):
        assert kinds[kind.__name__] > 10
    assert schedule.refused > 100
    assert sum(run.is_wide for run in schedule.world.runs) > 100
    assert sum(len(run.tickets) > 1 for run in schedule.world.runs) > 1000


def _kind(outcome: object) -> str:
    return type(outcome).__name__ if isinstance(outcome, BonsaiError) else "answer"
