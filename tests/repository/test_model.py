"""A loaded model from end to end: shapes, bad neighbours, deadlines."""

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from app.batching.batch import Entry
from app.contract.deployment import Deployment, Limits
from app.errors import DeadlineExceeded, ExecutionFailed
from app.protocol.messages import Column, Halt, Share, Tensors, Timings
from app.repository.loading import Loaded
from app.repository.model import Model
from app.repository.repository import Repository
from app.repository.store import VersionFolder
from app.runtime.instances import InlineInstance, InstanceGroup
from app.runtime.profile import Profile
from tests import bombs, graphs
from tests.repository.shelf import PATIENCE, Make, Shelf, ask, submit, submit_inputs
from tests.runtime import made


def test_shapes_that_arrive_together_are_answered_each_on_its_own(shelf: Shelf) -> None:
    shelf.bare("m", lambda path: graphs.identity(path, TensorProto.FLOAT, ("N", "T")))
    shelf.deploy("[models.m]\ninstances = 1")
    sent = [np.full((rows, width), rows * 10 + width, np.float32) for rows in (1, 2, 3) for width in (1, 5, 9)]

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        answers = await asyncio.gather(*(ask(model, x) for x in sent))
        for x, y in zip(sent, answers, strict=True):
            np.testing.assert_array_equal(y, x)
        assert shelf.sample("bonsai_batch_rows_count", model="m", version="1") == 3

    shelf.run(scenario)


def test_a_bad_row_fails_alone(shelf: Shelf) -> None:
    shelf.bare("m", graphs.refuses_negative)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        answers = [submit(model, np.full((1, 4), 99 if index == 3 else 1, np.float32)) for index in range(8)]
        outcomes = await asyncio.gather(*answers)
        assert isinstance(outcomes.pop(3), ExecutionFailed)
        for outcome in outcomes:
            assert isinstance(outcome, Share)
            np.testing.assert_array_equal(outcome.array("y"), np.full((1, 4), 20, np.float32))

    shelf.run(scenario)


def test_a_request_whose_time_has_run_out_is_not_run(shelf: Shelf) -> None:
    shelf.bare("m")

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        assert isinstance(await submit(model, deadline=time.monotonic() - 1), DeadlineExceeded)
        assert shelf.sample("bonsai_batch_rows_count", model="m", version="1") == 0

    shelf.run(scenario)


def test_many_requests_over_several_instances_each_get_their_own_answer(shelf: Shelf) -> None:
    shelf.bare("m", lambda path: graphs.identity(path, TensorProto.FLOAT))
    shelf.deploy("[models.m]\ninstances = 3\n[models.m.limits]\nmax_batch_rows = 8")

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        sent = [np.full((1 + number % 20, 4), number, np.float32) for number in range(300)]
        answers = await asyncio.gather(*(ask(model, x) for x in sent))
        for x, y in zip(sent, answers, strict=True):
            np.testing.assert_array_equal(y, x)

    shelf.run(scenario)


where = pytest.mark.parametrize("on_threads", [False, True], ids=["on the event loop", "on threads"])


@where
@pytest.mark.parametrize("no_rows", [[], np.empty((0, 4), np.float32)], ids=["a list", "an array"])
def test_without_a_batch_axis_no_rows_are_run_too(shelf: Shelf, on_threads: bool, no_rows: Column) -> None:
    shelf.publish("m", 1, lambda path: graphs.identity(path, TensorProto.FLOAT), batch_axis=None)
    if on_threads:
        shelf.on_threads()

    async def scenario(repository: Repository) -> None:
        outcome = await submit_inputs(repository.acquire("m", None), {"x": no_rows})[0]
        assert isinstance(outcome, Share), outcome
        assert outcome.array("y").shape == (0, 4)

    shelf.run(scenario)


@where
def test_without_a_batch_axis_first_dimensions_need_not_agree(shelf: Shelf, on_threads: bool) -> None:
    shelf.publish("m", 1, made.concatenated, batch_axis=None)
    if on_threads:
        shelf.on_threads()
    inputs = {"a": np.ones((2, 4), np.float32), "b": np.zeros((1, 4), np.float32)}

    async def scenario(repository: Repository) -> None:
        outcome = await submit_inputs(repository.acquire("m", None), inputs)[0]
        assert isinstance(outcome, Share), outcome
        assert outcome.array("y").tolist() == [[1] * 4, [1] * 4, [0] * 4]

    shelf.run(scenario)


