"""What one client has waiting at one level of a queue, its most urgent entry first."""

import heapq
from collections.abc import Hashable, Iterator
from typing import TypeVar

from app.batching.batch import Entry, Place

SLOTS_A_SECOND = 16
"""How finely a client's entries are counted by when they are due."""

K = TypeVar("K")


class Client:
    """One client's entries of one level, in a lane for every key, so that no shape cuts or blocks another's batch.

    The place of an entry that has left stays in its heap until it comes to the front.
    """

    __slots__ = ("_due", "_front_of", "_fronts", "_sizes", "lanes", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._due: dict[tuple[int, int], int] = {}
        """How many entries there are, by when they are due and by their rows."""
        self._sizes: dict[int, int] = {}
        """The same by their rows alone."""
        self.lanes: dict[Hashable, list[Place]] = {}
        self._fronts: list[tuple[float, int, Hashable]] = []
        """A heap of the lanes' first places; one that is no longer first is put right when it comes to the front."""
        self._front_of: dict[Hashable, int] = {}
        """The arrival that stands in the heap for a lane."""

    def put(self, place: Place) -> None:
        due, arrival, entry = place
        lane = self.lanes.get(entry.lane)
        if lane is None:
            lane = self.lanes[entry.lane] = []
        heapq.heappush(lane, place)
        if lane[0] is place:
            self._front_of[entry.lane] = arrival
            heapq.heappush(self._fronts, (due, arrival, entry.lane))

    def count(self, place: Place, change: int) -> None:
        """One entry more, or one less."""
        rows = place[2].rows
        _count(self._due, (int(place[0] * SLOTS_A_SECOND), rows), change)
        _count(self._sizes, rows, change)
        self.rows += change * rows

    def until(self, due: float) -> tuple[int, int]:
        """Rows that are due until then, and their entries; some are due a little later."""
        last = int(due * SLOTS_A_SECOND)
        found = [(rows * entries, entries) for (slot, rows), entries in self._due.items() if slot <= last]
        return sum([rows for rows, _ in found]), sum([entries for _, entries in found])

    def most_in(self, turns: int) -> int:
        """Rows that so many turns take, at most."""
        return min(self.rows, turns * max(self._sizes))

    def first(self, lane: Hashable) -> Entry | None:
        """The first entry of a lane that still waits."""
        places = self.lanes.get(lane)
        while places:
            entry = places[0][2]
            if entry.place is places[0]:
                return entry
            heapq.heappop(places)
        self.lanes.pop(lane, None)
        self._front_of.pop(lane, None)
        return None

    def most_urgent(self) -> Entry:
        """The first entry of all lanes; one waits, or the client would have left."""
        while True:
            _, arrival, lane = self._fronts[0]
            entry = self.first(lane)
            if entry is not None and entry.arrival == arrival:
                return entry
            heapq.heappop(self._fronts)
            if entry is not None and self._front_of[lane] != entry.arrival:
                self._front_of[lane] = entry.arrival
                heapq.heappush(self._fronts, (self.lanes[lane][0][0], entry.arrival, lane))

    def waiting(self) -> Iterator[Entry]:
        return (place[2] for lane in self.lanes.values() for place in lane if place[2].place is place)

    def bury(self) -> None:
        """Forgets the places of entries that have left."""
        waiting = [place for lane in self.lanes.values() for place in lane if place[2].place is place]
        self.lanes.clear()
        self._fronts.clear()
        self._front_of.clear()
        for place in waiting:
            self.put(place)


def _count(counts: dict[K, int], key: K, change: int) -> None:
    """So many more, or less; what there is none of is forgotten."""
    left = counts.pop(key, 0) + change
    if left:
        counts[key] = left
