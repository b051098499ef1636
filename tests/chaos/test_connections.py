"""Many connections, idle ones and slow ones, against the limit of connections and the system's limit of files."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import graphs
from tests.http.carriers import Carrier
from tests.http.wire import Reply, Wire, request
from tests.serving import serving, wait_for

IDLE = 2000
LIMIT = 20
QUICK = "[defaults]\ninstances = 1\nthreads = 1\n"


@contextmanager
def server(models: Path, **settings: str) -> Iterator[Carrier]:
    graphs.linear(models / "fast" / "1" / "model.onnx")
    (models / "deployments.toml").write_text(QUICK)
    with serving(models, **settings) as running:
        yield Carrier(running)


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the test and the server need together."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"the system allows {hard} open files, {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_2000_idle_connections_hold_nobody_up(models: Path, connect: Callable[..., Wire]) -> None:
    with server(models) as carrier:
        wires = [connect(carrier) for _ in range(IDLE)]
        for wire in wires[::2]:  # half of them between two requests, half before the first
            assert wire.send(request()).reply().status == 200
        begun = time.monotonic()
        assert ask(carrier).status == 200
        assert time.monotonic() - begun < 2
        assert carrier.metric("process_open_fds") > IDLE / 2
        assert wires[1].send(request()).reply().status == 200


@pytest.mark.usefixtures("many_files")
def test_the_server_raises_its_limit_of_files_to_what_its_connections_take(models: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with server(models, BONSAI_MAX_CONNECTIONS="2000") as carrier:
            assert resource.prlimit(carrier.server.process.pid, resource.RLIMIT_NOFILE)[0] == 2256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


HOLDING = {
    "silent": b"",
    "between requests": request(),
    "in a body": request()[:-5],
}


@pytest.mark.parametrize("sent", HOLDING.values(), ids=HOLDING)
def test_a_connection_over_the_limit_is_503_and_those_who_do_nothing_give_way(
    sent: bytes, models: Path, connect: Callable[..., Wire]
) -> None:
    with server(models, BONSAI_MAX_CONNECTIONS=str(LIMIT), BONSAI_READ_SECONDS="5") as carrier:
        good = connect(carrier)
        held = [connect(carrier).send(sent) for _ in range(LIMIT - 1)]
        assert good.send(request()).reply().status == 200
        wires = [connect(carrier) for _ in range(5)]
        for wire in wires:
            reply = wire.send(request()).reply()
            assert (reply.status, reply.headers["retry-after"], reply.headers["connection"]) == (503, "1", "close")
            assert reply.error == f"connections: expected at most {LIMIT} at once, got more"
            wire.assert_ended()
        assert good.send(request()).reply().status == 200
        begun = time.monotonic()
        wait_for(lambda: ask(carrier).status == 200, "room for somebody who asks something")
        assert time.monotonic() - begun < 4  # less than any of them has otherwise
        assert carrier.failures("overloaded") >= 5
        for wire in held:
            wire.close()


def test_where_the_system_allows_no_more_files_the_server_goes_on(models: Path, connect: Callable[..., Wire]) -> None:
    with server(models) as carrier:
        pid = carrier.server.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{pid}/fd").iterdir())) + 10, hard))
        wires = [connect(carrier) for _ in range(50)]
        time.sleep(0.5)
        for wire in wires:
            wire.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        wait_for(lambda: is_answered(carrier), "the server to answer again")


def ask(carrier: Carrier) -> Reply:
    wire = Wire(carrier.url)
    try:
        return wire.send(request()).reply()
    finally:
        wire.close()


def is_answered(carrier: Carrier) -> bool:
    try:
        return ask(carrier).status == 200
    except (OSError, AssertionError):
        return False
