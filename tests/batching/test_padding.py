"""Requests of about the same length share a run, padded, and get their own lengths back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.batching.padding import Bucket, Padding, bucket_length, joined
from app.errors import BonsaiError, ExecutionFailed
from app.protocol.messages import Array, Inputs
from tests.batching.models import breaks_on
from tests.batching.records import Ticket
from tests.batching.world import World

PAD = -7.0
PADDING = Padding({"x": PAD}, frozenset({"y"}))


def padded(*, padding: Padding = PADDING, **limits: int) -> World:
    return World(padding=padding, **limits)


def submit(world: World, length: int, rows: int = 1) -> Ticket:
    return world.submit(rows, key=Bucket(bucket_length(length), ()), length=length)


def test_requests_of_one_bucket_share_a_run_and_get_their_own_lengths_back() -> None:
    world = padded()
    tickets = [submit(world, length, rows) for length, rows in ((30, 2), (32, 1), (31, 3))]
    world.drain()
    assert [run.shape for run in world.runs] == [(6, 32)]
    assert all(ticket.answered_right for ticket in tickets)


def test_it_is_padded_to_the_longest_not_to_the_bucket() -> None:
    world = padded()
    for _ in range(2):
        submit(world, 29)
    world.drain()
    assert bucket_length(29) > 29
    assert [run.shape for run in world.runs] == [(2, 29)]


def test_lengths_of_different_buckets_do_not_share_a_run() -> None:
    world = padded()
    for length in (8, 100, 8):
        submit(world, length)
    world.drain()
    assert world.batches() == [[1, 3], [2]]


def test_the_pad_value_fills_what_is_missing() -> None:
    seen: list[Array] = []

    def run(inputs: Inputs) -> dict[str, Array]:
        seen.append(np.asarray(inputs["x"]))
        return {"y": seen[-1]}

    world = World(run, padding=PADDING)
    submit(world, 30)
    submit(world, 32)
    world.drain()
    assert (seen[0][0, 30:] == PAD).all()
    assert (seen[0][0, 1:30] == 0).all()
    assert (seen[0][1, 1:] == 0).all()


def test_the_budget_is_rows_times_padded_length() -> None:
    world = padded(max_padded_size=4 * bucket_length(30), max_batch_rows=32)
    for _ in range(9):
        submit(world, 30)
    world.drain()
    assert [run.shape for run in world.runs] == [(4, 30), (4, 30), (1, 30)]


def test_one_row_longer_than_the_budget_runs_alone() -> None:
    world = padded(max_padded_size=10)
    tickets = [submit(world, 50) for _ in range(2)]
    world.drain()
    assert world.batches() == [[1], [2]]
    assert all(ticket.answered_right for ticket in tickets)


def test_a_request_of_many_long_rows_is_split_by_the_padded_budget() -> None:
    world = padded(max_padded_size=4 * bucket_length(30), max_batch_rows=32)
    ticket = submit(world, 30, rows=10)
    world.drain()
    assert [run.shape for run in world.runs] == [(4, 30), (4, 30), (2, 30)]
    assert ticket.answered_right


def test_an_output_without_the_length_is_left_as_it_is() -> None:
    def run(inputs: Inputs) -> dict[str, Array]:
        return {"y": np.asarray(inputs["x"]) + 0.5, "sum": np.ones((len(inputs["x"]), 40))}

    world = World(run, padding=PADDING)
    tickets = [submit(world, length) for length in (30, 32)]
    world.drain()
    for ticket in tickets:
        assert not isinstance(ticket.outcome, BonsaiError)
        assert ticket.outcome.array("sum").shape == (1, 40)
        assert ticket.answered_right


def test_a_split_request_of_a_padded_model_is_joined_in_its_own_length() -> None:
    world = padded(max_batch_rows=4)
    split, longer = submit(world, 30, rows=6), submit(world, 32, rows=2)
    world.drain()
    assert world.batches() == [[1], [1, 2]]
    assert split.answered_right
    assert longer.answered_right


def test_halves_of_a_failed_batch_are_padded_again() -> None:
    world = World(breaks_on(2), padding=PADDING)
    tickets = [submit(world, length) for length in (29, 32, 30, 31)]
    world.drain()
    assert isinstance(tickets.pop(1).error, ExecutionFailed)
    assert all(ticket.answered_right for ticket in tickets)


def test_metrics_tell_what_was_wasted() -> None:
    world = padded()
    for length, rows in ((30, 1), (32, 2)):
        submit(world, length, rows)
    world.drain()
    assert world.value("bonsai_real_elements_total") == 30 + 2 * 32
    assert world.value("bonsai_padded_elements_total") == 3 * 32
    assert world.value("bonsai_padding_waste_ratio_sum") == pytest.approx(2 / 96)


def test_inputs_whose_lengths_do_not_agree_are_answered_too() -> None:
    """They are joined with their like only, and have no length."""
    world = padded()
    tickets = [world.submit(key=("shapes",), length=3) for _ in range(2)]
    for ticket in tickets:
        ticket.entry.length = 0
    world.drain()
    assert len(world.runs) == 1
    assert len(tickets[0].outcomes) == len(tickets[1].outcomes) == 1
    assert world.value("bonsai_requests_in_flight") == 0


def test_a_request_of_length_nothing_is_answered() -> None:
    world = padded()
    ticket = world.submit(key=Bucket(bucket_length(0), ()))
    ticket.entry.length = 0
    world.drain()
    assert len(ticket.outcomes) == 1


def test_a_bucket_holds_its_length_and_little_more() -> None:
    for length in range(1000):
        top = bucket_length(length)
        assert max(1, length) <= top <= max(length + 1, 2**0.25 * length)
        assert bucket_length(top) == top


def test_buckets_are_few() -> None:
    assert len({bucket_length(length) for length in range(1, 8193)}) < 60


def test_the_length_is_that_of_all_padded_inputs_or_none() -> None:
    padding = Padding({"a": 0, "b": 0}, frozenset())
    same, other = np.zeros((2, 5)), np.zeros((2, 6))
    assert padding.length({"a": same, "b": same, "c": other}) == 5
    assert padding.length({"a": same, "b": other}) is None


lengths = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(lengths, st.sampled_from([np.int64, np.float32]), st.integers(-3, 3))
def test_padding_keeps_every_value_and_fills_the_rest(
    shapes: list[tuple[int, int]], dtype: type[np.generic], value: int
) -> None:
    parts = [{"x": np.full((rows, length, 2), index + 10, dtype)} for index, (rows, length) in enumerate(shapes)]
    longest = max(length for _, length in shapes)
    whole = Padding({"x": value}, frozenset()).join(parts, longest)["x"]
    assert whole.dtype == dtype
    assert whole.shape == (sum(rows for rows, _ in shapes), longest, 2)
    start = 0
    for part in parts:
        rows, length = part["x"].shape[:2]
        assert (whole[start : start + rows, :length] == part["x"]).all()
        assert (whole[start : start + rows, length:] == value).all()
        start += rows


def test_inputs_that_have_no_length_are_joined_beside_the_padded() -> None:
    parts = [{"x": np.ones((1, size)), "n": np.full((1, 2), size)} for size in (1, 3)]
    assert PADDING.join(parts, 3)["n"].tolist() == [[1, 1], [3, 3]]


def test_lists_beside_the_padded_stay_lists() -> None:
    """As arrays they would have lost the type that the graph has for them."""
    parts: list[Inputs] = [{"x": np.ones((1, size)), "n": [[size]]} for size in (1, 3)]
    assert PADDING.join(parts, 3)["n"] == [[1], [3]]


def test_rows_that_came_as_lists_are_joined_as_lists() -> None:
    assert joined([{"x": [[1.5]]}, {"x": [[2.5], [3.5]]}]) == {"x": [[1.5], [2.5], [3.5]]}


@pytest.mark.parametrize("lists_first", [True, False])
def test_rows_that_came_as_lists_take_the_type_of_those_that_did_not(lists_first: bool) -> None:
    parts = [{"x": [[1]]}, {"x": np.array([[2.5]], np.float32)}]
    column = joined(parts if lists_first else parts[::-1])["x"]
    assert not isinstance(column, list)
    assert column.dtype == np.float32
    assert sorted(column.ravel()) == [1, 2.5]


def test_one_part_is_not_copied() -> None:
    part = {"x": np.zeros((2, 2))}
    assert joined([part]) is part
