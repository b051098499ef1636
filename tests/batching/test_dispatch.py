"""When batches form, and what goes into them."""

import pytest

from tests.batching.world import World


def test_a_request_to_an_idle_model_runs_at_the_next_turn() -> None:
    world = World()
    world.submit()
    assert world.runs == []
    world.settle()
    assert world.batches() == [[1]]


def test_what_arrives_in_one_turn_shares_a_batch() -> None:
    world = World()
    for _ in range(3):
        world.submit()
    world.settle()
    assert world.batches() == [[1, 2, 3]]


def test_what_arrives_turn_after_turn_shares_a_batch_while_turns_bring_more_than_one() -> None:
    world = World()
    for arriving in (2, 3, 1):
        for _ in range(arriving):
            world.submit()
        world.turn()
    assert world.batches() == [[1, 2, 3, 4, 5, 6]]


def test_one_request_alone_waits_for_one_turn_only() -> None:
    world = World()
    world.submit()
    world.turn()
    assert world.batches() == [[1]]


def test_a_batch_that_is_full_waits_for_one_turn_only() -> None:
    world = World(max_batch_rows=3)
    for _ in range(3):
        world.submit()
    world.turn()
    assert world.batches() == [[1, 2, 3]]


def test_more_than_the_free_instances_would_take_is_not_waited_for() -> None:
    world = World(costs=((1, 1.0), (2, 1.2), (4, 3.0), (8, 8.0)))  # two rows are the best
    for _ in range(3):
        world.submit()
    world.turn()
    assert world.batches() == [[1, 2]]


def test_what_a_turn_has_left_over_waits_for_the_next_turn_only() -> None:
    world = World(inline=True)
    for key in ("a", "a", "b", "b", "c", "c"):
        world.submit(key=key)
    world.turn()
    for runs in range(1, 4):
        world.turn()
        assert len(world.runs) == runs


def test_every_request_of_a_batch_gets_its_own_rows() -> None:
    world = World()
    tickets = [world.submit(rows) for rows in (1, 3, 2)]
    world.drain()
    assert world.batches() == [[1, 2, 3]]
    assert all(ticket.answered_right for ticket in tickets)


def test_requests_collect_while_the_only_instance_is_busy() -> None:
    world = World()
    world.submit()
    world.settle()
    for _ in range(3):
        world.submit()
        world.settle()
    assert world.batches() == [[1]]
    world.complete()
    assert world.batches() == [[1], [2, 3, 4]]


def test_a_second_idle_instance_takes_what_waits_at_once() -> None:
    world = World(instances=2)
    world.submit()
    world.settle()
    world.submit()
    world.settle()
    assert world.batches() == [[1], [2]]


@pytest.mark.parametrize(
    ("instances", "requests", "batches"),
    [
        (2, 6, [[1, 2, 3], [4, 5, 6]]),
        (3, 7, [[1, 2, 3], [4, 5], [6, 7]]),
        (3, 2, [[1], [2]]),
        (4, 9, [[1, 2, 3], [4, 5], [6, 7], [8, 9]]),
    ],
)
def test_what_waits_is_shared_between_the_free_instances(
    instances: int, requests: int, batches: list[list[int]]
) -> None:
    world = World(instances=instances)
    for _ in range(requests):
        world.submit()
    world.settle()
    assert world.batches() == batches


def test_instances_that_are_busy_get_no_share() -> None:
    world = World(instances=3)
    world.submit()
    world.settle()
    for _ in range(6):
        world.submit()
    world.settle()
    assert world.batches() == [[1], [2, 3, 4], [5, 6, 7]]


def test_an_instance_takes_no_more_than_its_part_of_all_rows() -> None:
    """Eight clients that ask again at once: one had an instance alone, and seven would share each run of the other."""
    world = World(instances=2)
    world.submit()
    world.settle()
    for _ in range(7):
        world.submit()
    world.settle()
    for _ in range(20):
        first = world.under_way[0].run
        assert first is not None
        world.complete(0)
        for _ in first.tickets:
            world.submit()
        world.settle()
    assert max(len(batch) for batch in world.batches()) == 4


def test_one_turn_fills_all_instances_and_leaves_what_is_over_budget() -> None:
    world = World(instances=3, max_batch_rows=2)
    for _ in range(8):
        world.submit()
    world.settle()
    assert world.batches() == [[1, 2], [3, 4], [5, 6]]