@where
def test_a_list_is_answered_as_the_array_that_it_stands_for(shelf: Shelf, on_threads: bool) -> None:
    shelf.bare("m")
    if on_threads:
        shelf.on_threads()
    x = np.random.default_rng(0).random((3, 4)).astype(np.float32)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        answers = [submit_inputs(model, {"x": column})[0] for column in (x.tolist(), x, x[:1].tolist())]
        for outcome, rows in zip(await asyncio.gather(*answers), (3, 3, 1), strict=True):
            assert isinstance(outcome, Share), outcome
            np.testing.assert_allclose(outcome.array("y"), (await ask(model, x))[:rows], rtol=1e-6)

    shelf.run(scenario)


def threads_of(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if name in thread.name]


async def assert_ended(threads: list[threading.Thread]) -> None:
    assert threads
    for thread in threads:
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()


def test_a_closed_model_leaves_no_thread(shelf: Shelf) -> None:
    shelf.bare("closing")
    shelf.on_threads()

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("closing", None)
        await ask(model)
        threads = threads_of("closing")
        await repository.close()
        await assert_ended(threads)
        assert model.served.name == "closing"  # it is held until here: its threads ended because it was closed

    shelf.run(scenario)


def test_a_replaced_model_leaves_no_thread(shelf: Shelf) -> None:
    shelf.publish("replaced", 1)
    shelf.on_threads()

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("replaced", None)
        await ask(model)
        threads = threads_of("replaced")
        shelf.publish("replaced", 1, lambda path: graphs.linear(path, seed=2))
        await repository.refresh()
        await assert_ended(threads)
        assert repository.acquire("replaced", None) is not model

    shelf.run(scenario)


class Meeting:
    """A session whose runs wait until as many are under way as were announced."""

    provider = "none"
    is_open_ended = False

    def __init__(self, runs: int) -> None:
        self._together = threading.Barrier(runs)

    def limit(self, most_seconds: float, most_bytes: int) -> None:
        """Its runs have no bounds."""

    def close(self) -> None:
        """It holds nothing."""

    def run(self, inputs: Tensors, _: Halt | None = None) -> Tensors:
        self._together.wait(PATIENCE)
        return {"y": inputs["x"]}


def test_as_many_runs_are_under_way_as_there_are_instances(shelf: Shelf) -> None:
    loaded = shelf.load(shelf.bare("m"))
    proven = replace(loaded.proven, session=Meeting(3), batchable=False)  # type: ignore[arg-type]
    meeting = Loaded(proven, Profile(3, 1, ()))
    folder = VersionFolder("m", 1, shelf.models / "m", ())

    async def scenario() -> None:
        model = Model(folder, meeting, Deployment(instances=3), shelf.metrics, shelf.cpu, asyncio.get_running_loop())
        answers = await asyncio.gather(*(ask(model) for _ in range(3)))
        assert len(answers) == 3
        await model.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("make", "is_inline"),
    [(graphs.linear, True), (bombs.endless, False), (bombs.expanding, False), (graphs.pooled, False)],
)
def test_what_may_take_any_time_is_not_run_on_the_event_loop(shelf: Shelf, make: Make, is_inline: bool) -> None:
    """However quick it was when it was measured."""
    loaded = shelf.load(shelf.bare("m", make))
    quick = replace(loaded, profile=Profile(1, 1, ((1, 1e-6),)))
    folder = VersionFolder("m", 1, shelf.models / "m", ())

    async def scenario() -> None:
        model = Model(folder, quick, Deployment(), shelf.metrics, shelf.cpu, asyncio.get_running_loop())
        assert isinstance(model._instances, InlineInstance) is is_inline
        await model.close()

    asyncio.run(scenario())


