"""Levels of priority: 1 first, and age lifts."""

import pytest

from app.batching.queue import LIFT_SECONDS
from tests.batching.world import World


def busy(**options: int) -> World:
    """A world whose one instance is under way."""
    world = World(**{"max_batch_rows": 1, **options})
    world.submit()
    world.turn()
    return world


def test_a_higher_level_goes_first() -> None:
    world = busy()
    for level in (3, 2, 1, 3, 2, 1):
        world.submit(level=level)
    world.drain()
    assert world.batches() == [[1], [4], [7], [3], [6], [2], [5]]


def test_lower_levels_fill_what_is_left_of_a_batch() -> None:
    world = busy(max_batch_rows=3)
    for level in (3, 2, 1, 3):
        world.submit(level=level)
    world.complete()
    assert world.batches() == [[1], [2, 3, 4]]


def test_a_higher_level_of_another_shape_goes_first_too() -> None:
    world = busy(max_batch_rows=8)
    for level, key in ((3, "a"), (3, "a"), (1, "b")):
        world.submit(level=level, key=key)
    world.drain()
    assert world.batches() == [[1], [4], [2, 3]]


@pytest.mark.parametrize(("waited", "order"), [(0.9, [3, 2]), (1.0, [2, 3])])
def test_a_request_goes_up_a_level_once_it_has_waited(waited: float, order: list[int]) -> None:
    world = busy()
    world.submit(level=2)
    world.now += waited * LIFT_SECONDS
    world.submit(level=1)
    world.complete()
    world.complete()
    assert [run.tickets for run in world.runs[1:]] == [[number] for number in order]


def test_a_request_goes_up_one_level_at_a_time() -> None:
    world = busy()
    world.submit(level=3, client="old")
    for _ in range(2):
        world.now += LIFT_SECONDS
        world.submit(level=1)
        world.complete()
    assert [run.tickets for run in world.runs] == [[1], [3], [4]]
    world.submit(level=1)
    world.complete()
    assert world.runs[-1].tickets == [2], "at level 1 it has the older turn"


def test_what_was_lifted_stays_in_order() -> None:
    world = busy(max_batch_rows=1)
    for _ in range(4):
        world.submit(level=3)
    world.now += LIFT_SECONDS
    world.drain()
    assert world.batches() == [[1], [2], [3], [4], [5]]


def test_what_was_lifted_can_be_cancelled() -> None:
    world = busy()
    gone, stays = world.submit(level=3), world.submit(level=3)
    world.now += LIFT_SECONDS
    world.submit(level=1)
    world.complete()
    world.cancel(gone)
    world.drain()
    assert gone.outcomes == []
    assert stays.answered_right
    assert world.value("bonsai_queue_rows") == 0


def test_a_cancelled_request_is_not_lifted() -> None:
    world = busy()
    world.cancel(world.submit(level=3))
    world.now += LIFT_SECONDS
    stays = world.submit(level=3)
    world.drain()
    assert stays.answered_right
    assert world.batches() == [[1], [3]]
