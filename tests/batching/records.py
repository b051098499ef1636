"""What a world remembers: the requests, the runs and those under way."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np

from app.batching.batch import Entry, Outcome
from app.batching.runs import Result
from app.contract.deployment import Limits
from app.errors import BonsaiError, ExecutionFailed
from app.protocol.messages import Array, Halt, Timings
from tests.batching.models import ROWS_A_TICKET


@dataclass(eq=False)
class Ticket:
    """A submitted request and everything that it was answered with."""

    number: int
    x: Array
    entry: Entry
    level: int
    submitted_at: float
    outcomes: list[Outcome] = field(default_factory=list)
    answered_at: float | None = None
    run_seconds: float = 0.0
    """What a run of its rows, or of fewer, usually took when it was answered."""
    cancelled: int | None = None
    """The event that it was cancelled at."""
    then: Callable[[], object] = lambda: None
    """What the waiter does when its answer comes."""

    @property
    def timings(self) -> Timings:
        return self.entry.timings

    @property
    def deadline(self) -> float:
        assert self.entry.deadline is not None
        return self.entry.deadline

    @property
    def equals(self) -> Hashable:
        """What it shares with those that must be served in order of arrival."""
        return (self.entry.client, self.level, self.entry.key, self.entry.deadline)

    @property
    def outcome(self) -> Outcome:
        assert len(self.outcomes) == 1, f"ticket {self.number} was answered {len(self.outcomes)} times"
        return self.outcomes[0]

    @property
    def error(self) -> BonsaiError:
        assert isinstance(self.outcome, BonsaiError), f"ticket {self.number} got an answer"
        return self.outcome

    @property
    def answered_right(self) -> bool:
        """Its own rows, all of them, in order."""
        assert not isinstance(self.outcome, BonsaiError), repr(self.outcome)
        return np.array_equal(self.outcome.array("y"), self.x + 0.5)


@dataclass(eq=False)
class Run:
    """One run of the model."""

    time: float
    event: int
    rows: list[int]
    """The numbers of its rows."""
    shape: tuple[int, ...]
    limits: Limits
    is_wide: bool
    halt: Halt

    @property
    def tickets(self) -> list[int]:
        return sorted({row // ROWS_A_TICKET for row in self.rows})


@dataclass(eq=False)
class Flight:
    """A run under way."""

    run: Run | None
    result: Result
    done: Callable[[Result], None]
    slots: int = 1
    """Instances that it takes."""

    @property
    def is_wide(self) -> bool:
        return self.run is not None and self.run.is_wide

    def land(self) -> None:
        halted = self.run is not None and self.run.halt.asked
        self.done(ExecutionFailed("terminated") if halted else self.result)
