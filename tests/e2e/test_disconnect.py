"""A client that hangs up: its request is dropped wherever it is, and the server goes on."""

import json
import socket
from pathlib import Path

import httpx

from tests import graphs
from tests.metrics import value
from tests.serving import Server, serving, wait_for

WIDTH = 512
SLOW = {"model": "slow", "version": "1"}
ROWS = 256
BODY = json.dumps({"inputs": [[1] * WIDTH] * ROWS}).encode()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
) + BODY


def metric(server: Server, name: str, **labels: str) -> float:
    return value(httpx.get(f"{server.url}/metrics").text, name, **SLOW, **labels)


def test_a_client_that_hangs_up_has_its_request_cancelled(models: Path) -> None:
    """One request runs, for seconds, and one waits behind it; both clients leave."""
    graphs.slow(models / "slow" / "1" / "model.onnx", repeats=1000, size=WIDTH)
    (models / "deployments.toml").write_text(
        f"[models.slow]\ninstances = 1\nthreads = 1\nlimits = {{ max_batch_rows = {ROWS} }}\n"
    )
    with serving(models) as server:
        host, port = server.url.removeprefix("http://").split(":")
        clients = []
        for count in (1, 2):
            clients.append(socket.create_connection((host, int(port)), timeout=30))
            clients[-1].sendall(REQUEST)
            wait_for(lambda count=count: metric(server, "bonsai_requests_in_flight") == count, "the request")
        for client in reversed(clients):
            client.close()
        wait_for(lambda: metric(server, "bonsai_requests_in_flight") == 0, "the requests to be dropped")
        assert metric(server, "bonsai_cancelled_total", stage="queue") == 1
        assert metric(server, "bonsai_cancelled_total", stage="run") == 1
        assert metric(server, "bonsai_batch_rows_count") == 1
        assert server.predict([[0.5] * WIDTH]).status_code == 200
