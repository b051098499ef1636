"""Everything that waits for an instance: in the queue, or, while one is free, in the batch that is about to be."""

import math
from collections.abc import Callable

from app.batching.batch import Entry, Outcome
from app.batching.queue import IsPast, Queue
from app.batching.room import Room


class Waiting:
    """The queue, and before it the entries that have arrived in this turn of the loop while an instance is free: most
    often they are the next batch as they are, and need no place in the queue."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.queue = Queue()
        self._clock = clock
        self._fresh: list[Entry] = []
        """Entries of one key."""
        self._fresh_rows = 0

    @property
    def rows(self) -> int:
        return self.queue.rows + self._fresh_rows

    @property
    def entries(self) -> int:
        return self.queue.entries + len(self._fresh)

    def add(self, entry: Entry, *, is_free: bool) -> None:
        """`is_free`: an instance is."""
        fresh = self._fresh
        if is_free and not self.queue.rows and entry.key is not None and (not fresh or fresh[0].key == entry.key):
            fresh.append(entry)
            self._fresh_rows += entry.rows
        else:
            self.pour()
            self.queue.put(entry, self._clock())

    def add_parts(
        self,
        entry: Entry,
        most: int,
        most_bytes: int,
        answer: Callable[[Entry, Outcome], None],
        withdraw: Callable[[Entry], object],
    ) -> None:
        """An entry of more rows than a batch may have, answered with at most `most_bytes`; `answer` and `withdraw` are
        called for its parts."""
        self.pour()
        now = self._clock()
        for part in entry.split(most, most_bytes, answer, withdraw):
            self.queue.put(part, now)

    def pour(self) -> None:
        """Gives every entry a place in the queue."""
        fresh, self._fresh, self._fresh_rows = self._fresh, [], 0
        now = self._clock()
        for entry in fresh:
            self.queue.put(entry, now)

    def take(self, room: Room, now: float, is_past: IsPast) -> tuple[list[Entry], list[Entry]]:
        """The entries of the next batch, and those met on the way that are past being run."""
        if self._fresh and self._fits(room, is_past):
            fresh, self._fresh, self._fresh_rows = self._fresh, [], 0
            return fresh, []
        self.pour()
        return self.queue.take(room.rows, now, is_past)

    def remove(self, entry: Entry) -> bool:
        """Takes an entry out; False where it does not wait."""
        if entry.place is not None:
            self.queue.remove(entry)
            return True
        if entry in self._fresh:
            self._fresh.remove(entry)
            self._fresh_rows -= entry.rows
            return True
        return False

    def ahead(self, entry: Entry) -> int:
        """Rows that would go before `entry` if it came now, at most."""
        return self._fresh_rows + self.queue.ahead(entry)

    def _fits(self, room: Room, is_past: IsPast) -> bool:
        """Whether one batch has room for everything that is fresh, and none of it is past being run."""
        earliest = math.inf
        for entry in self._fresh:
            if entry.deadline is not None:
                if is_past(entry):
                    return False
                earliest = min(earliest, entry.deadline)
        return self._fresh_rows <= room.rows(self._fresh[0].key, earliest)
