"""A request that comes alone runs wide: on all of the CPU, with nothing beside it."""

import pytest

from app.errors import Overloaded
from tests.batching.world import STEADY, World


def wide(*, instances: int = 3, **limits: float) -> World:
    return World(instances=instances, wide_costs=STEADY, **limits)


def flags(world: World) -> list[bool]:
    return [run.is_wide for run in world.runs]


@pytest.mark.parametrize("rows", [1, 8])
@pytest.mark.parametrize("key", ["k", None])
def test_a_request_that_comes_alone_runs_wide(rows: int, key: str | None) -> None:
    world = wide()
    ticket = world.submit(rows, key=key)
    world.drain()
    assert flags(world) == [True]
    assert ticket.answered_right


def test_requests_that_come_together_run_narrow_beside_each_other() -> None:
    world = wide()
    for _ in range(2):
        world.submit()
    world.settle()
    assert flags(world) == [False, False]


def test_a_request_beside_a_narrow_run_is_narrow() -> None:
    world = wide()
    for _ in range(2):
        world.submit()
    world.settle()
    world.submit()
    world.settle()
    assert flags(world) == [False] * 3


def test_a_request_beside_another_models_run_is_narrow() -> None:
    world = wide()
    world.cpu.begin()
    world.submit()
    world.drain()
    world.cpu.end()
    world.submit()
    world.drain()
    assert flags(world) == [False, True]


def test_a_request_beside_a_busy_event_loop_is_narrow() -> None:
    world = wide()
    for on_the_loop in (0, 5, 1):
        world.now += 8
        world.loop_seconds += on_the_loop
        world.submit()
        world.drain()
    assert flags(world) == [True, False, True]


def test_runs_of_every_kind_take_the_cpu_as_long_as_they_are_under_way() -> None:
    world = wide(instances=2)
    for requests in (1, 2, 3):
        for _ in range(requests):
            world.submit()
        world.settle()
        assert not world.cpu.is_free()
        world.drain()
        world.now += 1
        assert world.cpu.is_free()


def test_nothing_starts_beside_a_wide_run() -> None:
    world = wide()
    world.submit()
    world.settle()
    world.submit()
    world.settle()
    assert world.batches() == [[1]]
    world.complete()
    assert world.batches() == [[1], [2]]


def test_what_collected_during_a_wide_run_uses_all_instances() -> None:
    world = wide()
    world.submit()
    world.settle()
    for _ in range(3):
        world.submit()
    world.complete()
    assert world.batches() == [[1], [2], [3], [4]]
    assert flags(world) == [True, False, False, False]


def test_a_model_of_one_instance_has_no_wide_run() -> None:
    world = wide(instances=1)
    world.submit()
    world.settle()
    assert flags(world) == [False]


def test_without_a_wide_session_one_request_takes_one_instance() -> None:
    world = World(instances=2)
    for _ in range(2):
        world.submit()
        world.settle()
    assert flags(world) == [False, False]
    assert len(world.under_way) == 2


def test_a_wide_run_that_fails_frees_all_instances() -> None:
    world = wide()
    ticket = world.submit(1)
    world.settle()
    world.under_way[0].result = ValueError("the graph")
    world.complete()
    assert ticket.error
    for _ in range(3):
        world.submit()
    world.settle()
    assert len(world.under_way) == 3


def test_wide_runs_are_observed_by_their_own_costs() -> None:
    world = wide()
    narrow = world.runs_of.costs.of("k").usual(1)
    for _ in range(50):
        world.submit()
        world.settle()
        world.now += 3
        world.complete()
    assert world.runs_of.costs.of("k").usual(1) == narrow
    assert world.runs_of.wide_costs is not None
    assert world.runs_of.wide_costs.of("k").usual(1) == pytest.approx(3, rel=0.1)


def test_after_slow_times_what_comes_together_is_taken_in_again() -> None:
    """By the narrow runs of slow times every request beside another is refused, so that no narrow run can show that
    they have become quicker; wide ones show it."""
    pace = 1.0
    world = World(
        instances=2,
        takes=lambda run: pace * len(run.tickets) * (0.6 if run.is_wide else 1.0),
        costs=STEADY,
        wide_costs=((1, 0.6), (8, 4.8)),
    )

    def refused(pairs: int, within: float | None = 2.5) -> int:
        count = 0
        for _ in range(pairs):
            for _ in range(2):
                try:
                    world.submit(within=within)
                except Overloaded:
                    count += 1
            world.drain()
        return count

    assert refused(100) == 0
    pace = 30.0
    refused(100, within=None)
    pace = 1.0
    assert refused(50) == 50
    refused(200)
    assert refused(100) == 0


def test_a_wide_run_that_was_halted_says_nothing_of_narrow_ones() -> None:
    """It would have taken longer."""
    world = World(instances=2, costs=((1, 10.0), (8, 80.0)), wide_costs=STEADY)
    for _ in range(50):
        ticket = world.submit()
        world.settle()
        world.now += 2
        world.cancel(ticket)
        world.drain()
    assert flags(world) == [True] * 50
    assert world.runs_of.wide_costs is not None
    assert world.runs_of.wide_costs.of("k").usual(1) > 1.5
    assert world.runs_of.costs.of("k").usual(1) == 10.0


def test_a_split_request_that_comes_alone_is_shared_between_the_instances() -> None:
    world = wide(max_batch_rows=2)
    ticket = world.submit(6)
    world.settle()
    assert flags(world) == [False] * 3
    world.drain()
    assert ticket.answered_right


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4), (2, 1), (1, 2)])
def test_instances_that_change_during_a_wide_run_are_counted_right_afterwards(before: int, after: int) -> None:
    world = wide(instances=before)
    world.submit()
    world.settle()
    world.count = after
    world.complete()
    for _ in range(8):
        world.submit(key=None)
    world.settle()
    assert len(world.under_way) == after
    world.drain()
    assert all(ticket.answered_right for ticket in world.tickets)
