"""The repository follows the store: what comes, goes, changes and fails."""

import asyncio
import gc
import logging
import os
import shutil
import weakref
from typing import Any

import numpy as np
import pytest

from app.errors import BonsaiError, NotFound
from app.repository import loading as module
from app.repository.loading import Loaded
from app.repository.repository import Repository
from app.runtime.session import Session
from tests import graphs
from tests.repository.shelf import ROW, Shelf, ask, submit


def test_a_new_version_answers_after_the_next_look(shelf: Shelf) -> None:
    shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        old = repository.acquire("m", None)
        shelf.publish("m", 2, lambda path: graphs.linear(path, seed=2))
        await repository.refresh()
        new = repository.acquire("m", None)
        assert new.served.version == 2
        assert repository.acquire("m", "1") is old
        assert not np.allclose(await ask(new), await ask(old))

    shelf.run(scenario)


def test_a_version_that_has_gone_is_not_found(shelf: Shelf) -> None:
    shelf.publish("m", 1)
    folder = shelf.publish("m", 2)

    async def scenario(repository: Repository) -> None:
        shutil.rmtree(folder)
        await repository.refresh()
        assert repository.acquire("m", None).served.version == 1
        with pytest.raises(NotFound, match="has no version 2; it has 1"):
            repository.acquire("m", "2")

    shelf.run(scenario)


def test_a_model_that_has_gone_is_not_found(shelf: Shelf) -> None:
    folder = shelf.bare("m")

    async def scenario(repository: Repository) -> None:
        shutil.rmtree(folder)
        await repository.refresh()
        assert repository.names() == []
        assert not repository.ready
        with pytest.raises(NotFound, match="no model 'm'"):
            repository.acquire("m", None)

    shelf.run(scenario)


def test_a_failed_version_is_tried_again_only_when_its_files_change(shelf: Shelf) -> None:
    folder = shelf.publish("m", 1)
    good = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(b"junk")

    async def scenario(repository: Repository) -> None:
        await repository.refresh()
        await repository.refresh()
        assert shelf.loads("m", 1, "failed") == 1
        (folder / "model.onnx").write_bytes(b"other junk")
        await repository.refresh()
        assert shelf.loads("m", 1, "failed") == 2
        (folder / "model.onnx").write_bytes(good)
        await repository.refresh()
        assert shelf.loads("m", 1, "ready") == 1
        await ask(repository.acquire("m", None))

    shelf.run(scenario)


def test_a_version_that_did_not_change_is_not_loaded_again(shelf: Shelf) -> None:
    shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        await repository.refresh()
        assert repository.acquire("m", None) is model

    shelf.run(scenario)


def test_a_changed_version_answers_in_place_of_the_old_one(shelf: Shelf) -> None:
    shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        before = await ask(repository.acquire("m", None))
        shelf.publish("m", 1, lambda path: graphs.linear(path, seed=2))
        await repository.refresh()
        assert not np.allclose(await ask(repository.acquire("m", None)), before)
        assert shelf.loads("m", 1, "ready") == 2

    shelf.run(scenario)


def test_a_graph_that_is_written_anew_under_its_old_time_answers_in_place_of_the_old_one(shelf: Shelf) -> None:
    graph = shelf.bare("m") / "model.onnx"

    async def scenario(repository: Repository) -> None:
        before, stat = await ask(repository.acquire("m", None)), graph.stat()
        while graph.stat().st_ctime_ns == stat.st_ctime_ns:  # a file system's clock may tick every few milliseconds
            graphs.linear(graph, seed=2)
            os.utime(graph, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert graph.stat().st_size == stat.st_size
        await repository.refresh()
        assert not np.allclose(await ask(repository.acquire("m", None)), before)

    shelf.run(scenario)


def test_a_bare_graph_that_is_replaced_answers_until_the_new_one_can(shelf: Shelf) -> None:
    folder = shelf.bare("m")

    async def scenario(repository: Repository) -> None:
        await repository.refresh()  # it has stood still for two looks
        before = await ask(repository.acquire("m", None))
        graphs.linear(folder / "model.onnx", seed=2)
        await repository.refresh()
        await ask(repository.acquire("m", None))
        await repository.refresh()
        assert not np.allclose(await ask(repository.acquire("m", None)), before)

    shelf.run(scenario, still_seconds=3600)


def test_what_was_submitted_is_answered_before_a_version_is_unloaded(shelf: Shelf) -> None:
    folder = shelf.bare("m")

    async def scenario(repository: Repository) -> None:
        model = repository.acquire("m", None)
        answers = [submit(model) for _ in range(100)]
        shutil.rmtree(folder)
        await repository.refresh()
        assert not any(isinstance(answer, BonsaiError) for answer in await asyncio.gather(*answers))

    shelf.run(scenario)


def test_a_version_that_has_gone_leaves_no_session_in_memory(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[weakref.ref[Session]] = []

    def load(*given: Any) -> Loaded:
        loaded = module.load(*given)
        sessions.append(weakref.ref(loaded.proven.session))
        return loaded

    monkeypatch.setattr("app.repository.repository.load", load)
    folder = shelf.bare("m")

    async def scenario(repository: Repository) -> None:
        await ask(repository.acquire("m", None))
        shutil.rmtree(folder)
        await repository.refresh()
        await repository.close()  # has closed the model when it returns
        gc.collect()
        assert [session() for session in sessions] == [None]

    shelf.run(scenario)


def test_what_was_submitted_is_answered_before_the_repository_closes(shelf: Shelf) -> None:
    for name in ("a", "b"):
        shelf.bare(name)

    async def scenario(repository: Repository) -> None:
        answers = [submit(repository.acquire(name, None), ROW) for name in ("a", "b") for _ in range(50)]
        await repository.close()
        assert all(answer.done() and not isinstance(answer.result(), BonsaiError) for answer in answers)
        assert repository.names() == []

    shelf.run(scenario)


def test_what_is_no_version_is_reported_once(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    (shelf.models / "m" / "01").mkdir(parents=True)

    async def scenario(repository: Repository) -> None:
        await repository.refresh()
        assert sum("m/01: expected" in record.getMessage() for record in caplog.records) == 1
        shutil.rmtree(shelf.models / "m")
        await repository.refresh()
        (shelf.models / "m" / "01").mkdir(parents=True)
        await repository.refresh()
        assert sum("m/01: expected" in record.getMessage() for record in caplog.records) == 2

    with caplog.at_level(logging.WARNING):
        shelf.run(scenario)


def test_metrics_say_which_versions_are_ready(shelf: Shelf) -> None:
    folder = shelf.bare("m")
    labels = {"model": "m", "version": "1", "provider": "CPUExecutionProvider"}

    async def scenario(repository: Repository) -> None:
        assert shelf.sample("bonsai_model_ready", **labels) == 1
        graphs.linear(folder / "model.onnx", seed=2)
        await repository.refresh()
        assert shelf.sample("bonsai_model_ready", **labels) == 1
        shutil.rmtree(folder)
        await repository.refresh()
        assert shelf.sample("bonsai_model_ready", **labels) is None

    shelf.run(scenario)
