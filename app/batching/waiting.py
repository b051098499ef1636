"""Everything that waits for an instance: in the queue, or, while one is free, in the batch that is about to be."""

import math
from collections.abc import Callable, Hashable

from app.batching.batch import Entry, Outcome
from app.batching.queue import IsPast, Queue
from app.batching.room import Room


class Waiting:
    """The queue, and before it the entries that have arrived in this turn of the loop while an instance is free: most
    often they are the next batch as they are, and need no place in the queue."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.rows = 0
        self.entries = 0
        self.queue = Queue()
        self._siblings = 0
        """Parts of a split request beside the first of them that waits, of all such requests."""
        self._clock = clock
        self._fresh: list[Entry] = []
        """Entries of one key. While there are any, the queue is empty."""
        self._earliest = math.inf
        """No later than any of their deadlines."""

    @property
    def key(self) -> Hashable:
        """Of what has arrived in this turn; None where it has been given places."""
        return self._fresh[0].key if self._fresh else None

    @property
    def requests(self) -> int:
        """Entries, but the parts of a split request count as the one that they are."""
        return self.entries - self._siblings

    def add(self, entry: Entry, *, is_free: bool) -> None:
        """`is_free`: an instance is."""
        self.rows += entry.rows
        self.entries += 1
        fresh = self._fresh
        if is_free and not self.queue.rows and entry.key is not None and (not fresh or fresh[0].key == entry.key):
            fresh.append(entry)
            if entry.deadline is not None and entry.deadline < self._earliest:
                self._earliest = entry.deadline
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
        parts = entry.split(most, most_bytes, answer, withdraw)
        for part in parts:
            self.add(part, is_free=False)
        entry.parts_waiting = len(parts)
        self._siblings += len(parts) - 1

    def pour(self) -> None:
        """Gives every entry a place in the queue."""
        if self._fresh:
            now = self._clock()
            for entry in self._empty():
                self.queue.put(entry, now)

    def take_fresh(self, room: Room) -> list[Entry]:
        """Everything that waits, where all of it has arrived in this turn and is one batch that ends in time."""
        if not self._fresh or not room.holds(self._fresh[0].key, self.rows, self._earliest):
            return []
        self.rows = self.entries = 0
        return self._empty()

    def take(self, room: Room, now: float, is_past: IsPast) -> tuple[list[Entry], list[Entry]]:
        """The entries of the next batch, and those met on the way that are past being run."""
        self.pour()
        taken = self.queue.take(room.rows, now, is_past)
        self.rows, self.entries = self.queue.rows, self.queue.entries
        if self._siblings:
            for entry in (*taken[0], *taken[1]):
                self._part(entry)
        return taken

    def remove(self, entry: Entry) -> bool:
        """Takes an entry out; False where it does not wait."""
        if entry.place is not None:
            self.queue.remove(entry)
        elif entry in self._fresh:
            self._fresh.remove(entry)
        else:
            return False
        self.rows -= entry.rows
        self.entries -= 1
        self._part(entry)
        return True

    def _part(self, entry: Entry) -> None:
        """Counts an entry that has left, where it is a part."""
        if entry.whole is not None:
            entry.whole.parts_waiting -= 1
            self._siblings -= entry.whole.parts_waiting > 0

    def _empty(self) -> list[Entry]:
        fresh, self._fresh, self._earliest = self._fresh, [], math.inf
        return fresh
