"""A version with a link among its files is not served, and says so."""

from pathlib import Path

import pytest

from app.errors import LoadFailed, NotReady
from app.repository.repository import Repository, State
from tests import graphs
from tests.repository.shelf import Shelf, ask


def test_a_link_beside_a_graph_is_the_reason_why_a_version_is_not_ready(
    shelf: Shelf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = shelf.publish("m", 1) / "README"

    async def scenario(repository: Repository) -> None:
        await ask(repository.acquire("m", None))
        link.symlink_to(tmp_path)
        for _ in range(2):
            await repository.refresh()
        with pytest.raises(NotReady, match="version 1 is not ready: README: expected a plain file, got a link"):
            repository.acquire("m", None)
        assert shelf.loads("m", 1, "failed") == 1
        assert shelf.sample("bonsai_model_ready", model="m", version="1", provider="CPUExecutionProvider") is None
        with pytest.raises(LoadFailed, match="version 1: README: expected a plain file, got a link"):
            await repository.load("m")
        link.unlink()
        await repository.refresh()
        await ask(repository.acquire("m", None))

    shelf.run(scenario)
    assert sum("README: expected a plain file" in record.getMessage() for record in caplog.records) == 1


def test_a_graph_that_is_a_link_is_in_the_index_with_the_reason(shelf: Shelf) -> None:
    (shelf.models / "m").mkdir()
    (shelf.models / "m" / "model.onnx").symlink_to(shelf.make(graphs.linear))

    async def scenario(repository: Repository) -> None:
        assert repository.settled.is_set()
        slot = repository.versions("m")[1]
        assert (slot.state, slot.reason) == (State.FAILED, "model.onnx: expected a plain file, got a link")
        (shelf.models / "m" / "model.onnx").unlink()
        await repository.refresh()
        assert repository.names() == []

    shelf.run(scenario)


def test_a_link_does_not_load_what_was_unloaded_on_request(shelf: Shelf, tmp_path: Path) -> None:
    folder = shelf.publish("m", 1)

    async def scenario(repository: Repository) -> None:
        await repository.unload("m")
        (folder / "README").symlink_to(tmp_path)
        await repository.refresh()
        assert repository.versions("m")[1].state is State.UNLOADED
        with pytest.raises(LoadFailed, match="README"):
            await repository.load("m")

    shelf.run(scenario)
