"""Requests larger than a batch: split, run in parts, answered as one."""

import weakref
from collections.abc import Callable

import numpy as np
import pytest

from app.batching.batch import Entry
from app.errors import DeadlineExceeded, ExecutionFailed
from app.protocol.messages import Array, Inputs, Outputs, Share, Timings
from tests.batching.models import Model, breaks_on, plus_half
from tests.batching.records import Ticket
from tests.batching.world import World
from tests.collector import no_collector


@pytest.mark.parametrize(
    ("rows", "runs"), [(8, [8]), (9, [8, 1]), (16, [8, 8]), (17, [8, 8, 1]), (100, [8] * 12 + [4])]
)
def test_an_oversize_request_runs_in_parts_and_is_answered_whole(rows: int, runs: list[int]) -> None:
    world = World(max_batch_rows=8)
    ticket = world.submit(rows)
    world.drain()
    assert [len(run.rows) for run in world.runs] == runs
    assert ticket.answered_right


def test_parts_that_complete_in_another_order_are_joined_in_the_order_of_the_rows() -> None:
    world = World(instances=4, max_batch_rows=2)
    ticket = world.submit(8)
    world.turn()
    for index in (3, 1, 0):
        world.complete(index)
        assert ticket.outcomes == []
    world.complete()
    assert ticket.answered_right


def test_the_last_part_shares_its_batch_with_what_comes_after() -> None:
    world = World(max_batch_rows=4)
    tickets = [world.submit(6), world.submit(2)]
    world.drain()
    assert world.batches() == [[1], [1, 2]]
    assert all(ticket.answered_right for ticket in tickets)


def test_a_split_request_counts_as_all_its_rows() -> None:
    world = World(max_batch_rows=2)
    world.submit(7)
    assert world.value("bonsai_queue_rows") == 7


def test_parts_whose_answers_are_too_large_together_fail_and_the_rest_is_not_run() -> None:
    """Of 1,000,000 bytes each; a megabyte is 1,048,576."""

    def large(inputs: Inputs) -> dict[str, Array]:
        return {"y": np.zeros((len(inputs["x"]), 125_000))}

    world = World(large, max_batch_rows=1, max_output_mb=2)
    whole, fits = world.submit(10), world.submit(2)
    world.drain()
    assert isinstance(whole.outcome, ExecutionFailed)
    assert str(whole.outcome) == "outputs: expected at most 2097152 bytes (max_output_mb), got more"
    assert isinstance(fits.outcome, Share)
    assert len(world.runs) < 10


def failing_runs(*numbers: int) -> Model:
    """A model whose runs with these numbers (from 0) raise."""
    count = iter(range(1000))

    def run(inputs: Inputs) -> dict[str, Array]:
        if next(count) in numbers:
            raise ExecutionFailed(f"run failed with {len(inputs['x'])} rows")
        return plus_half(inputs)

    return run


