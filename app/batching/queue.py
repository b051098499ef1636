"""The queue of a model: lanes of like requests, counted in rows."""

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

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def put(self, entry: Entry) -> None:
        arrival = next(self._arrivals)
        lane = ("alone", arrival) if entry.key is None else entry.key
        self._lanes.setdefault(lane, deque()).append((arrival, entry))
        self.rows += entry.rows

    def take(self, max_rows: int, now: float) -> tuple[Batch, list[Entry]]:
        """The next batch, of at most `max_rows` rows, and the entries before it whose deadline has passed.

        An entry larger than `max_rows` gets a batch of its own; a cancelled one gets nothing. The batch is empty where
        nothing is left to run.
        """
        taken: list[Entry] = []
        expired: list[Entry] = []
        rows = 0
        while self._lanes and not taken:
            key, lane = min(self._lanes.items(), key=lambda item: item[1][0][0])
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
            if not lane:
                del self._lanes[key]
        return Batch(taken), expired