def test_runs_may_complete_in_any_order() -> None:
    world = World(instances=3)
    tickets = []
    for _ in range(3):
        tickets.append(world.submit())
        world.settle()
    for index in (2, 0, 0):
        world.complete(index)
    assert all(ticket.answered_right for ticket in tickets)


@pytest.mark.parametrize(
    ("rows", "batches"),
    [
        ([1] * 9, [[1, 2, 3, 4, 5, 6, 7, 8], [9]]),
        ([5, 3, 1], [[1, 2], [3]]),
        ([5, 4, 3], [[1], [2, 3]]),
        ([8, 1], [[1], [2]]),
        ([7, 2, 1], [[1], [2, 3]]),
    ],
)
def test_a_batch_is_bounded_in_rows_not_in_requests(rows: list[int], batches: list[list[int]]) -> None:
    world = World(max_batch_rows=8)
    for count in rows:
        world.submit(count)
    world.drain()
    assert world.batches() == batches


def test_equals_are_served_first_in_first_out_even_where_a_later_one_would_fit() -> None:
    world = World(max_batch_rows=4)
    for rows in (3, 3, 1):
        world.submit(rows)
    world.drain()
    assert world.batches() == [[1], [2, 3]]


def test_shapes_do_not_share_a_batch() -> None:
    world = World(instances=2)
    for key in ("a", "b", "a", "b"):
        world.submit(key=key)
    world.settle()
    assert world.batches() == [[1, 3], [2, 4]]


def test_another_shape_in_between_does_not_cut_a_batch() -> None:
    world = World()
    for key in ("a", "b", "a"):
        world.submit(key=key)
    world.drain()
    assert world.batches() == [[1, 3], [2]]


def test_the_shape_whose_oldest_request_waited_longest_goes_first() -> None:
    world = World()
    world.submit(key="c")
    world.settle()
    world.submit(key="b")
    for _ in range(5):
        world.submit(key="a")
    world.complete()
    assert world.batches() == [[1], [2]]


def test_a_steady_stream_of_one_shape_does_not_starve_another() -> None:
    world = World(max_batch_rows=2)
    world.submit(2, key="a")
    world.settle()
    world.submit(2, key="a")
    rare = world.submit(key="b")
    for _ in range(3):
        world.submit(2, key="a")
        world.complete()
    assert rare.answered_right


def test_a_request_without_a_key_runs_alone_and_whole() -> None:
    world = World(max_batch_rows=4)
    tickets = [world.submit(rows, key=None) for rows in (1, 9, 1)]
    world.drain()
    assert [len(run.rows) for run in world.runs] == [1, 9, 1]
    assert all(ticket.answered_right for ticket in tickets)


def test_requests_without_a_key_use_all_instances_in_order_of_arrival() -> None:
    world = World(instances=2)
    for _ in range(3):
        world.submit(key=None)
    world.settle()
    assert world.batches() == [[1], [2]]


def test_a_request_submitted_by_a_reply_is_served_too() -> None:
    world = World()
    first = world.submit()
    first.then = world.submit
    world.drain()
    assert world.batches() == [[1], [2]]
    assert world.tickets[1].answered_right


def test_an_inline_model_runs_one_batch_a_turn() -> None:
    world = World(inline=True, max_batch_rows=2)
    for _ in range(5):
        world.submit()
    for runs in range(1, 4):
        world.turn()
        assert len(world.runs) == runs
    assert all(ticket.answered_right for ticket in world.tickets)
    assert world.batcher.idle


def test_a_reply_of_an_inline_model_that_submits_waits_for_the_next_turn() -> None:
    world = World(inline=True)
    world.submit().then = world.submit
    world.turn()
    assert world.batches() == [[1]]
    world.turn()
    assert world.batches() == [[1], [2]]


def test_timings_say_when_a_request_started_was_joined_and_was_computed() -> None:
    world = World()
    world.submit()
    world.settle()
    timings = world.submit().timings
    world.now += 3
    world.complete()
    world.now += 2
    world.complete()
    assert (timings.received, timings.started, timings.joined, timings.computed) == (1000.0, 1003.0, 1003.0, 1005.0)
