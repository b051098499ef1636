"""A batcher on a virtual clock: the test decides when a turn ends, when a run completes and what time it is."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Hashable

import numpy as np

from app.batching.batch import Entry, Outcome
from app.batching.batcher import DynamicBatcher
from app.batching.cost import Costs, Measured
from app.batching.express import Express
from app.batching.padding import Padding
from app.batching.runs import Result, Runs
from app.batching.shared_cpu import SharedCpu
from app.contract.deployment import Limits
from app.protocol.messages import DEFAULT_PRIORITY, Halt, Inputs, Outputs, Tensors, Timings
from app.telemetry.load import Load
from app.telemetry.metrics import Metrics
from tests.batching.models import ROWS_A_TICKET, Model, numbers, plus_half
from tests.batching.records import Flight, Run, Ticket

STEADY: Measured = ((1, 1.0), (8, 8.0))
"""A row takes a second; batching gains nothing."""


class Timer:
    """A callback that is to come, unless it is cancelled before."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    @property
    def is_cancelled(self) -> bool:
        return self._callback is None

    def ring(self) -> None:
        if self._callback is not None:
            self._callback()


class World:
    """The batcher's executor, clock and scheduler, in one."""

    def __init__(
        self,
        model: Model = plus_half,
        *,
        instances: int = 1,
        takes: Callable[[Run], float] | None = None,
        costs: Measured = (),
        wide_costs: Measured | None = None,
        padding: Padding | None = None,
        inline: bool = False,
        express: bool = False,
        early: float = 0.0,
        **limits: float,
    ) -> None:
        """`takes` says how long a run lasts; without it runs last until `complete`. `express`: runs are on the loop's
        thread, and requests come by the short way. Timers ring `early` seconds before their instant, as those of an
        event loop may."""
        self.now = 1000.0
        self.count = instances
        self.runs: list[Run] = []
        self.starts = 0
        """Of runs, also those that failed before the model was called."""
        self.tickets: list[Ticket] = []
        self.under_way: list[Flight] = []
        self.events = itertools.count()
        self._model = model
        self._takes = takes
        self._is_inline = inline or express
        self._early = early
        self._soon: deque[Callable[[], None]] = deque()
        self._rings: list[tuple[float, int, Timer]] = []
        self._metrics = metrics = Metrics()
        self._of_model = metrics.of("m", 1)
        has_wide = wide_costs is not None
        self.loop_seconds = 0.0
        """Of the CPU's time, that the event loop has taken."""
        self.cpu = SharedCpu(lambda: self.now, lambda: self.loop_seconds)
        self.runs_of = Runs(
            lambda inputs, halt=None: self._run(inputs, halt, is_wide=False),
            Costs(costs),
            self.cpu,
            (lambda inputs, halt=None: self._run(inputs, halt, is_wide=True)) if has_wide else None,
            Costs(wide_costs or ()),
            padding,
        )
        self.limits = Limits(**{"max_batch_rows": 8, "max_queue_rows": 1000, **limits})
        self.batcher = DynamicBatcher(
            self.runs_of,
            self,
            self.limits,
            clock=lambda: self.now,
            scheduler=self,
            metrics=self._of_model,
        )
        self.express = self._express() if express else None
        self.entrance = self.express or self.batcher

    def _express(self) -> Express:
        return Express(
            self.batcher,
            self.runs_of,
            self.limits,
            clock=lambda: self.now,
            soon=self.call_soon,
            metrics=self._of_model,
        )

    def limit(self, **limits: float) -> None:
        """Changes limits live."""
        self.limits = Limits(**{**self.limits.model_dump(), **limits})
        self.batcher.apply(self.limits, self)
        if self.express is not None:
            self.express.apply(self.limits)

    def resize(self, instances: int) -> None:
        """Changes the number of instances live."""
        self.count = instances
        self.batcher.apply(self.limits, self)

    def submit(
        self,
        rows: int = 1,
        *,
        key: Hashable | None = "k",
        within: float | None = None,
        client: Hashable = "",
        level: int = DEFAULT_PRIORITY,
        length: int = 1,
    ) -> Ticket:
        """A request whose deadline is `within` seconds. Raises what the batcher refuses it with."""
        number = len(self.tickets) + 1
        x = np.zeros((rows, length))
        x[:, 0] = number * ROWS_A_TICKET + np.arange(rows)
        deadline = None if within is None else self.now + within

        def reply(outcome: Outcome) -> None:
            ticket.outcomes.append(outcome)
            ticket.answered_at = self.now
            ticket.run_seconds = max(self.runs_of.costs.of(key).high(some) for some in range(rows + 1))
            ticket.then()

        entry = Entry({"x": x}, rows, key, reply, Timings(self.now), deadline, level, client, length)
        ticket = Ticket(number, x, entry, level, self.now)
        self.entrance.submit(entry)
        self.tickets.append(ticket)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        if not ticket.outcomes and ticket.cancelled is None:
            ticket.cancelled = next(self.events)
        ticket.entry.cancel()

    def turn(self) -> None:
        """One turn of the loop: the callbacks that were there when it began, and the timers that are due."""
        self._ring()
        for _ in range(len(self._soon)):
            self._soon.popleft()()

    def settle(self) -> None:
        """Turns until none is asked for."""
        while self._is_awake:
            self.turn()

    def wait(self, seconds: float) -> None:
        """Lets time pass, and takes the turns that are asked for on the way, each at its instant."""
        end = self.now + seconds
        self.settle()
        while self._timers and self._timers[0][0] <= end:
            self._sleep()
            self.settle()
        self.now = end

    def complete(self, index: int = 0) -> None:
        """Delivers the result of a run that is under way; 0 is the oldest."""
        self.under_way.pop(index).land()

    def drain(self) -> None:
        """Turns, completes and lets time pass until nothing is left to do."""
        while self._is_awake or not self.entrance.idle:
            if self._is_awake:
                self.turn()
            elif self.under_way and self._takes is None:
                self.complete()
            else:
                self._sleep()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        rings = max(when - self._early, self.now + self._early / 10)  # not again within the same instant
        heapq.heappush(self._rings, (rings, next(self.events), timer))
        return timer

    def start(self, work: Callable[[], Outputs], done: Callable[[Result], None]) -> None:
        """The executor: the work runs at once, its result waits for `complete` or for the time that it takes."""
        flight = self._fly(work, done)
        if self._is_inline:
            self.now += 0.0 if self._takes is None or flight.run is None else self._takes(flight.run)
            flight.land()
            return
        flight.slots = self.count if flight.is_wide else 1
        assert sum(one.slots for one in self.under_way) + flight.slots <= self.count, "more runs than instances"
        self.under_way.append(flight)
        if self._takes is not None:
            seconds = 0.0 if flight.run is None else self._takes(flight.run)
            self.call_at(self.now + seconds, lambda: self.complete(self.under_way.index(flight)))

    def value(self, sample: str, **labels: str) -> float:
        """A sample of the batcher's metrics, by its exposed name."""
        return self._metrics.registry.get_sample_value(sample, {"model": "m", "version": "1", **labels}) or 0.0

    def batches(self) -> list[list[int]]:
        """Tickets of every run so far."""
        return [run.tickets for run in self.runs]

    @property
    def load(self) -> Load:
        """What the batcher has to do, as a scrape reads it."""
        return self._metrics.loads_now.now()["m", "1"]

    @property
    def queue_rows(self) -> int:
        """What the queue's bound holds for: without the halves of failed batches."""
        return self.batcher._waiting.rows

    @property
    def requests(self) -> int:
        """That wait for a run; a split one counts once."""
        return self.batcher._waiting.requests

    @property
    def backlog(self) -> float:
        """Seconds until what waits has been worked off, as a refusal would say it."""
        return self.batcher._admission.backlog("k", self.limits, self.count)

    @property
    def timers(self) -> int:
        return len(self._timers)

    @property
    def _timers(self) -> list[tuple[float, int, Timer]]:
        """Those that will ring, the next one first."""
        while self._rings and self._rings[0][2].is_cancelled:
            heapq.heappop(self._rings)
        return self._rings

    @property
    def _is_awake(self) -> bool:
        return bool(self._soon) or bool(self._timers and self._timers[0][0] <= self.now)

    def _ring(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            self._soon.append(heapq.heappop(self._timers)[2].ring)

    def _sleep(self) -> None:
        assert self._timers, "something waits and nothing will wake it"
        self.now = max(self.now, self._timers[0][0])

    def _fly(self, work: Callable[[], Outputs], done: Callable[[Result], None]) -> Flight:
        self.starts += 1
        before = len(self.runs)
        try:
            result: Result = work()
        except BaseException as error:  # noqa: BLE001 - an executor delivers whatever was raised
            result = error
        return Flight(self.runs[before] if len(self.runs) > before else None, result, done)

    def _run(self, inputs: Inputs, halt: Halt | None, *, is_wide: bool) -> Tensors:
        if halt is None:  # by the short way, where nothing could ask a run to end early
            assert self.express is not None
            self.starts += 1
            halt = Halt()
        shape = np.shape(inputs["x"])
        run = Run(self.now, next(self.events), numbers(inputs), shape, self.limits, is_wide, halt)
        self.runs.append(run)
        return self._model(inputs)
