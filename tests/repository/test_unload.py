"""Models are unloaded and loaded on request, beside what the repository does by itself."""

import asyncio
import shutil
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.errors import LoadFailed, NotFound, NotReady
from app.protocol.messages import Share
from app.repository import loading
from app.repository import repository as module
from app.repository.repository import Repository, State
from app.runtime.profile import Profile
from tests import graphs
from tests.collector import no_collector
from tests.repository.shelf import PATIENCE, ROW, Shelf, ask, submit


def states(repository: Repository, name: str = "m") -> dict[int, str]:
    return {number: slot.state for number, slot in repository.versions(name).items()}


def test_what_was_submitted_is_answered_first(shelf: Shelf) -> None:
    shelf.publish("m", 1)
    shelf.on_threads()

    async def scenario(repository: Repository) -> None:
        answers = [submit(repository.acquire("m", None)) for _ in range(8)]
        await repository.unload("m")
        for outcome in await asyncio.wait_for(asyncio.gather(*answers), PATIENCE):
            assert not isinstance(outcome, Exception)
        with pytest.raises(NotReady, match="unloaded"):
            repository.acquire("m", None)

    shelf.run(scenario)


def test_it_stays_unloaded_whatever_comes_into_the_store(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        await repository.unload("m")
        shelf.publish("m", 2)
        shelf.amend(folder, description="changed")
        for _ in range(2):
            await repository.refresh()
        assert states(repository) == {1: State.UNLOADED, 2: State.UNLOADED}
        await repository.load("m")
        assert states(repository) == {1: State.READY, 2: State.READY}
        assert shelf.loads("m", 1, "ready") == 2
        assert shelf.loads("m", 2, "ready") == 1

    shelf.run(scenario)


def test_one_that_went_and_came_back_is_a_new_one(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        await repository.unload("m")
        shutil.rmtree(folder)
        await repository.refresh()
        with pytest.raises(NotFound):
            await repository.load("m")
        shelf.publish("m", 1)
        await repository.refresh()
        assert states(repository) == {1: State.READY}

    shelf.run(scenario)


def test_other_models_are_left_alone(shelf: Shelf) -> None:
    shelf.publish("m", 1)
    shelf.publish("n", 1)

    async def scenario(repository: Repository) -> None:
        other = repository.acquire("n", None)
        await repository.unload("m")
        assert repository.acquire("n", None) is other
        await repository.load("m")
        assert repository.acquire("n", None) is other

    shelf.run(scenario)


def test_the_one_that_is_loaded_needs_no_name(shelf: Shelf) -> None:
    shelf.publish("m", 1)
    shelf.publish("n", 1)

    async def scenario(repository: Repository) -> None:
        await repository.unload("m")
        assert repository.acquire(None, None).served.name == "n"
        await repository.unload("n")
        with pytest.raises(NotReady, match="no model is loaded"):
            repository.acquire(None, None)
        assert not repository.ready

    shelf.run(scenario)


def test_the_metrics_of_readiness_and_state_follow(shelf: Shelf) -> None:
    shelf.publish("m", 1)
    version = {"model": "m", "version": "1"}
    ready = {**version, "provider": "CPUExecutionProvider"}

    async def scenario(repository: Repository) -> None:
        await repository.unload("m")
        assert shelf.sample("bonsai_model_ready", **ready) is None
        assert shelf.sample("bonsai_model_state", state="unloaded", **version) == 1
        await repository.load("m")
        assert shelf.sample("bonsai_model_ready", **ready) == 1
        assert shelf.sample("bonsai_model_state", state="ready", **version) == 1
        assert shelf.sample("bonsai_model_state", state="unloaded", **version) is None

    shelf.run(scenario)


def test_a_load_says_which_versions_failed_and_the_others_answer(shelf: Shelf) -> None:
    shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        broken = shelf.publish("m", 2)
        (broken / "model.onnx").write_bytes(b"no graph")
        with pytest.raises(LoadFailed, match=r"^version 2: model\.onnx: expected sha256"):
            await repository.load("m")
        assert len(await ask(repository.acquire("m", None), ROW)) == 1

    shelf.run(scenario)


def test_a_failed_version_is_tried_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> loading.Loaded:
        raise LoadFailed("not today")

    async def scenario(repository: Repository) -> None:
        shelf.publish("m", 1)
        with monkeypatch.context() as patch:
            patch.setattr(module, "load", fails)
            await repository.refresh()
        assert states(repository) == {1: State.FAILED}
        await repository.refresh()  # nothing has changed, so it is not tried again by itself
        assert states(repository) == {1: State.FAILED}
        await repository.load("m")
        assert states(repository) == {1: State.READY}

    shelf.run(scenario)


def test_load_unload_and_the_watcher_take_turns(shelf: Shelf) -> None:
    shelf.publish("m", 1)
    graphs.linear(shelf.models / "bare" / "model.onnx")

    async def scenario(repository: Repository) -> None:
        work = [repository.refresh(), repository.unload("m"), repository.load("m"), repository.unload("m")]
        await asyncio.wait_for(asyncio.gather(*work, repository.refresh(), repository.load("m")), PATIENCE)
        assert states(repository) == {1: State.READY}
        assert states(repository, "bare") == {1: State.READY}
        assert len(await ask(repository.acquire("m", None), ROW)) == 1

    shelf.run(scenario)


async def drop_by_request(repository: Repository, shelf: Shelf) -> None:
    await repository.unload("m")


async def drop_with_its_folder(repository: Repository, shelf: Shelf) -> None:
    shutil.rmtree(shelf.models / "m")
    await repository.refresh()


async def replace(repository: Repository, shelf: Shelf) -> None:
    shelf.publish("m", 1, lambda path: graphs.linear(path, seed=1))
    await repository.refresh()


async def freed(held: "list[weakref.ref[Any]]") -> None:
    """Waits for it: the thread that loaded the model may be about to let go of it."""
    while any(reference() is not None for reference in held):  # noqa: ASYNC110 - nobody says when memory goes
        await asyncio.sleep(0.01)


QUICK = Profile(1, 1, ((1, 1e-6), (128, 1e-6)))
NARROW = Profile(2, 1, ((1, 0.01), (128, 0.1)))
WAYS = {"on the event loop": QUICK, "on threads": NARROW, "wide too": Profile(2, 1, NARROW.costs, 2, NARROW.costs)}


@pytest.mark.parametrize("drop", [drop_by_request, drop_with_its_folder, replace])
@pytest.mark.parametrize("way", WAYS)
def test_its_memory_goes_without_the_garbage_collector(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, way: str, drop: Callable[[Repository, Shelf], Awaitable[None]]
) -> None:
    monkeypatch.setattr(loading.profile, "choose", lambda *_: WAYS[way])
    shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        await ask(model)
        assert isinstance(await submit(model, deadline=time.monotonic() + 3600), Share)
        held: list[weakref.ref[Any]] = [weakref.ref(session._session) for session in model._sessions]
        held += [weakref.ref(array) for array in (model.sample or {}).values()]
        assert len(held) == (3 if way == "wide too" else 2)
        assert (model._bound is not None) == (way == "on the event loop")
        if model._bound is not None:
            held.append(weakref.ref(model._bound._stacks[1]))
        await drop(repository, shelf)
        await asyncio.wait_for(freed(held), PATIENCE)
        with pytest.raises(NotReady, match="unloaded"):  # it is held until here, and has been closed
            submit(model)

    with no_collector():
        shelf.run(scenario)
