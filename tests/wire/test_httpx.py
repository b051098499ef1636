"""A plain HTTP client: what a person writes without a library for the protocol."""

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.keys import WITH_KEY
from tests.serving import Server

INPUTS = [
    {"name": "a", "shape": [1, 4], "datatype": "INT32", "data": [1, 2, 3, 4]},
    {"name": "b", "shape": [1, 4], "datatype": "INT32", "data": [[4, 3, 2, 1]]},
]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/stats"]
    + [
        f"/v2/models/simple{version}{what}"
        for version in ("", "/versions/1")
        for what in ("", "/ready", "/config", "/stats")
    ],
)
def test_every_get_is_answered_with_json(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert isinstance(answer.json(), dict)


def test_infer(client: httpx.Client) -> None:
    answer = client.post("/v2/models/simple/infer", json={"inputs": INPUTS, "id": "7"})
    assert answer.json() == {
        "model_name": "simple",
        "model_version": "2",
        "id": "7",
        "outputs": [
            {"name": "sum", "shape": [1, 4], "datatype": "INT32", "data": [5, 5, 5, 5]},
            {"name": "difference", "shape": [1, 4], "datatype": "INT32", "data": [-3, -1, 1, 3]},
        ],
    }
    assert "content-encoding" not in answer.headers  # httpx offers gzip with every request


def test_a_body_in_chunks(client: httpx.Client) -> None:
    text = json.dumps({"inputs": INPUTS}).encode()
    pieces = (text[at : at + 10] for at in range(0, len(text), 10))
    assert client.post("/v2/models/simple/infer", content=pieces).status_code == 200


@pytest.mark.parametrize("ready", [True, False])
def test_the_index(client: httpx.Client, ready: bool) -> None:
    answer = client.post("/v2/repository/index", json={"ready": ready})
    assert {"name": "simple", "version": "1", "state": "READY", "reason": ""} in answer.json()


def test_unload_and_load(client: httpx.Client) -> None:
    assert client.post("/v2/repository/models/held/unload", headers=WITH_KEY).json() == {"name": "held", "unload": True}
    assert client.get("/v2/models/held/ready").status_code == 503
    entries = {entry["name"]: entry for entry in client.post("/v2/repository/index").json()}
    assert (entries["held"]["state"], entries["held"]["reason"]) == ("UNAVAILABLE", "unloaded")
    assert client.post("/v2/repository/models/held/load", headers=WITH_KEY).json() == {"name": "held", "load": True}
    assert client.get("/v2/models/held/ready").status_code == 200


def test_a_bomb_is_413_and_the_server_goes_on(client: httpx.Client) -> None:
    import gzip

    bomb = gzip.compress(bytes(100_000_000))
    answer = client.post("/v2/models/simple/infer", content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert answer.json() == {"error": "body: expected at most 1000000 bytes once decompressed, got more"}
    assert client.post("/v2/models/simple/infer", json={"inputs": INPUTS}).status_code == 200
