"""The queue as one would write it down: one list, sorted anew whenever somebody asks."""

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from app.batching.batch import Entry
from app.batching.queue import LIFT_SECONDS, PATIENCE_SECONDS
from app.protocol.messages import PRIORITIES

Room = Callable[[Hashable, float], int]


@dataclass
class Waiting:
    """An entry, since when it waits at its level, and since when it waits at all."""

    entry: Entry
    arrival: int
    level: int
    since: float
    began: float

    @property
    def client(self) -> Hashable:
        return self.entry.client

    @property
    def key(self) -> Hashable:
        return self.entry.key if self.entry.key is not None else ("alone", self.arrival)

    @property
    def urgency(self) -> tuple[float, int]:
        patience = self.began + PATIENCE_SECONDS
        deadline = self.entry.deadline
        return (patience if deadline is None else min(deadline, patience), self.arrival)


class NaiveQueue:
    """What Queue promises, without its speed."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        """In the order in which they came to their level."""
        self._turns: dict[int, list[Hashable]] = {level: [] for level in PRIORITIES}
        self._arrivals = 0

    @property
    def rows(self) -> int:
        return _rows(self.waiting)

    def put(self, entry: Entry, now: float) -> None:
        self._seat(Waiting(entry, self._arrivals, entry.level, now, now))
        self._arrivals += 1

    def remove(self, entry: Entry) -> None:
        self._leave(next(one for one in self.waiting if one.entry is entry))

    def take(self, room: Room, now: float) -> tuple[list[Entry], list[Entry]]:
        for one in [one for one in self.waiting if one.level > 1 and now - one.since >= LIFT_SECONDS]:
            self._leave(one)
            self._seat(Waiting(one.entry, one.arrival, one.level - 1, now, one.began))
        expired: list[Entry] = []
        first = self._first(now, expired)
        taken = [] if first is None else self._fill(first, room, now, expired)
        return taken, expired

    def displaced_by(self, entry: Entry, bound: int) -> list[Entry]:
        held = {client: _rows(self._of(client)) for client in {one.client for one in self.waiting} | {entry.client}}
        held[entry.client] += entry.rows
        most = max(held.values())
        largest = [client for client in held if held[client] == most]
        if held[entry.client] > bound // len(held) or len(largest) > 1:
            return []  # with two that hold as much, either may be chosen: the test does not compare
        candidates = [one for one in self._of(largest[0]) if one.level >= entry.level]
        candidates.sort(key=lambda one: (-one.level, -one.arrival))
        displaced: list[Entry] = []
        while candidates and self.rows - sum(one.rows for one in displaced) + entry.rows > bound:
            displaced.append(candidates.pop(0).entry)
        fits = self.rows - sum(one.rows for one in displaced) + entry.rows <= bound
        return displaced if fits else []

    def _of(self, client: Hashable) -> list[Waiting]:
        return [one for one in self.waiting if one.client == client]

    def _seat(self, one: Waiting) -> None:
        self.waiting.append(one)
        if one.client not in self._turns[one.level]:
            self._turns[one.level].append(one.client)

    def _leave(self, one: Waiting) -> None:
        self.waiting.remove(one)
        if not any(other.level == one.level for other in self._of(one.client)):
            self._turns[one.level].remove(one.client)

    def _pass_turn(self, one: Waiting) -> None:
        turns = self._turns[one.level]
        if one.client in turns:
            turns.append(turns.pop(turns.index(one.client)))

    def _urgent(self, level: int, client: Hashable, now: float, expired: list[Entry], key: object) -> Waiting | None:
        """The first that has not expired of a client at a level, of one key or (`...`) of any."""
        for one in sorted(self._of(client), key=lambda one: one.urgency):
            if one.level != level or key not in (..., one.key):
                continue
            if not one.entry.is_expired(now):
                return one
            self._leave(one)
            expired.append(one.entry)
        return None

    def _first(self, now: float, expired: list[Entry]) -> Waiting | None:
        for level in PRIORITIES:
            while self._turns[level]:
                one = self._urgent(level, self._turns[level][0], now, expired, ...)
                if one is not None:
                    return one
        return None

    def _fill(self, first: Waiting, room: Room, now: float, expired: list[Entry]) -> list[Entry]:
        taken: list[Entry] = []
        earliest = math.inf
        held_back: set[Hashable] = set()
        for level in PRIORITIES:
            turn = [client for client in self._turns[level] if client not in held_back]
            while turn and sum(one.rows for one in taken) < room(first.entry.key, earliest):
                served = []
                for client in turn:
                    one = self._urgent(level, client, now, expired, first.key)
                    rows = sum(one.rows for one in taken)
                    if one is None:
                        continue
                    soonest = min(earliest, math.inf if one.entry.deadline is None else one.entry.deadline)
                    if taken and rows + one.entry.rows > room(first.entry.key, soonest):
                        held_back.add(client)
                        continue
                    self._leave(one)
                    self._pass_turn(one)
                    served.append(client)
                    taken.append(one.entry)
                    earliest = soonest
                turn = served
        return taken


def _rows(waiting: Iterable[Waiting]) -> int:
    return sum(one.entry.rows for one in waiting)
