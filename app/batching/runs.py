"""What the batcher is given: how a model is run, and where."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.batching.batch import Batch, Entry, Run
from app.batching.cost import APART, Costs
from app.batching.padding import Padding
from app.batching.shared_cpu import SharedCpu
from app.protocol.messages import Outputs

Result = Outputs | BaseException


class Executor(Protocol):
    """Runs work elsewhere and brings the result back to the batcher's thread, at once or later."""

    count: int
    """Runs that may be under way at once."""

    def start(self, work: Callable[[], Outputs], done: Callable[[Result], None]) -> None: ...


class Timer(Protocol):
    """A callback that is to come."""

    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """The event loop's part in batching."""

    def call_soon(self, callback: Callable[[], None], /) -> object: ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


@dataclass(frozen=True, slots=True)
class Runs:
    """The ways to run a model, and what each costs."""

    narrow: Run
    """Beside others, on an instance's part of the CPU."""
    costs: Costs
    cpu: SharedCpu
    wide: Run | None = None
    """Alone, on all of the CPU: the quickest answer where nothing else waits."""
    wide_costs: Costs | None = None
    padding: Padding | None = None

    def may_be_wide(self) -> bool:
        """Whether a run that is alone here has all of the CPU, and there is a session for it."""
        return self.wide is not None and self.cpu.is_free()

    def of(self, batch: Batch) -> Run:
        return self.wide if batch.slots > 1 and self.wide is not None else self.narrow

    def observe(self, batch: Batch, seconds: float) -> None:
        """Learns from a run. A wide one is at most as many times quicker as it takes slots: a narrow table that clearly
        says more is of slower times, and admission by it may refuse every run that would show that."""
        self._costs(batch).observe(batch.key, batch.rows, seconds)
        if batch.slots > 1:
            self.costs.cap(batch.key, batch.rows, APART * batch.slots * seconds)

    def observe_halted(self, batch: Batch, seconds: float) -> None:
        """Learns from a run that was ended when nobody waited for it any more: it would have taken longer still. Runs
        that miss their deadlines are the ones that are too slow; without them every table would stay too hopeful."""
        if seconds > self.usual(batch):
            self._costs(batch).observe(batch.key, batch.rows, seconds)

    def usual(self, batch: Batch) -> float:
        """Seconds that the batch's run takes as a rule."""
        return self._costs(batch).of(batch.key).usual(batch.rows)

    def is_too_late(self, entry: Entry, now: float) -> bool:
        """Whether a run of the entry alone, started now, might well end after its deadline."""
        return entry.deadline is not None and now + self.longest(entry) >= entry.deadline

    def longest(self, entry: Entry) -> float:
        """Seconds that a run of the entry alone does not exceed, as a rule."""
        return self.costs.of(entry.key).high(entry.rows)

    def _costs(self, batch: Batch) -> Costs:
        return self.wide_costs if batch.slots > 1 and self.wide_costs is not None else self.costs
