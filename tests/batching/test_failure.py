"""A run that fails: only the culprit gets the error, nobody waits for ever."""

from collections.abc import Callable

import pytest

from app.batching.runs import Result
from app.errors import BonsaiError, ExecutionFailed
from app.protocol.messages import Array, Inputs, Outputs, Share
from tests.batching.models import Model, breaks_on
from tests.batching.records import Ticket
from tests.batching.world import World


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_only_the_culprit_fails_wherever_it_stands(size: int) -> None:
    for culprit in range(1, size + 1):
        world = World(breaks_on(culprit))
        tickets = [world.submit() for _ in range(size)]
        world.drain()
        assert isinstance(tickets.pop(culprit - 1).error, ExecutionFailed)
        assert all(ticket.answered_right for ticket in tickets)
        assert world.batcher.idle


@pytest.mark.parametrize("instances", [1, 2, 3])
def test_several_culprits_each_get_their_error(instances: int) -> None:
    world = World(breaks_on(1, 4, 7), instances=instances)
    tickets = [world.submit() for _ in range(8)]
    world.drain()
    failed = [ticket.number for ticket in tickets if isinstance(ticket.outcome, BonsaiError)]
    assert failed == [1, 4, 7]
    assert all(ticket.answered_right for ticket in tickets if ticket.number not in failed)


def test_a_model_that_always_fails_answers_everybody() -> None:
    world = World(breaks_on(*range(100)), max_batch_rows=4)
    tickets = [world.submit(rows) for rows in (1, 2, 9, 1, 4)]
    world.drain()
    assert all(isinstance(ticket.error, ExecutionFailed) for ticket in tickets)
    assert world.batcher.idle


def test_the_search_for_one_culprit_among_eight_takes_few_runs() -> None:
    world = World(breaks_on(5))
    for _ in range(8):
        world.submit()
    world.drain()
    assert len(world.runs) == 7  # the whole, then two halves three times


def test_requests_go_on_after_a_failure() -> None:
    world = World(breaks_on(1))
    world.submit()
    world.drain()
    after = world.submit()
    world.drain()
    assert after.answered_right


def test_halves_are_tried_before_what_waits() -> None:
    world = World(breaks_on(1), max_batch_rows=2)
    for _ in range(4):
        world.submit()
    world.drain()
    assert world.batches() == [[1, 2], [1], [2], [3, 4]]


def test_halves_run_beside_each_other() -> None:
    world = World(breaks_on(2), instances=2)
    world.submit(4, key="busy")
    world.settle()
    for _ in range(4):
        world.submit()
    world.settle()
    world.complete(1)
    world.complete(0)
    assert [flight.run.tickets for flight in world.under_way if flight.run] == [[2, 3], [4, 5]]


def test_what_a_request_that_was_tried_again_took_is_measured_to_the_end() -> None:
    world = World(breaks_on(1))
    world.submit()
    innocent = world.submit()
    world.settle()
    world.now += 2
    world.drain()
    assert innocent.answered_right
    assert innocent.timings.computed == 1002.0


def test_runs_that_failed_teach_nothing_about_costs() -> None:
    world = World(breaks_on(1), costs=((1, 1.0),))
    world.submit()
    world.settle()
    world.now += 100
    world.complete()
    assert world.runs_of.costs.of("k").usual(1) == 1.0


@pytest.mark.parametrize("error", [ValueError, MemoryError, RuntimeError, ZeroDivisionError])
def test_what_a_graph_raises_becomes_execution_failed_without_its_text(error: type[Exception]) -> None:
    world = World(breaks_on(1, error=error))
    ticket = world.submit()
    world.drain()
    assert isinstance(ticket.error, ExecutionFailed)
    assert "secret" not in str(ticket.error)
    assert isinstance(ticket.error.__cause__, error)


def test_an_execution_failure_of_the_run_reaches_the_waiter() -> None:
    world = World(breaks_on(1, error=ExecutionFailed))
    ticket = world.submit()
    world.drain()
    assert isinstance(ticket.error, ExecutionFailed)


def resized(change: int) -> Model:
    """A model that answers with this many rows more than it was given."""

    def run(inputs: Inputs) -> dict[str, Array]:
        rows = inputs["x"]
        return {"y": rows[:change] if change < 0 else rows[list(range(len(rows))) + [0] * change]}

    return run


def total(inputs: Inputs) -> dict[str, Array]:
    return {"y": inputs["x"].sum()}


WRONG_ROWS = pytest.mark.parametrize("run", [resized(-1), resized(1), total], ids=["too few", "too many", "a scalar"])


@WRONG_ROWS
def test_an_answer_with_other_rows_than_the_batch_is_not_handed_out(run: Model) -> None:
    world = World(run)
    tickets = [world.submit(2), world.submit(2)]
    world.drain()
    assert all(isinstance(ticket.error, ExecutionFailed) for ticket in tickets)


@WRONG_ROWS
def test_an_answer_with_other_rows_than_a_request_that_ran_alone_is_not_handed_out(
    run: Model,
) -> None:
    world = World(run)
    ticket = world.submit(2)
    world.drain()
    assert isinstance(ticket.error, ExecutionFailed)


def test_parts_of_a_split_request_with_other_rows_are_not_joined() -> None:
    world = World(resized(-1), max_batch_rows=2)
    ticket = world.submit(6)
    world.drain()
    assert isinstance(ticket.error, ExecutionFailed)


def test_without_a_batch_axis_the_answer_may_have_any_shape() -> None:
    world = World(total)
    ticket = world.submit(3, key=None)
    world.drain()
    assert isinstance(ticket.outcome, Share)
    assert ticket.outcome.array("y") == ticket.x.sum()


def test_a_reply_that_raises_does_not_leave_the_others_waiting() -> None:
    world = World(max_batch_rows=2)
    tickets = [world.submit() for _ in range(4)]

    def gone() -> None:
        raise ConnectionError("the client is gone")

    tickets[0].then = gone
    world.settle()
    world.complete()
    world.drain()
    assert all(ticket.answered_right for ticket in tickets)
    assert world.batcher.idle


def test_it_is_not_idle_while_halves_of_a_failed_batch_are_to_be_tried() -> None:
    world = World(breaks_on(1))
    world.submit()
    world.submit()
    world.settle()
    seen = []
    while world.under_way:
        seen.append(world.batcher.idle)
        world.complete()
    assert seen == [False] * 3
    assert world.batcher.idle


class Refusing(World):
    """An executor that cannot start a thread the first time."""

    refused = False

    def start(self, work: Callable[[], Outputs], done: Callable[[Result], None]) -> None:
        if not self.refused:
            self.refused = True
            raise RuntimeError("can't start new thread")
        super().start(work, done)


def test_an_executor_that_refuses_leaves_nobody_waiting() -> None:
    world = Refusing()
    ticket = world.submit()
    world.settle()
    world.drain()
    after: Ticket = world.submit()
    world.drain()
    assert len(ticket.outcomes) == 1
    assert after.answered_right
    assert world.cpu.is_free()


def test_half_of_a_failed_batch_that_waits_is_seen_to_wait() -> None:
    world = World(breaks_on(1))
    world.submit(2)
    world.submit(3)
    gone = world.submit(1)
    world.settle()
    world.complete()
    assert world.load == (4, 2, 3)
    world.cancel(gone)
    assert world.load == (3, 1, 2)
