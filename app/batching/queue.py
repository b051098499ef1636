"""The queue of a model: by priority, in turns between clients, each client's most urgent first; counted in rows."""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Hashable

from app.batching.batch import Entry, Place
from app.batching.client import Client
from app.protocol.messages import PRIORITIES

PATIENCE_SECONDS = 60.0
"""A request without a deadline is as urgent as one that has this long: a stream of deadlines must not starve it."""
LIFT_SECONDS = 1.0
"""A request that has waited this long goes up one level: a stream of higher priority must not starve it either."""
MOST_DEAD = 64

Room = Callable[[Hashable, float], int]
"""The rows that a batch of this key may have, the earliest of its deadlines given (infinity where there is none)."""
IsPast = Callable[[Entry], bool]
"""Whether an entry's answer would come too late, or its deadline has passed."""


class _Level:
    """The clients that wait at one priority; the first has the next turn."""

    __slots__ = ("clients", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.clients: dict[Hashable, Client] = {}

    def put(self, place: Place) -> None:
        entry = place[2]
        client = self.clients.get(entry.client)
        if client is None:
            client = self.clients[entry.client] = Client()
        client.put(place)
        client.count(place, 1)
        self.rows += entry.rows

    def leave(self, place: Place) -> None:
        entry = place[2]
        self.rows -= entry.rows
        client = self.clients[entry.client]
        client.count(place, -1)
        if not client.rows:
            del self.clients[entry.client]

    def pass_turn(self, name: Hashable) -> None:
        """The client's next turn comes after all others'."""
        if len(self.clients) > 1 and name in self.clients:
            self.clients[name] = self.clients.pop(name)


class Queue:
    """Entries that wait, each in one place."""

    def __init__(self) -> None:
        self.rows = 0
        self.entries = 0
        self._arrivals = itertools.count()
        self._levels = {level: _Level() for level in PRIORITIES}
        self._by_age: deque[tuple[float, Place]] = deque()
        """Since when entries wait at a level from which they can rise."""
        self._dead = 0

    def __bool__(self) -> bool:
        return self.rows > 0

    def put(self, entry: Entry, now: float) -> None:
        entry.arrival = next(self._arrivals)
        entry.lane = entry.key if entry.key is not None else ("alone", entry.arrival)
        self._seat(entry, _due(entry, now), now)

    def take(self, room: Room, now: float, is_past: IsPast) -> tuple[list[Entry], list[Entry]]:
        """Entries of one key for the next batch, and those met on the way that are past being run.

        An entry larger than the room gets a batch of its own. Nothing is taken only where nothing waits any more.
        """
        self._lift(now)
        expired: list[Entry] = []
        first = self._first(is_past, expired)
        return ([] if first is None else self._fill(first, room, is_past, expired)), expired

    def remove(self, entry: Entry) -> None:
        """Takes an entry out, wherever it waits."""
        self._leave(entry)
        self._dead += 1
        if self._dead > MOST_DEAD + self.rows:
            self._bury()

    def ahead(self, entry: Entry, now: float) -> int:
        """Rows that would go before `entry` if it came now, at most, where all that waits has its key and no deadline
        cuts a run: what waits at higher levels, and at its own level what its own client has that is more urgent, and
        what others have or, if that is less, what their turns take until its own client's turn has come for it. What
        fills up the runs of higher levels is left out."""
        higher = sum(self._levels[level].rows for level in range(PRIORITIES.start, entry.level))
        level = self._levels[entry.level]
        client = level.clients.get(entry.client)
        own, (urgent, entries) = (0, (0, 0)) if client is None else (client.rows, client.until(_due(entry, now)))
        others = [other for other in level.clients.values() if other is not client]
        turns = sum([other.most_in(entries + 1) for other in others])
        # A run without room for a client's entry is filled up by others: with less rows than it, at each one's turn.
        filling = len(others) * (urgent + entry.rows - entries - 1)
        return higher + urgent + min(level.rows - own, turns + filling)

    def displaced_by(self, entry: Entry, bound: int) -> list[Entry]:
        """The newest entries of the client that holds the most, whose leaving makes room for `entry` within `bound`.

        None where the entry's own client would hold more than an equal share, or where only higher levels would have
        to leave.
        """
        held = {entry.client: entry.rows}
        for level in self._levels.values():
            for name, client in level.clients.items():
                held[name] = held.get(name, 0) + client.rows
        largest = max(held, key=lambda name: held[name])
        if largest == entry.client or held[entry.client] > bound // len(held):
            return []
        missing = self.rows + entry.rows - bound
        displaced: list[Entry] = []
        for number in reversed(range(entry.level, PRIORITIES.stop)):
            holder = self._levels[number].clients.get(largest)
            waiting = () if holder is None else holder.waiting()
            for newest in heapq.nlargest(missing, waiting, key=lambda one: one.arrival):
                if missing <= 0:
                    break
                displaced.append(newest)
                missing -= newest.rows
        return displaced if missing <= 0 else []

    def _seat(self, entry: Entry, due: float, now: float) -> None:
        place = entry.place = (due, entry.arrival, entry)
        self._levels[entry.level].put(place)
        self.rows += entry.rows
        self.entries += 1
        if entry.level != PRIORITIES.start:
            self._by_age.append((now, place))

    def _leave(self, entry: Entry) -> None:
        place, entry.place = entry.place, None
        assert place is not None
        self.rows -= entry.rows
        self.entries -= 1
        self._levels[entry.level].leave(place)

    def _first(self, is_past: IsPast, expired: list[Entry]) -> Entry | None:
        """The entry that the next batch must begin with."""
        for level in self._levels.values():
            while level.clients:
                entry = next(iter(level.clients.values())).most_urgent()
                if not is_past(entry):
                    return entry
                self._leave(entry)
                expired.append(entry)
        return None

    def _fill(self, first: Entry, room: Room, is_past: IsPast, expired: list[Entry]) -> list[Entry]:
        """Takes what may share a batch with `first`: level by level, one entry a client and turn."""
        taken: list[Entry] = []
        rows, earliest = 0, math.inf
        held_back: set[Hashable] = set()  # a client's later entries must not overtake the one that found no room
        most = room(first.key, earliest)
        for level in self._levels.values():
            turn = [
                name for name, client in level.clients.items() if first.lane in client.lanes and name not in held_back
            ]
            while turn and rows < most:
                again = []
                for name in turn:
                    entry = self._next_of(level, name, first.lane, is_past, expired)
                    if entry is None:
                        continue
                    soonest = earliest if entry.deadline is None else min(earliest, entry.deadline)
                    bound = most if soonest == earliest else room(first.key, soonest)
                    if taken and rows + entry.rows > bound:
                        held_back.add(name)
                        continue
                    earliest, most = soonest, bound
                    self._leave(entry)
                    level.pass_turn(name)
                    again.append(name)
                    taken.append(entry)
                    rows += entry.rows
                turn = again
        return taken

    def _next_of(
        self, level: _Level, name: Hashable, lane: Hashable, is_past: IsPast, expired: list[Entry]
    ) -> Entry | None:
        while (client := level.clients.get(name)) is not None:
            entry = client.first(lane)
            if entry is None or not is_past(entry):
                return entry
            self._leave(entry)
            expired.append(entry)
        return None

    def _lift(self, now: float) -> None:
        """Moves what has waited long enough one level up."""
        while self._by_age:
            since, place = self._by_age[0]
            entry = place[2]
            if entry.place is place and now - since < LIFT_SECONDS:
                return
            self._by_age.popleft()
            if entry.place is place:
                self._leave(entry)
                entry.level -= 1
                self._seat(entry, place[0], now)  # as urgent as when it began to wait

    def _bury(self) -> None:
        """Forgets the places of entries that have left, which would pile up where clients hang up behind a long run."""
        self._dead = 0
        self._by_age = deque((since, place) for since, place in self._by_age if place[2].place is place)
        for level in self._levels.values():
            for client in level.clients.values():
                client.bury()


def _due(entry: Entry, now: float) -> float:
    """How urgent an entry is that begins to wait now."""
    patience = now + PATIENCE_SECONDS
    return patience if entry.deadline is None else min(entry.deadline, patience)
