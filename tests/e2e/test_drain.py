"""SIGTERM: what was taken in is answered whole, what comes later is refused, and the exit code is 0."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests import graphs
from tests.metrics import value
from tests.serving import Server, serving, wait_for

CONNECTIONS = 48
WIDTH = 512
BODY = json.dumps({"inputs": [[0.5] * WIDTH]}).encode()
HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
)


@pytest.fixture
def server(models: Path) -> Iterator[Server]:
    """Serves a slow model, one row a run, so that requests wait while the signal comes."""
    graphs.slow(models / "slow" / "1" / "model.onnx", repeats=400, size=WIDTH)
    (models / "deployments.toml").write_text("[models.slow.limits]\nmax_batch_rows = 1\n")
    with serving(models) as running:
        yield running


Connect = Callable[[Server], socket.socket]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Opens connections, and closes them after the test."""
    with ExitStack() as opened:

        def connection(server: Server) -> socket.socket:
            host, port = server.url.removeprefix("http://").split(":")
            return opened.enter_context(socket.create_connection((host, int(port)), timeout=30))

        yield connection


def read_to_end(connection: socket.socket) -> bytes:
    chunks = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def assert_whole(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK"), head
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert len(json.loads(body)["outputs"]["y"][0]) == WIDTH


def taken_in(server: Server) -> float:
    """Requests that wait, run or have been answered."""
    exposition = httpx.get(f"{server.url}/metrics").text
    answered = value(exposition, "bonsai_requests_total", model="slow", version="1", code="ok")
    assert answered < CONNECTIONS / 2, "too fast a model for this test"
    return answered + value(exposition, "bonsai_requests_in_flight", model="slow", version="1")


def test_requests_under_way_are_answered_and_later_ones_refused(server: Server, connect: Connect) -> None:
    waiting = [connect(server) for _ in range(CONNECTIONS)]
    for connection in waiting:
        connection.sendall(HEAD + BODY)
    wait_for(lambda: taken_in(server) == CONNECTIONS, "the requests to be taken in")
    server.process.terminate()
    for connection in waiting:
        assert_whole(read_to_end(connection))
    with pytest.raises(OSError):
        connect(server)
    assert server.process.wait(30) == 0
    assert [line["message"] for line in server.logs[-1:]] == ["stopped"]


def test_a_body_that_is_still_arriving_is_waited_for(server: Server, connect: Connect) -> None:
    late, idle = connect(server), connect(server)
    late.sendall(HEAD + BODY[:100])
    idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200 OK" in idle.recv(4096)  # the loop has also read the head of `late`, which came first
    server.process.terminate()
    read_to_end(idle)  # an idle connection is closed at once: the drain has begun
    late.sendall(BODY[100:])
    assert_whole(read_to_end(late))
    assert server.process.wait(30) == 0


def test_a_client_that_never_sends_its_body_does_not_hold_the_server_for_ever(models: Path, connect: Connect) -> None:
    graphs.linear(models / "linear" / "1" / "model.onnx")
    with serving(models, BONSAI_DRAIN_SECONDS="1") as server:
        stalled = connect(server)
        stalled.sendall(HEAD)
        assert httpx.get(f"{server.url}/livez").status_code == 200
        server.process.terminate()
        assert server.process.wait(30) == 0


def test_sigint_ends_the_server_in_the_same_way(models: Path) -> None:
    graphs.linear(models / "linear" / "1" / "model.onnx")
    with serving(models) as server:
        assert server.stop(signal.SIGINT) == 0
