"""A batcher on a virtual clock: the test decides when a turn ends, when a run completes and what time it is."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import numpy as np

from app.batching.batch import Entry, Outcome
from app.batching.batcher import DynamicBatcher, Result
from app.errors import BonsaiError
from app.protocol.messages import Array, Tensors, Timings
from app.telemetry.metrics import Metrics

ROWS_A_TICKET = 1000
"""Row r of ticket t carries the number t * ROWS_A_TICKET + r, so that every row is known wherever it turns up."""


def plus_half(inputs: Tensors) -> dict[str, Array]:
    """The default model: an answer tells which row it belongs to."""
    return {"y": inputs["x"] + 0.5}


def breaks_on(*tickets: int, error: type[Exception] = ValueError) -> Callable[[Tensors], dict[str, Array]]:
    """A model that raises whenever a row of these tickets is among its inputs."""

    def run(inputs: Tensors) -> dict[str, Array]:
        if set(tickets) & {int(row) // ROWS_A_TICKET for row in inputs["x"][:, 0]}:
            raise error("secret of the graph")
        return plus_half(inputs)

    return run


@dataclass
class Ticket:
    """A submitted request and everything that it was answered with."""

    number: int
    x: Array
    key: Hashable | None
    deadline: float | None
    timings: Timings
    outcomes: list[Outcome] = field(default_factory=list)
    then: Callable[[], object] = lambda: None
    """What the waiter does when its answer comes."""

    def reply(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.then()

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
        return np.array_equal(self.outcome["y"], self.x + 0.5)


@dataclass
class Run:
    """One run of the model: when it began, and the numbers of its rows."""

    time: float
    rows: list[int]
    budget: int

    @property
    def tickets(self) -> list[int]:
        return sorted({row // ROWS_A_TICKET for row in self.rows})


class World:
    """The batcher's executor, clock and scheduler, in one."""

    def __init__(
        self,
        run: Callable[[Tensors], Tensors] = plus_half,
        *,
        instances: int = 1,
        max_batch_rows: int = 8,
        max_queue_rows: int = 1000,
    ) -> None:
        self.now = 1000.0
        self.count = instances
        self.runs: list[Run] = []
        self.tickets: list[Ticket] = []
        self.under_way: list[tuple[Result, Callable[[Result], None]]] = []
        metrics = Metrics()
        self._registry = metrics.registry
        self._callbacks: deque[Callable[[], None]] = deque()
        self._model = run
        self.batcher = DynamicBatcher(
            self._run,
            self,
            max_batch_rows=max_batch_rows,
            max_queue_rows=max_queue_rows,
            clock=lambda: self.now,
            call_soon=self._callbacks.append,
            metrics=metrics.of("m", 1),
        )

    def submit(self, rows: int = 1, *, key: Hashable | None = "k", deadline: float | None = None) -> Ticket:
        """A request; its deadline is an absolute instant of the virtual clock."""
        number = len(self.tickets) + 1
        x = (number * ROWS_A_TICKET + np.arange(rows, dtype=np.float64)).reshape(rows, 1)
        ticket = Ticket(number, x, key, deadline, Timings(received=self.now))
        entry = Entry({"x": x}, rows, key, ticket.reply, ticket.timings, deadline)
        self.batcher.submit(entry)
        self.tickets.append(ticket)
        return ticket

    def turn(self) -> None:
        """One turn of the loop: the callbacks that were there when it began."""
        for _ in range(len(self._callbacks)):
            self._callbacks.popleft()()

    def complete(self, index: int = 0) -> None:
        """Delivers the result of a run that is under way; 0 is the oldest."""
        result, done = self.under_way.pop(index)
        done(result)

    def drain(self) -> None:
        """Turns and completes until nothing is left to do."""
        while self._callbacks or self.under_way:
            self.turn()
            if self.under_way:
                self.complete()

    def start(self, work: Callable[[], list[Tensors]], done: Callable[[Result], None]) -> None:
        """The executor: the work runs at once, its result waits for `complete`."""
        assert len(self.under_way) < self.count, "more runs at once than instances"
        try:
            result: Result = work()
        except BaseException as error:  # noqa: BLE001 - an executor delivers whatever was raised
            result = error
        self.under_way.append((result, done))

    def value(self, sample: str) -> float:
        """A sample of the batcher's metrics, by its exposed name."""
        return self._registry.get_sample_value(sample, {"model": "m", "version": "1"}) or 0.0

    def batches(self) -> list[list[int]]:
        """Tickets of every run so far."""
        return [run.tickets for run in self.runs]

    def _run(self, inputs: Tensors) -> Tensors:
        rows = [int(row) for row in inputs["x"][:, 0]]
        self.runs.append(Run(self.now, rows, self.batcher.max_batch_rows))
        return self._model(inputs)