@pytest.mark.parametrize("failing", [(0,), (1,), (2,), (0, 1), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("order", [(0, 0, 0), (2, 1, 0), (1, 0, 0)])
def test_a_failing_part_fails_the_request_once(failing: tuple[int, ...], order: tuple[int, ...]) -> None:
    world = World(failing_runs(*failing), instances=3, max_batch_rows=2)
    ticket = world.submit(6)
    world.turn()
    for index in order:
        world.complete(index)
    assert isinstance(ticket.error, ExecutionFailed)
    assert world.batcher.idle


def test_a_part_that_expires_expires_the_request_once() -> None:
    world = World(max_batch_rows=2)
    ticket = world.submit(6, within=5)
    world.wait(10)
    world.drain()
    assert isinstance(ticket.error, DeadlineExceeded)
    assert ticket.answered_at == 1005.0
    assert world.value("bonsai_deadline_misses_total") == 1
    assert len(world.runs) == 1
    assert world.batcher.idle


def test_a_part_that_comes_late_is_not_joined() -> None:
    world = World(max_batch_rows=2)
    ticket = world.submit(4, within=5)
    world.turn()
    world.complete()
    world.now += 10
    world.complete()
    world.drain()
    assert isinstance(ticket.error, DeadlineExceeded)
    assert len(ticket.outcomes) == 1


def test_a_part_that_fails_and_one_that_expires_are_one_answer() -> None:
    world = World(failing_runs(0), max_batch_rows=2)
    ticket = world.submit(4, within=5)
    world.turn()
    world.complete()
    world.wait(10)
    world.drain()
    assert isinstance(ticket.error, ExecutionFailed)
    assert world.value("bonsai_deadline_misses_total") == 0


def test_neighbours_of_a_part_that_fails_are_answered() -> None:
    world = World(failing_runs(0), max_batch_rows=4)
    split, neighbour = world.submit(6), world.submit(2)
    world.drain()
    assert isinstance(split.error, ExecutionFailed)
    assert neighbour.answered_right


def test_the_remaining_parts_of_a_failed_request_are_not_run() -> None:
    world = World(failing_runs(0), max_batch_rows=2)
    ticket = world.submit(200)
    world.drain()
    assert isinstance(ticket.error, ExecutionFailed)
    assert len(world.runs) == 1


def test_a_part_of_a_failed_request_is_not_tried_again() -> None:
    world = World(breaks_on(1), instances=2, max_batch_rows=4)
    failed, neighbour = world.submit(6), world.submit(2)
    world.drain()
    assert isinstance(failed.error, ExecutionFailed)
    assert neighbour.answered_right
    assert world.batches() == [[1], [1, 2], [2]]


def test_parts_whose_answers_do_not_fit_together_fail_the_request() -> None:
    widths = iter((1, 2))

    def run(inputs: Inputs) -> dict[str, Array]:
        return {"y": inputs["x"].repeat(next(widths), axis=1)}

    world = World(run, max_batch_rows=2)
    ticket = world.submit(4)
    world.drain()
    assert isinstance(ticket.error, ExecutionFailed)


def test_every_input_is_split_at_the_same_rows() -> None:
    world = World()
    whole = world.submit(5)
    entry = Entry({"a": whole.x, "b": -whole.x}, 5, "k", whole.outcomes.append, whole.timings)
    parts = entry.split(2, 1 << 20, lambda entry, outcome: None, lambda part: None)
    assert [part.rows for part in parts] == [2, 2, 1]
    assert all((part.inputs["a"] == -part.inputs["b"]).all() for part in parts)


def test_parts_keep_the_deadline_level_client_and_key_of_the_whole() -> None:
    world = World(max_batch_rows=2)
    whole = world.submit(3, key="a", within=5, level=3, client="c").entry
    of = [(part.key, part.deadline, part.level, part.client) for part in (whole, *whole.parts)]
    assert of == [("a", 1005.0, 3, "c")] * 3


def test_a_split_request_does_not_overtake_the_one_before_it() -> None:
    world = World(max_batch_rows=2)
    for rows in (1, 4, 1):
        world.submit(rows)
    world.drain()
    assert world.batches() == [[1], [2], [2], [3]]


def test_a_split_request_is_one_request_in_flight() -> None:
    world = World(instances=2, max_batch_rows=2)
    world.submit(7)
    world.turn()
    assert world.value("bonsai_requests_in_flight") == 1
    world.drain()
    assert world.value("bonsai_requests_in_flight") == 0


def test_the_rows_of_one_client_s_split_request_do_not_keep_another_client_waiting() -> None:
    world = World(max_batch_rows=2)
    world.submit(20, client="a")
    world.submit(2, client="b")
    world.drain()
    assert world.batches()[1] == [2]


@pytest.mark.parametrize("last", ["answered", "failed"])
def test_a_split_request_leaves_nothing_to_the_garbage_collector(last: str) -> None:
    """It is large: what it takes must not stay until Python looks for cycles."""
    made: list[weakref.ref[Array]] = []

    def play() -> None:
        outcomes: list[object] = []
        entry = Entry({"x": np.zeros((4, 1))}, 4, "k", outcomes.append, Timings(0.0))
        first, second = entry.split(2, 1 << 20, lambda whole, outcome: whole.reply(outcome), lambda part: None)
        outputs = np.ones((2, 1))
        made.append(weakref.ref(outputs))
        first.reply(Share(Outputs({"y": outputs})))
        second.reply(ExecutionFailed("no") if last == "failed" else Share(Outputs({"y": np.ones((2, 1))})))
        assert len(outcomes) == 1

    with no_collector():
        play()
        assert made[0]() is None


def test_a_split_request_that_is_cancelled_lets_go_of_its_parts() -> None:
    world = World(max_batch_rows=2)
    entry = world.submit(8).entry
    entry.cancel()
    assert entry.parts == ()


@pytest.mark.parametrize("in_front", [False, True], ids=["its last part runs", "its last part waits"])
@pytest.mark.parametrize(
    "leave", [World.cancel, lambda world, _: world.wait(60)], ids=["it is cancelled", "its deadline passes"]
)
def test_a_split_request_that_nobody_waits_for_lets_go_of_the_answers_to_its_parts(
    leave: Callable[[World, Ticket], None], in_front: bool
) -> None:
    made: list[weakref.ref[Array]] = []

    def model(inputs: Inputs) -> dict[str, Array]:
        outputs = np.zeros((len(inputs["x"]), 1000))
        made.append(weakref.ref(outputs))
        return {"y": outputs}

    with no_collector():
        world = World(model, max_batch_rows=2)
        whole = world.submit(4, within=50)
        if in_front:
            world.submit(2, client="other")
        world.turn()
        world.complete()
        assert made[0]() is not None
        leave(world, whole)
        assert made[0]() is None
    world.drain()


def test_the_parts_of_a_request_count_as_one_that_waits() -> None:
    world = World(max_batch_rows=2)
    split = world.submit(8)
    world.turn()
    assert world.requests == 1
    alone = world.submit(1)
    other = world.submit(5)
    assert world.requests == 3
    world.cancel(other)
    assert world.requests == 2
    for _ in range(3):
        world.complete()
    assert (split.outcomes, world.requests) == ([], 1)
    world.drain()
    assert split.answered_right
    assert alone.answered_right
    assert world.requests == 0
