"""Clients take turns, and none fills the queue for the others."""

import pytest

from app.errors import Overloaded
from tests.batching.world import World


def busy(**options: int) -> World:
    """A world whose one instance is under way."""
    world = World(**options)
    world.submit(client="busy")
    world.turn()
    return world


def order(world: World) -> list[int]:
    """Tickets in the order in which they ran, without the one that kept the instance busy."""
    return [ticket for batch in world.batches()[1:] for ticket in batch]


def test_clients_of_a_level_take_turns() -> None:
    world = busy(max_batch_rows=1)
    for client in "aaabbc":
        world.submit(client=client)
    world.drain()
    assert order(world) == [2, 5, 7, 3, 6, 4]


def test_clients_take_turns_within_a_batch() -> None:
    world = busy(max_batch_rows=3)
    for client in "aaaabc":
        world.submit(client=client)
    world.complete()
    assert world.batches()[1] == [2, 6, 7]


def test_the_turn_goes_on_from_batch_to_batch() -> None:
    world = busy(max_batch_rows=2)
    for client in "aaabbbccc":
        world.submit(client=client)
    world.drain()
    assert world.batches()[1:] == [[2, 5], [3, 8], [6, 9], [4, 7], [10]]


def test_a_client_that_comes_later_waits_one_turn_of_the_others() -> None:
    world = busy(max_batch_rows=1)
    for _ in range(50):
        world.submit(client="flood")
    world.complete()
    late = world.submit(client="late")
    world.complete()
    world.complete()
    assert world.runs[-1].tickets == [late.number]


def test_levels_come_before_turns() -> None:
    world = busy(max_batch_rows=1)
    for client, level in (("a", 2), ("b", 3), ("a", 1), ("b", 2)):
        world.submit(client=client, level=level)
    world.drain()
    assert order(world) == [4, 2, 5, 3]


def test_a_shape_that_only_one_client_sends_gets_its_turn() -> None:
    world = busy(max_batch_rows=2)
    for _ in range(10):
        world.submit(client="a", key="common")
    rare = world.submit(client="b", key="rare")
    world.complete()
    world.complete()
    assert world.runs[-1].tickets == [rare.number]


def test_what_is_too_large_for_the_rest_of_a_batch_keeps_its_turn() -> None:
    world = busy(max_batch_rows=4)
    for client, rows in (("a", 3), ("b", 2), ("c", 1), ("a", 3)):
        world.submit(rows, client=client)
    world.drain()
    assert world.batches()[1:] == [[2, 4], [3], [5]]


def test_a_full_queue_makes_room_for_a_client_below_its_share() -> None:
    world = busy(max_queue_rows=4)
    flood = [world.submit(client="flood") for _ in range(4)]
    small = world.submit(client="small")
    refused = flood[-1].error
    assert isinstance(refused, Overloaded)
    assert refused.reason == "queue_full"
    assert world.value("bonsai_rejected_total", reason="queue_full") == 1
    world.drain()
    assert all(ticket.answered_right for ticket in (*flood[:3], small))


def test_it_goes_on_until_the_shares_are_equal() -> None:
    world = busy(max_queue_rows=4)
    flood = [world.submit(client="flood") for _ in range(4)]
    small = [world.submit(client="small") for _ in range(2)]
    with pytest.raises(Overloaded):
        world.submit(client="small")
    assert [bool(ticket.outcomes) for ticket in flood] == [False, False, True, True]
    world.drain()
    assert all(ticket.answered_right for ticket in small)


def test_the_client_that_fills_the_queue_is_refused_itself() -> None:
    world = busy(max_queue_rows=4)
    for client in "aaab":
        world.submit(client=client)
    with pytest.raises(Overloaded):
        world.submit(client="a")
    world.drain()
    assert all(ticket.answered_right for ticket in world.tickets)


def test_the_client_that_holds_most_makes_room() -> None:
    world = busy(max_queue_rows=6)
    held = {name: [world.submit(client=name) for _ in range(count)] for name, count in (("a", 2), ("b", 4))}
    world.submit(client="c")
    assert not any(ticket.outcomes for ticket in held["a"])
    assert [bool(ticket.outcomes) for ticket in held["b"]] == [False, False, False, True]


def test_no_more_leave_than_the_new_one_needs() -> None:
    world = busy(max_queue_rows=8)
    held = [world.submit(2, client="flood") for _ in range(4)]
    world.submit(3, client="small")
    assert [bool(ticket.outcomes) for ticket in held] == [False, False, True, True]
    assert world.value("bonsai_rejected_total", reason="queue_full") == 2


def test_a_higher_level_is_not_displaced_by_a_lower_one() -> None:
    world = busy(max_queue_rows=4)
    for _ in range(4):
        world.submit(client="flood", level=1)
    with pytest.raises(Overloaded):
        world.submit(client="small", level=2)


def test_a_higher_level_displaces_the_lowest_first() -> None:
    world = busy(max_queue_rows=4)
    held = [world.submit(client="flood", level=level) for level in (3, 2, 1, 2)]
    world.submit(client="small", level=1)
    assert [bool(ticket.outcomes) for ticket in held] == [True, False, False, False]


def test_a_split_request_makes_room_as_a_whole_and_is_refused_once() -> None:
    world = busy(max_batch_rows=2, max_queue_rows=8)
    large = world.submit(8, client="flood")
    small = world.submit(4, client="small")
    assert isinstance(large.error, Overloaded)
    assert world.value("bonsai_rejected_total", reason="queue_full") == 1
    assert world.value("bonsai_queue_rows") == 4
    world.drain()
    assert small.answered_right
    assert world.value("bonsai_requests_in_flight") == 0


def test_a_waiter_that_was_displaced_may_cancel_its_sibling() -> None:
    world = busy(max_queue_rows=4)
    held = [world.submit(client="flood") for _ in range(4)]
    held[3].then = lambda: world.cancel(held[2])
    small = world.submit(2, client="small")
    assert isinstance(held[3].error, Overloaded)
    world.drain()
    assert all(ticket.answered_right for ticket in (*held[:2], small))
    assert world.value("bonsai_queue_rows") == 0
    assert world.value("bonsai_requests_in_flight") == 0
