"""A deployment's max_queue_delay: how long a free instance may wait for company."""

import pytest

from tests.batching.world import World


def test_without_a_delay_no_timer_is_set() -> None:
    world = World()
    world.submit()
    world.turn()
    assert world.timers == 0


def test_a_free_instance_waits_for_company_until_the_delay_ends() -> None:
    world = World(max_queue_delay_ms=500)
    world.submit()
    world.wait(0.25)
    world.submit()
    world.wait(0.24)
    assert world.runs == []
    world.wait(0.02)
    assert world.batches() == [[1, 2]]
    assert world.value("bonsai_batches_total", reason="delay") == 1


@pytest.mark.parametrize("early", [1e-9, 0.0005])
def test_a_timer_that_rings_a_little_early_ends_it(early: float) -> None:
    world = World(max_queue_delay_ms=500, early=early)
    world.submit()
    world.wait(0.6)
    assert [run.time for run in world.runs] == [pytest.approx(1000.5, abs=0.001)]


def test_its_clock_starts_with_the_first_request() -> None:
    world = World(max_queue_delay_ms=500)
    world.wait(10)
    world.submit()
    for _ in range(3):
        world.wait(0.125)
        world.submit()
    world.wait(0.125)
    assert [run.time for run in world.runs] == [1010.5]


@pytest.mark.parametrize("rows", [[8], [1] * 8, [4, 4], [7, 2]])
def test_it_ends_early_when_the_batch_is_full(rows: list[int]) -> None:
    world = World(max_queue_delay_ms=500, max_batch_rows=8)
    for count in rows:
        world.submit(count)
        world.turn()
    world.settle()
    assert len(world.runs) == 1
    assert world.now == 1000.0


def test_after_an_early_end_the_next_request_waits_its_own_delay() -> None:
    world = World(max_queue_delay_ms=500, max_batch_rows=2)
    for _ in range(2):
        world.submit()
    world.settle()
    world.wait(0.25)
    world.complete()
    world.submit()
    world.wait(0.375)
    assert len(world.runs) == 1, "the timer of the batch that went early rang for the next one"
    world.wait(0.125)
    assert [run.time for run in world.runs] == [1000.0, 1000.75]


def test_what_collected_during_a_run_is_not_delayed_again() -> None:
    world = World(max_queue_delay_ms=500)
    world.submit()
    world.wait(0.5)
    world.submit()
    world.wait(3)
    world.complete()
    assert [run.time for run in world.runs] == [1000.5, 1003.5]


def test_a_request_that_cannot_wait_so_long_is_run_in_time() -> None:
    world = World(max_queue_delay_ms=500)
    ticket = world.submit(within=0.25)
    world.wait(1)
    world.drain()
    assert world.batches() == [[1]]
    assert world.runs[0].time < ticket.deadline
    assert world.value("bonsai_batches_total", reason="deadline") == 1


@pytest.mark.parametrize("rows", [4, 7])
def test_a_delay_that_has_ended_early_leaves_no_timer(rows: int) -> None:
    world = World(max_queue_delay_ms=500, max_batch_rows=4)
    world.submit(rows)
    assert world.timers == 0
    world.settle()
    assert world.value("bonsai_batches_total", reason="full") == 1


def test_a_delay_whose_only_request_was_cancelled_is_not_told_of_the_next_batch() -> None:
    world = World(max_queue_delay_ms=500)
    world.cancel(world.submit())
    world.wait(1)
    world.limit(max_queue_delay_ms=0)
    world.submit()
    world.drain()
    assert world.value("bonsai_batches_total", reason="delay") == 0
    assert world.value("bonsai_batches_total", reason="idle") == 1


def test_requests_of_a_delayed_batch_are_answered_right() -> None:
    world = World(max_queue_delay_ms=500, instances=2)
    tickets = [world.submit(rows, key=key) for rows, key in ((1, "a"), (2, "b"), (3, "a"))]
    world.drain()
    assert all(ticket.answered_right for ticket in tickets)
