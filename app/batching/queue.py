"""The queue of a model: lanes of like requests, counted in rows."""

import heapq
import itertools
from collections import deque
from collections.abc import Hashable

from app.batching.batch import Batch, Entry


class Queue:
    """First in, first out within a lane; the lane whose head has waited longest goes first.

    A lane holds entries of one key, so a different shape never cuts or blocks another's batch. An entry without a
    key has a lane to itself.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._arrivals = itertools.count()
        self._lanes: dict[Hashable, deque[tuple[int, Entry]]] = {}
        self._heads: list[tuple[int, Hashable]] = []
        """A heap: for every lane, when its head arrived."""

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def put(self, entry: Entry) -> None:
        arrival = next(self._arrivals)
        key = ("alone", arrival) if entry.key is None else entry.key
        if key not in self._lanes:
            self._lanes[key] = deque()
            heapq.heappush(self._heads, (arrival, key))
        self._lanes[key].append((arrival, entry))
        self.rows += entry.rows

    def take(self, max_rows: int, now: float) -> tuple[Batch, list[Entry]]:
        """The next batch, of at most `max_rows` rows, and the entries before it whose deadline has passed.

        An entry larger than `max_rows` gets a batch of its own; a cancelled one gets nothing. The batch is empty where
        nothing is left to run.
        """
        taken: list[Entry] = []
        expired: list[Entry] = []
        while self._lanes and not taken:
            _, key = heapq.heappop(self._heads)
            lane = self._lanes[key]
            self._take_from(lane, max_rows, now, taken, expired)
            if lane:
                heapq.heappush(self._heads, (lane[0][0], key))
            else:
                del self._lanes[key]
        return Batch(taken), expired

    def _take_from(
        self, lane: deque[tuple[int, Entry]], max_rows: int, now: float, taken: list[Entry], expired: list[Entry]
    ) -> None:
        rows = 0
        while lane and (not taken or rows + lane[0][1].rows <= max_rows):
            _, entry = lane.popleft()
            self.rows -= entry.rows
            if entry.cancelled:
                continue
            if entry.is_expired(now):
                expired.append(entry)
            else:
                taken.append(entry)
                rows += entry.rows
