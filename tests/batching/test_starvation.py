"""Whatever floods the server, every request is answered within a bound."""

from collections.abc import Callable, Hashable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching.queue import LIFT_SECONDS, PATIENCE_SECONDS
from app.errors import Overloaded
from tests.batching.records import Ticket
from tests.batching.world import World

RUN_SECONDS = 0.1
ROWS = 4


class Flood:
    """A world whose requests never end: whenever one is answered another one comes."""

    def __init__(self, instances: int = 1, waiting: int = 40) -> None:
        self.world = World(instances=instances, max_batch_rows=ROWS, takes=lambda run: RUN_SECONDS)
        self._waiting = waiting

    def begin(self, client: Hashable, **options: object) -> None:
        for _ in range(self._waiting):
            self._send(partial(self.world.submit, client=client, **options))  # type: ignore[arg-type]

    def answers(self, ticket: Ticket, within: float) -> bool:
        """Whether a request is answered within so many seconds, give or take the runs that are under way."""
        self.world.wait(within + 2 * RUN_SECONDS)
        return bool(ticket.outcomes) and ticket.answered_right

    def _send(self, submit: Callable[[], Ticket]) -> None:
        submit().then = partial(self._send, submit)


@pytest.mark.parametrize(("level", "lifts"), [(1, 0), (2, 1), (3, 2)])
def test_a_flood_of_high_priority_starves_no_level(level: int, lifts: int) -> None:
    flood = Flood()
    flood.begin("flood", level=1)
    ticket = flood.world.submit(client="small", level=level)
    assert flood.answers(ticket, within=lifts * (LIFT_SECONDS + RUN_SECONDS))


def test_a_flood_of_high_priority_from_its_own_client_starves_no_level() -> None:
    flood = Flood()
    flood.begin("one", level=1)
    ticket = flood.world.submit(client="one", level=3)
    turns = 40 / ROWS + 1
    assert flood.answers(ticket, within=2 * (LIFT_SECONDS + RUN_SECONDS) + turns * RUN_SECONDS)


def test_a_flood_of_one_client_starves_no_other() -> None:
    flood = Flood()
    flood.begin("flood")
    ticket = flood.world.submit(client="small")
    assert flood.answers(ticket, within=0)


def test_a_flood_of_short_deadlines_starves_no_request_without_one() -> None:
    flood = Flood()
    flood.begin("one", within=20)
    ticket = flood.world.submit(client="one")
    assert flood.answers(ticket, within=PATIENCE_SECONDS + 40 / ROWS * RUN_SECONDS)


def test_a_flood_of_one_shape_starves_no_other() -> None:
    flood = Flood()
    flood.begin("one", key="common")
    ticket = flood.world.submit(client="one", key="rare")
    assert flood.answers(ticket, within=40 / ROWS * RUN_SECONDS)


def test_a_full_queue_starves_no_small_client() -> None:
    world = World(max_batch_rows=ROWS, max_queue_rows=40, takes=lambda run: RUN_SECONDS)
    small = []
    for second in range(20):
        for _ in range(100):
            try:
                world.submit(client=f"flood {second % 2}")
            except Overloaded:
                break
        small.append(world.submit(client="small"))
        world.wait(1)
    assert all(ticket.answered_right for ticket in small)


floods = st.fixed_dictionaries(
    {
        "level": st.integers(1, 3),
        "within": st.sampled_from([None, 30.0]),
        "key": st.sampled_from(["k", "other", None]),
        "rows": st.integers(1, 5),
    }
)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(floods, min_size=1, max_size=4),
    st.integers(1, 2),
    st.integers(1, 3),
    st.sampled_from(["k", "own"]),
    st.booleans(),
)
def test_no_mixture_of_floods_starves_anybody(
    mixture: list[dict[str, object]], instances: int, level: int, key: str, is_flooder: bool
) -> None:
    flood = Flood(instances, waiting=12)
    for number, options in enumerate(mixture):
        flood.begin(f"flood {number}", **options)
    flood.world.wait(0.5)
    ticket = flood.world.submit(client="flood 0" if is_flooder else "small", key=key, level=level)
    lifted = (level - 1) * (LIFT_SECONDS + RUN_SECONDS)
    turns = len(mixture) * 12 * RUN_SECONDS
    patience = PATIENCE_SECONDS if is_flooder else 0
    assert flood.answers(ticket, within=lifted + turns + patience)
