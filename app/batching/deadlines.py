"""Deadlines of the requests that a batcher holds, with one timer for all of them."""

import heapq
import itertools
from collections.abc import Callable

from app.batching.alarm import Alarm
from app.batching.batch import Entry
from app.batching.runs import Scheduler

FEW = 1024


class Deadlines:
    """Calls `passed` for every entry that is not done when its deadline comes."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float], passed: Callable[[Entry], None]) -> None:
        self._clock = clock
        self._passed = passed
        self._numbers = itertools.count()
        self._heap: list[tuple[float, int, Entry]] = []
        self._most = FEW
        self._alarm = Alarm(scheduler, self._ring)

    def watch(self, entry: Entry, deadline: float) -> None:
        heapq.heappush(self._heap, (deadline, next(self._numbers), entry))
        if len(self._heap) > self._most:
            self._heap = [watched for watched in self._heap if not watched[2].done]
            heapq.heapify(self._heap)
            self._most = max(FEW, 2 * len(self._heap))
        self._arm()

    def stop(self) -> None:
        """Nothing is watched any more: no timer is left."""
        self._heap.clear()
        self._alarm.stop()

    def _arm(self) -> None:
        """Sets the timer to the earliest deadline, unless it rings before that anyway."""
        heap = self._heap
        while heap and heap[0][2].done:
            heapq.heappop(heap)
        if heap and heap[0][0] < self._alarm.at:
            self._alarm.set(heap[0][0])

    def _ring(self) -> None:
        now = self._clock()
        while self._heap and (self._heap[0][2].done or self._heap[0][0] <= now):
            _, _, entry = heapq.heappop(self._heap)
            if not entry.done:
                self._passed(entry)
        self._arm()
