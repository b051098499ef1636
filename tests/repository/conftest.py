"""A model repository that a test fills and serves without a server."""

from pathlib import Path

import pytest

from tests.repository.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)
