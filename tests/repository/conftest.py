"""A model repository that a test fills and serves without a server, and a GPU that is none."""

from pathlib import Path

import pytest

from tests.fake_gpu import FakeGpu
from tests.repository.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    """This machine looks as if it had a GPU; what is run there is noted."""
    fake = FakeGpu()
    fake.install(monkeypatch)
    return fake
