"""Fixtures of the suite: servers that it shares, and connections that end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.http.carriers import COMMANDS, Carrier, carrying, make_models
from tests.http.wire import Wire

Connect = Callable[..., Wire]


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of the suite."""
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder that the servers share, so that each graph is optimised once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session", params=COMMANDS)
def shared(request: pytest.FixtureRequest, shelf: Path, graphs: Path) -> Iterator[Carrier]:
    with carrying(request.param, shelf, graphs, BONSAI_MAX_BODY_BYTES="4000000") as carrier:
        yield carrier


@pytest.fixture
def carrier(shared: Carrier) -> Iterator[Carrier]:
    """Each of the two carriers; healthy after every test."""
    with shared.staying_healthy():
        yield shared


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections to a carrier."""
    opened: list[Wire] = []

    def connected(carrier: Carrier, **options: int) -> Wire:
        opened.append(Wire(carrier.url, **options))
        return opened[-1]

    yield connected
    for wire in opened:
        wire.close()
