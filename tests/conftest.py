"""Fixtures that all tests may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Server, serving


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An empty model repository."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, also for the processes that it starts."""
    folder = tmp_path / "state"
    monkeypatch.setenv("BONSAI_STATE", str(folder))
    return folder


COMMITTED = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="session")
def digits_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with the committed models, shared by tests that only read."""
    with serving(COMMITTED, BONSAI_STATE=str(tmp_path_factory.mktemp("state"))) as server:
        yield server
