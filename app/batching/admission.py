"""Admission: what cannot be answered in time is refused at the door, while its caller can still go elsewhere."""

import math
from collections.abc import Callable, Hashable, Set

from app.batching.batch import Batch, Entry
from app.batching.runs import Runs
from app.batching.waiting import Waiting
from app.contract.deployment import Limits
from app.errors import Overloaded, TooLarge


class Admission:
    """Foresees when an entry would be answered, by what runs take of late."""

    def __init__(self, waiting: Waiting, running: Set[Batch], runs: Runs, clock: Callable[[], float]) -> None:
        self._waiting = waiting
        self._running = running
        self._runs = runs
        self._clock = clock

    def check(self, entry: Entry, limits: Limits, instances: int) -> None:
        """Raises TooLarge where the queue could never hold the entry, Overloaded where its deadline will pass."""
        if entry.rows > limits.max_queue_rows:
            raise TooLarge(f"inputs: expected at most {limits.max_queue_rows} rows, got {entry.rows}")
        # Without anything to wait for, a run is the only way to learn that runs have become quicker.
        if entry.deadline is not None and (self._waiting.rows or self._running):
            self._check_deadline(entry, entry.deadline - self._clock(), limits, instances)

    def displace(self, entry: Entry, limits: Limits, instances: int) -> tuple[list[Entry], Overloaded]:
        """What has to leave for `entry`, and what it is told. Raises Overloaded where nobody has more than a share."""
        self._waiting.pour()
        displaced = self._waiting.queue.displaced_by(entry, limits.max_queue_rows)
        if not displaced:
            raise self._full(entry.key, limits, instances)  # no variable holds it: a cycle with this frame would stay
        return displaced, self._full(entry.key, limits, instances)

    def backlog(self, key: Hashable, limits: Limits, instances: int) -> float:
        """Seconds until what waits now has been worked off, if all of it takes what runs of this key take of late."""
        return self._wait(instances) + self._work(self._waiting.rows, key, limits, instances)

    def _check_deadline(self, entry: Entry, left: float, limits: Limits, instances: int) -> None:
        longest = self._runs.longest(entry)
        backlog = self.backlog(entry.key, limits, instances)
        if left <= 0 or backlog + longest <= left:  # one that has passed is answered as such
            return
        self._waiting.pour()
        ahead = self._waiting.queue.ahead(entry, self._clock())
        finish = self._wait(instances) + self._work(ahead, entry.key, limits, instances) + longest
        if finish > left:
            raise Overloaded(
                f"the answer would take {finish * 1000:.0f} ms, the deadline is in {left * 1000:.0f} ms",
                reason="deadline",
                retry_after=_retry_after(backlog),
            )

    def _full(self, key: Hashable, limits: Limits, instances: int) -> Overloaded:
        return Overloaded(
            f"the queue is full: {self._waiting.rows} rows wait, {limits.max_queue_rows} may",
            reason="queue_full",
            retry_after=_retry_after(self.backlog(key, limits, instances)),
        )

    def _wait(self, instances: int) -> float:
        """Seconds until an instance is free."""
        if sum(batch.slots for batch in self._running) < instances:
            return 0.0
        ends = [batch.started + self._runs.usual(batch) for batch in self._running]
        return max(0.0, min(ends, default=0.0) - self._clock())

    def _work(self, rows: int, key: Hashable, limits: Limits, instances: int) -> float:
        """Seconds that so many rows take on all instances."""
        if not rows:
            return 0.0
        costs = self._runs.costs.of(key)
        best = min(rows, costs.best_rows(limits.max_batch_rows))
        return math.ceil(rows / best) * costs.usual(best) / instances


def _retry_after(backlog: float) -> int:
    """Whole seconds after which what waits has been worked off, and at least one."""
    return max(1, math.ceil(backlog))
