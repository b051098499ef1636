"""Models are unloaded and loaded on request, beside what the repository does by itself."""

import asyncio
import shutil
from typing import Any

import pytest

from app.errors import LoadFailed, NotFound, NotReady
from app.repository import loading
from app.repository import repository as module
from app.repository.repository import Repository, State
from tests import graphs
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
