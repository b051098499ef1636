"""Instances and limits change while a model answers: no reload, no request lost, no thread left behind."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace

import numpy as np
import pytest

from app.batching.batch import Outcome
from app.contract.deployment import Deployment, Limits
from app.errors import DeadlineExceeded, TooLarge
from app.protocol.messages import Share
from app.repository.loading import Loaded
from app.repository.model import Model
from app.repository.repository import Repository
from app.repository.store import VersionFolder
from app.runtime.profile import Profile
from tests import graphs
from tests.gate import Gate
from tests.repository.shelf import PATIENCE, ROW, Shelf, ask, submit, submit_inputs

NO_LIMITS = Deployment().limits


Scenario = Callable[[Model, Gate], Coroutine[None, None, None]]


def play(shelf: Shelf, scenario: Scenario, instances: int, *, batchable: bool = False, wide: bool = False) -> None:
    """Plays a scenario with a model that stops at a gate; it is opened at the end whatever happens."""
    gate = Gate()
    loaded = shelf.load(shelf.bare("gated"))
    proven = replace(loaded.proven, session=gate, batchable=batchable)  # type: ignore[arg-type]
    profile = Profile(instances, 1, (), 2 if wide else 0)  # without costs, so that no batch is small because it pays
    gated = Loaded(proven, profile, gate if wide else None)  # type: ignore[arg-type]
    folder = VersionFolder("gated", 1, shelf.models / "gated", ())

    async def run() -> None:
        deployment = Deployment(instances=instances, limits=NO_LIMITS)
        model = Model(folder, gated, deployment, shelf.metrics, shelf.cpu, asyncio.get_running_loop())
        try:
            await scenario(model, gate)
        finally:
            gate.opened.set()
            await asyncio.wait_for(model.close(), PATIENCE)

    asyncio.run(run())


async def answered(*answers: "asyncio.Future[Outcome]") -> None:
    for outcome in await asyncio.wait_for(asyncio.gather(*answers), PATIENCE):
        assert isinstance(outcome, Share), outcome


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (None, 2), (2, None)], ids=str)
def test_instances_change_without_a_reload(shelf: Shelf, before: int | None, after: int | None) -> None:
    def deploy(instances: int | None) -> None:
        shelf.deploy("schema_version = 1" if instances is None else f"[models.m]\ninstances = {instances}")

    shelf.publish("m", 1)
    deploy(before)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        assert before in (None, model.instances)
        expected = await ask(model)
        deploy(after)
        await repository.refresh()
        assert repository.acquire("m", None) is model
        assert after in (None, model.instances)
        np.testing.assert_array_equal(await ask(model), expected)

    shelf.run(scenario)


def test_more_instances_have_more_runs_under_way(shelf: Shelf) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        model.apply(Deployment(instances=3))
        answers = [submit(model) for _ in range(3)]
        await gate.wait_until_reached(3)
        gate.opened.set()
        await answered(*answers)

    play(shelf, scenario, instances=1)


def test_fewer_instances_let_what_is_under_way_end_and_then_run_less_at_once(shelf: Shelf) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        first = [submit(model) for _ in range(3)]
        await gate.wait_until_reached(3)
        model.apply(Deployment(instances=1))
        later = [submit(model) for _ in range(3)]
        gate.opened.set()
        await answered(*first)
        gate.most = 0
        await answered(*later, *(submit(model) for _ in range(3)))
        assert gate.most == 1

    play(shelf, scenario, instances=3)


@pytest.mark.parametrize("after", [1, 3])
def test_instances_change_while_a_request_has_the_whole_cpu(shelf: Shelf, after: int) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        alone = submit(model)
        await gate.wait_until_reached()
        model.apply(Deployment(instances=after))
        gate.opened.set()
        await answered(alone)
        gate.opened.clear()
        answers = [submit(model) for _ in range(after + 1)]
        await gate.wait_until_reached(after)
        assert shelf.sample("bonsai_queue_rows", model="gated", version="1") == 1
        gate.opened.set()
        await answered(*answers)

    play(shelf, scenario, instances=2, wide=True)


def test_threads_of_the_instances_before_end(shelf: Shelf) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        before = [thread for thread in threading.enumerate() if thread.name.startswith("gated-1")]
        assert before
        model.apply(Deployment(instances=2))
        for thread in before:
            await asyncio.to_thread(thread.join, PATIENCE)
            assert not thread.is_alive()

    play(shelf, scenario, instances=3)


def test_a_quick_model_moves_from_the_event_loop_to_threads_and_back(shelf: Shelf) -> None:
    shelf.bare("quick", lambda path: graphs.linear(path))

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("quick-1")]

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("quick", None)
        expected = await ask(model)
        assert threads() == []
        shelf.deploy("[models.quick]\ninstances = 2")
        await repository.refresh()
        np.testing.assert_array_equal(await ask(model), expected)
        ending = threads()
        assert len(ending) == 2
        shelf.deploy("schema_version = 1")
        await repository.refresh()
        np.testing.assert_array_equal(await ask(model), expected)
        for thread in ending:
            await asyncio.to_thread(thread.join, PATIENCE)
        assert threads() == []
        assert repository.acquire("quick", None) is model

    shelf.run(scenario)


@pytest.mark.parametrize("instances", [1, 3])
def test_changed_limits_alone_leave_the_instances_as_they_are(shelf: Shelf, instances: int) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        before = {thread for thread in threading.enumerate() if thread.name.startswith("gated-1")}
        model.apply(Deployment(instances=instances, limits=Limits(max_queue_rows=2)))
        assert {thread for thread in threading.enumerate() if thread.name.startswith("gated-1")} == before
        with pytest.raises(TooLarge, match="at most 2 rows"):
            submit(model, ROW.repeat(3, axis=0))

    play(shelf, scenario, instances=instances)


def test_a_smaller_batch_limit_holds_for_the_next_batch(shelf: Shelf) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        first = submit(model)
        await gate.wait_until_reached()
        waiting = [submit(model) for _ in range(4)]
        model.apply(Deployment(instances=1, limits=Limits(max_batch_rows=2)))
        gate.opened.set()
        await answered(first, *waiting)
        assert shelf.sample("bonsai_batch_rows_count", model="gated", version="1") == 1 + 2

    play(shelf, scenario, instances=1, batchable=True)


def test_a_delay_collects_what_comes_later_until_the_batch_is_full(shelf: Shelf) -> None:
    """The delay is longer than the test has patience for: only a full batch ends it."""

    async def scenario(model: Model, gate: Gate) -> None:
        gate.opened.set()
        limits = Limits(max_queue_delay_ms=1000 * 60 * PATIENCE, max_batch_rows=2)
        model.apply(Deployment(instances=1, limits=limits))
        first = submit(model)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not first.done()
        await answered(first, submit(model))
        assert shelf.sample("bonsai_batch_rows_count", model="gated", version="1") == 1

    play(shelf, scenario, instances=1, batchable=True)


def test_a_poll_that_finds_nothing_changed_does_not_end_a_delay(shelf: Shelf) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        gate.opened.set()
        limits = Limits(max_queue_delay_ms=1000 * 60 * PATIENCE, max_batch_rows=2)
        model.apply(Deployment(instances=1, limits=limits))
        first = submit(model)
        model.apply(Deployment(instances=1, limits=limits, default_version=1))
        for _ in range(3):
            await asyncio.sleep(0)
        assert shelf.sample("bonsai_queue_rows", model="gated", version="1") == 1
        await answered(first, submit(model))

    play(shelf, scenario, instances=1, batchable=True)


def test_a_run_for_nobody_is_asked_to_halt(shelf: Shelf) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        answer, entry = submit_inputs(model, {"x": ROW})
        await gate.wait_until_reached()
        entry.cancel()
        assert await asyncio.to_thread(gate.halted.wait, PATIENCE)
        await answered(submit(model))
        assert not answer.done()

    play(shelf, scenario, instances=1)


def test_a_deadline_that_passes_while_the_request_runs_is_answered_then(shelf: Shelf) -> None:
    async def scenario(model: Model, gate: Gate) -> None:
        deadline = asyncio.get_running_loop().time() + 0.02
        outcome = await asyncio.wait_for(submit(model, deadline=deadline), PATIENCE)
        assert isinstance(outcome, DeadlineExceeded)
        assert asyncio.get_running_loop().time() >= deadline
        assert shelf.sample("bonsai_deadline_misses_total", model="gated", version="1") == 1

    play(shelf, scenario, instances=1)
