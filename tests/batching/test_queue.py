"""The queue against a naive one, for random operations, and what it keeps in memory."""

import math
import random
from collections.abc import Hashable
from weakref import WeakSet

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching.batch import Entry
from app.batching.client import SLOTS_A_SECOND
from app.batching.queue import PATIENCE_SECONDS, Queue
from app.protocol.messages import Timings
from tests.batching.naive_queue import NaiveQueue, Room

KEYS = ("a", "b", "c", None)
CLIENTS = ("x", "y", "z", "w")


class Waiter:
    """Who is told the outcome; it lives no longer than its entry."""

    def __call__(self, outcome: object) -> None: ...


def entry(
    rows: int = 1,
    key: Hashable | None = "a",
    *,
    client: Hashable = "x",
    level: int = 2,
    deadline: float | None = None,
    waiter: Waiter | None = None,
) -> Entry:
    return Entry({}, rows, key, waiter or Waiter(), Timings(0.0), deadline, level, client)


def room_of(rows: int) -> Room:
    """Half the room where a deadline is near."""
    return lambda key, earliest: rows if earliest == math.inf or key == "b" else max(1, rows // 2)


class Pair:
    """A queue and a naive one that are told the same."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue, self.naive = Queue(), NaiveQueue()
        self.entries: list[Entry] = []

    def put(self, rows: int, key: str | None, client: str, level: int, patience: float | None) -> None:
        new = entry(rows, key, client=client, level=level, deadline=None if patience is None else self.now + patience)
        self.naive.put(new, self.now)
        self.queue.put(new, self.now)
        self.entries.append(new)

    def take(self, rows: int) -> None:
        taken = self.queue.take(room_of(rows), self.now, lambda one: one.is_expired(self.now))
        assert taken == self.naive.take(room_of(rows), self.now)

    def remove(self, index: int) -> None:
        waiting = [one for one in self.entries if one.place is not None]
        if waiting:
            gone = waiting[index % len(waiting)]
            self.naive.remove(gone)
            self.queue.remove(gone)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def displace(self, rows: int, client: str, level: int) -> None:
        new, bound = entry(rows, client=client, level=level), self.queue.rows + rows // 2
        expected = self.naive.displaced_by(new, bound)
        if expected:
            assert self.queue.displaced_by(new, bound) == expected

    def check(self) -> None:
        assert self.queue.rows == self.naive.rows
        assert bool(self.queue) is bool(self.naive.waiting)


rows = st.integers(1, 6)
clients = st.sampled_from(CLIENTS)
levels = st.integers(1, 3)
operation = st.one_of(
    st.tuples(st.just("put"), rows, st.sampled_from(KEYS), clients, levels, st.sampled_from([None, 0.5, 3.0, 80.0])),
    st.tuples(st.just("take"), rows),
    st.tuples(st.just("remove"), st.integers(0, 20)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 0.5, 1.0, 30.0])),
    st.tuples(st.just("displace"), rows, clients, levels),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(operation, max_size=50))
def test_it_does_what_the_naive_one_does(operations: list[tuple[str, ...]]) -> None:
    pair = Pair()
    for name, *arguments in operations:
        getattr(pair, name)(*arguments)
        pair.check()
    while pair.queue or pair.naive.waiting:
        pair.take(3)


@pytest.mark.parametrize("seed", range(3))
def test_it_does_what_the_naive_one_does_in_long_traffic(seed: int) -> None:
    pair, dice = Pair(), random.Random(seed)
    for _ in range(3000):
        name = dice.choices(("put", "take", "remove", "wait"), (50, 22, 15, 13))[0]
        if name == "put":
            patience = dice.choice((None, 0.5, 3.0, 80.0))
            pair.put(dice.randint(1, 6), dice.choice(KEYS), dice.choice(CLIENTS), dice.randint(1, 3), patience)
        else:
            getattr(pair, name)({"take": 8, "remove": dice.randrange(99), "wait": dice.random()}[name])
        pair.check()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(rows, clients, levels), max_size=20), clients, levels)
def test_what_is_ahead_is_never_more_than_waits_and_all_of_the_higher_levels(
    held: list[tuple[int, str, int]], client: str, level: int
) -> None:
    queue = Queue()
    for count, other, one in held:
        queue.put(entry(count, client=other, level=one), 0.0)
    higher = sum(count for count, _, one in held if one < level)
    same = sum(count for count, _, one in held if one == level)
    ahead = queue.ahead(entry(client=client, level=level), 0.0)
    assert higher <= ahead <= higher + same
    own = sum(count for count, other, one in held if (other, one) == (client, level))
    assert ahead >= higher + own


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(rows, st.floats(0.1, 90)), max_size=20), st.floats(0.1, 90), st.integers(0, 20))
def test_of_its_own_client_only_what_is_more_urgent_is_ahead(
    held: list[tuple[int, float]], deadline: float, gone: int
) -> None:
    queue = Queue()
    entries = [entry(count, deadline=due) for count, due in held]
    for one in entries:
        queue.put(one, 0.0)
    for one in entries[:gone]:
        queue.remove(one)
    ahead = queue.ahead(entry(deadline=deadline), 0.0)
    for slack, compare in ((0.0, ahead.__ge__), (1 / SLOTS_A_SECOND, ahead.__le__)):
        due = min(deadline, PATIENCE_SECONDS) + slack
        rows_before = sum(count for count, other in held[gone:] if min(other, PATIENCE_SECONDS) <= due)
        assert compare(rows_before)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(rows, clients), max_size=30), st.integers(0, 5), rows, clients, st.integers(1, 8))
def test_no_more_goes_before_it_than_is_said_to_be_ahead(
    held: list[tuple[int, str]], runs: int, new: int, client: str, room: int
) -> None:
    queue = Queue()
    for count, other in held:
        queue.put(entry(count, client=other), 0.0)
    for _ in range(runs):  # so that any client may have the next turn
        queue.take(lambda *_: room, 0.0, lambda one: False)
    late = entry(new, client=client)
    ahead = queue.ahead(late, 0.0)
    queue.put(late, 0.0)
    before: list[Entry] = []
    while late not in before:
        before += queue.take(lambda *_: room, 0.0, lambda one: False)[0]
    assert sum(one.rows for one in before[: before.index(late)]) <= ahead


def test_a_turn_counts_with_the_rows_that_it_takes() -> None:
    queue = Queue()
    for count in (8, 2, 8):
        queue.put(entry(count, client="y"), 0.0)
    for count in (1, 1):
        queue.put(entry(count, client="z"), 0.0)
    assert queue.ahead(entry(), 0.0) == 8 + 1
    queue.put(entry(4), 0.0)
    assert queue.ahead(entry(), 0.0) == 4 + min(18 + 2, (16 + 3) + (2 + 3))
    assert queue.ahead(entry(deadline=1.0), 0.0) == 8 + 1
    while queue.rows > 4:  # what has gone is not counted any more
        queue.take(lambda *_: 8, 0.0, lambda one: False)
    assert queue.ahead(entry(deadline=1.0), 0.0) <= 4


def test_a_lifted_entry_is_as_urgent_as_when_it_began_to_wait() -> None:
    queue = Queue()
    older = entry(level=2)
    queue.put(older, 0.0)
    younger = entry(level=1, deadline=PATIENCE_SECONDS + 5)
    queue.put(younger, 10.0)
    taken = [queue.take(lambda *_: 1, 30.0, lambda one: False)[0] for _ in range(2)]
    assert taken == [[older], [younger]]


def test_an_equal_share_is_never_exceeded_by_displacing() -> None:
    queue = Queue()
    for _ in range(6):
        queue.put(entry(client="x"), 0.0)
    assert queue.displaced_by(entry(4, client="y"), 6) == []
    assert len(queue.displaced_by(entry(3, client="y"), 6)) == 3


def test_nothing_is_displaced_where_it_would_not_be_enough() -> None:
    queue = Queue()
    queue.put(entry(5, client="x", level=1), 0.0)
    queue.put(entry(1, client="x", level=2), 0.0)
    assert queue.displaced_by(entry(2, client="y", level=2), 6) == []


def alive_after(queue: Queue, number: int, **options: object) -> int:
    """How many of so many entries that came and went are still remembered at the most."""
    alive: WeakSet[Waiter] = WeakSet()
    most = 0
    for _ in range(number):
        waiter = Waiter()
        alive.add(waiter)
        gone = entry(waiter=waiter, **options)  # type: ignore[arg-type]
        queue.put(gone, 0.0)
        queue.remove(gone)
        del waiter, gone
        most = max(most, len(alive))
    return most


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("waiting", [0, 1, 50])
def test_entries_that_left_are_forgotten(level: int, waiting: int) -> None:
    queue = Queue()
    for _ in range(waiting):
        queue.put(entry(), 0.0)
    assert alive_after(queue, 2000, level=level, deadline=5.0) <= 100 + waiting


def test_entries_that_were_taken_are_forgotten_while_another_waits() -> None:
    queue = Queue()
    queue.put(entry(key="rare"), 0.0)
    alive: WeakSet[Waiter] = WeakSet()
    for number in range(2000):
        waiter = Waiter()
        alive.add(waiter)
        queue.put(entry(deadline=60.0, waiter=waiter), number / 100)
        del waiter
        queue.take(room_of(1), number / 100, lambda one: False)
    assert len(alive) <= 200  # what came in the last second may still be looked for by age
