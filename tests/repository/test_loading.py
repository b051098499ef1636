"""While versions are loaded: what is said meanwhile, and how one fault stays alone."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import NotReady
from app.repository import repository as module
from app.repository import store
from app.repository.loading import Loaded
from app.repository.repository import Repository
from app.repository.store import VersionFolder
from tests import graphs
from tests.repository.shelf import PATIENCE, Shelf, ask


class Gate:
    """Loading of `model`, or of any, stops here until the test opens it."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.reached = threading.Event()
        self.opened = threading.Event()

    async def wait_until_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, PATIENCE)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate before every load from now on; it is opened at the end whatever happens."""
    gate, load = Gate(), module.load

    def gated(folder: VersionFolder, *rest: object) -> Loaded:
        if gate.model in (None, folder.name):
            gate.reached.set()
            assert gate.opened.wait(PATIENCE)
        return load(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load", gated)
    yield gate
    gate.opened.set()


def test_a_version_that_is_being_loaded_says_so(shelf: Shelf, gate: Gate) -> None:
    shelf.bare("m")

    async def scenario() -> None:
        repository = shelf.repository()
        refreshing = asyncio.create_task(repository.refresh())
        await gate.wait_until_reached()
        with pytest.raises(NotReady, match="model 'm' version 1 is not ready: loading"):
            repository.acquire("m", None)
        gate.opened.set()
        await refreshing
        await ask(repository.acquire("m", None))
        await repository.close()

    asyncio.run(scenario())


def test_a_version_whose_turn_to_load_has_not_come_is_not_ready_rather_than_not_found(shelf: Shelf, gate: Gate) -> None:
    shelf.bare("a")
    shelf.bare("b")

    async def scenario() -> None:
        repository = shelf.repository()
        refreshing = asyncio.create_task(repository.refresh())
        await gate.wait_until_reached()
        try:
            for name in ("a", "b"):
                with pytest.raises(NotReady):
                    repository.acquire(name, None)
        finally:
            gate.opened.set()
            await refreshing
            await repository.close()

    asyncio.run(scenario())


def test_it_is_ready_once_the_first_pass_has_ended_and_not_before(shelf: Shelf, gate: Gate) -> None:
    gate.model = "b"
    for name in ("a", "b"):
        shelf.bare(name)

    async def scenario() -> None:
        repository = shelf.repository()
        refreshing = asyncio.create_task(repository.refresh())
        await gate.wait_until_reached()
        await ask(repository.acquire("a", None))
        assert not repository.ready
        gate.opened.set()
        await refreshing
        assert repository.ready
        await repository.close()

    asyncio.run(scenario())


def test_a_pass_that_is_cut_short_is_made_up_for_by_the_next(shelf: Shelf, gate: Gate) -> None:
    for name in ("a", "b"):
        shelf.bare(name)

    async def scenario() -> None:
        repository = shelf.repository()
        refreshing = asyncio.create_task(repository.refresh())
        await gate.wait_until_reached()
        refreshing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await refreshing
        gate.opened.set()
        await repository.refresh()
        for name in ("a", "b"):
            await ask(repository.acquire(name, None))
        await repository.close()

    asyncio.run(scenario())


def test_the_old_version_answers_until_the_new_one_can(shelf: Shelf, gate: Gate) -> None:
    gate.opened.set()
    shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        old = repository.acquire("m", None)
        gate.reached.clear()
        gate.opened.clear()
        shelf.publish("m", 1, lambda path: graphs.linear(path, seed=2))
        refreshing = asyncio.create_task(repository.refresh())
        await gate.wait_until_reached()
        assert repository.acquire("m", None) is old
        await ask(old)
        gate.opened.set()
        await refreshing
        assert repository.acquire("m", None) is not old

    shelf.run(scenario)


def test_a_version_that_cannot_be_read_just_now_does_not_unload_its_neighbours(shelf: Shelf, tmp_path: Path) -> None:
    folders = {version: shelf.publish("m", version) for version in (1, 2, 3)}

    async def scenario(repository: Repository) -> None:
        serving = repository.acquire("m", "3")
        (folders[1] / "notes.txt").symlink_to(tmp_path)
        await repository.refresh()
        assert repository.acquire("m", None) is serving

    shelf.run(scenario)


def test_a_version_whose_files_vanish_while_they_are_read_answers_on(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.publish("m", 1)

    def vanishing(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    async def scenario(repository: Repository) -> None:
        serving = repository.acquire("m", None)
        with monkeypatch.context() as patch:
            patch.setattr(store, "read_folder", vanishing)
            await repository.refresh()
        assert repository.acquire("m", None) is serving
        await repository.refresh()
        assert repository.acquire("m", None) is serving

    shelf.run(scenario)


@pytest.mark.parametrize("folder", ["m", "m/1"])
def test_a_model_whose_folder_cannot_be_read_just_now_answers_on(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    shelf.publish("m", 1)
    iterdir = Path.iterdir

    def failing(path: Path) -> Iterator[Path]:
        if path == shelf.models / folder:
            raise OSError(5, "Input/output error", str(path))
        return iterdir(path)

    async def scenario(repository: Repository) -> None:
        serving = repository.acquire("m", None)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "iterdir", failing)
            for _ in range(2):
                await repository.refresh()
            with pytest.raises(NotReady, match="has changed just now"):
                await repository.load("m")
        await repository.refresh()
        assert repository.acquire("m", None) is serving
        shutil.rmtree(shelf.models / "m")
        await repository.refresh()
        assert repository.names() == []

    shelf.run(scenario)


def test_no_thread_for_one_version_does_not_stop_the_others(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        shelf.bare(name)
    shelf.on_threads()
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name.startswith("b-1"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)

    async def scenario(repository: Repository) -> None:
        for name in ("a", "c"):
            await ask(repository.acquire(name, None))
        with pytest.raises(NotReady, match="model 'b' version 1 is not ready"):
            await ask(repository.acquire("b", None))

    shelf.run(scenario)


def test_an_unexpected_fault_in_one_version_does_not_stop_the_others(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        shelf.bare(name)
    load = module.load

    def faulty(folder: VersionFolder, *rest: object) -> Loaded:
        if folder.name == "b":
            raise RuntimeError("secret /path")
        return load(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load", faulty)

    async def scenario(repository: Repository) -> None:
        for name in ("a", "c"):
            await ask(repository.acquire(name, None))
        with pytest.raises(NotReady, match=r"version 1 is not ready: an unexpected fault; see the log$"):
            repository.acquire("b", None)

    shelf.run(scenario)
    assert any(record.exc_info and "secret" in str(record.exc_info[1]) for record in caplog.records)