def test_outputs_of_runs_on_the_event_loop_are_bounded_too(shelf: Shelf) -> None:
    loaded = shelf.load(shelf.bare("m", lambda path: graphs.identity(path, TensorProto.FLOAT, ("N", 1 << 17))))
    quick = replace(loaded, profile=Profile(1, 1, ((1, 1e-6),)))
    folder = VersionFolder("m", 1, shelf.models / "m", ())
    rows = np.ones((3, 1 << 17), np.float32)  # half a megabyte each

    async def scenario() -> None:
        deployment = Deployment(limits=Limits(max_output_mb=1))
        model = Model(folder, quick, deployment, shelf.metrics, shelf.cpu, asyncio.get_running_loop())
        assert isinstance(model._instances, InlineInstance)
        assert isinstance(await submit(model, rows[:2]), Share)
        assert isinstance(await submit(model, rows), ExecutionFailed)
        model.apply(Deployment(limits=Limits(max_output_mb=2)))
        assert isinstance(await submit(model, rows), Share)
        await model.close()

    asyncio.run(scenario())


def misdeclared(path: Path) -> Path:
    """x [N, 4] -> y, its first two columns, declared as three."""
    nodes = [helper.make_node("Compress", ["x", "kept"], ["y"], axis=1)]
    kept = np.array([True, True, False, False])
    return graphs.save(path, nodes, [graphs.tensor("x", ["N", 4])], [graphs.tensor("y", ["N", 3])], kept=kept)


def test_a_graph_that_declares_another_shape_than_it_gives_is_answered_on_the_event_loop_too(shelf: Shelf) -> None:
    quick = replace(shelf.load(shelf.bare("m", misdeclared)), profile=Profile(1, 1, ((1, 1e-6),)))
    folder = VersionFolder("m", 1, shelf.models / "m", ())

    async def scenario() -> None:
        model = Model(folder, quick, Deployment(), shelf.metrics, shelf.cpu, asyncio.get_running_loop())
        assert isinstance(model._instances, InlineInstance)
        answer = await ask(model, np.arange(8, dtype=np.float32).reshape(2, 4))
        assert answer.tolist() == [[0, 1], [4, 5]]
        await model.close()

    asyncio.run(scenario())


def two_free(path: Path) -> Path:
    """a [N, A] and b [N, B] -> y [N, 2], the sums of their rows."""
    nodes = [
        helper.make_node("ReduceSum", ["a", "last"], ["s"]),
        helper.make_node("ReduceSum", ["b", "last"], ["t"]),
        helper.make_node("Concat", ["s", "t"], ["y"], axis=1),
    ]
    inputs = [graphs.tensor("a", ["N", "A"]), graphs.tensor("b", ["N", "B"])]
    return graphs.save(path, nodes, inputs, [graphs.tensor("y", ["N", 2])], last=np.array([1]))


@where
def test_inputs_may_be_named_in_any_order(shelf: Shelf, on_threads: bool) -> None:
    """Shapes that are alike by input share runs, and none that are alike by place alone."""
    shelf.bare("m", two_free)
    shelf.deploy("" if on_threads else "[models.m]\ninstances = 1")

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)

        def ones(**lengths: int) -> dict[str, Column]:
            return {name: np.ones((1, length), np.float32) for name, length in lengths.items()}

        sent = [ones(a=3, b=5), ones(b=3, a=5), ones(b=5, a=3)]
        outcomes = await asyncio.gather(*(submit_inputs(model, inputs)[0] for inputs in sent))
        assert [outcome.array("y").tolist() for outcome in outcomes if isinstance(outcome, Share)] == [
            [[3, 5]], [[5, 3]], [[3, 5]],
        ]  # fmt: skip
        first, swapped, same = (model._key(Entry(inputs, 1, None, print, Timings(0.0))) for inputs in sent)
        assert first == same != swapped

    shelf.run(scenario)


def test_limits_under_which_a_run_may_take_long_take_it_from_the_event_loop(shelf: Shelf) -> None:
    quick = replace(shelf.load(shelf.bare("m")), profile=Profile(1, 1, ((1, 1e-6),)))
    folder = VersionFolder("m", 1, shelf.models / "m", ())

    async def scenario() -> None:
        model = Model(folder, quick, Deployment(), shelf.metrics, shelf.cpu, asyncio.get_running_loop())
        assert isinstance(model._instances, InlineInstance)
        before = await ask(model)
        model.apply(Deployment(limits=Limits(max_batch_rows=1 << 16, max_queue_rows=1 << 16)))
        assert isinstance(model._instances, InstanceGroup)
        np.testing.assert_array_equal(await ask(model), before)
        model.apply(Deployment())
        assert isinstance(model._instances, InlineInstance)
        np.testing.assert_array_equal(await ask(model), before)
        await model.close()

    asyncio.run(scenario())
