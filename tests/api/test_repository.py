"""The model repository extension: an index, and loading and unloading by request."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import graphs
from tests.api.application import Application, running
from tests.keys import KEYS, WITH_KEY
from tests.publishing import publish

LOAD = "/v2/repository/models/m/load"
UNLOAD = "/v2/repository/models/m/unload"


@pytest.fixture
def application(models: Path, state: Path) -> Iterator[Application]:
    """A model m with the versions 1 and 2, a model that cannot be loaded, and a key that opens every door; no look at
    the store but on request."""
    graph = graphs.linear(models.parent / "graph" / "model.onnx")
    for version in ("1", "2"):
        publish(models / "m" / version, graph, state / "graphs")
    (models / "broken").mkdir()
    (models / "broken" / "model.onnx").write_bytes(b"no graph")
    with running(models, state, keys=KEYS, poll_seconds=1e6) as application:
        application.headers = WITH_KEY
        application.run(application.parts.repository.refresh())  # bare folders are taken at the second look
        yield application


def index(application: Application, body: bytes = b"") -> list[dict[str, str]]:
    answer = application.post("/v2/repository/index", body)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, str]] = answer.json()
    return entries


def states(application: Application) -> dict[str, str]:
    return {f"{entry['name']}/{entry['version']}": entry["state"] for entry in index(application)}


def infer(application: Application, model: str = "m") -> int:
    return application.request("POST", "/predict", json={"model": model, "inputs": [[1, 2, 3, 4]]}).status_code


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready": false}'])
def test_the_index_has_every_version_and_its_state(application: Application, body: bytes) -> None:
    broken, first, second = index(application, body)
    assert (broken["name"], broken["version"], broken["state"]) == ("broken", "1", "UNAVAILABLE")
    assert broken["reason"].startswith("model.onnx: expected an ONNX graph")
    assert first == {"name": "m", "version": "1", "state": "READY", "reason": ""}
    assert second == {"name": "m", "version": "2", "state": "READY", "reason": ""}


def test_the_index_of_ready_versions(application: Application) -> None:
    assert [(entry["name"], entry["version"]) for entry in index(application, b'{"ready": true}')] == [
        ("m", "1"),
        ("m", "2"),
    ]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"x", "body: expected JSON"),
        (b"[]", "body: expected object"),
        (b'{"ready": 1}', "ready: expected bool"),
        (b'{"raedy": true}', "raedy: expected no such member"),
    ],
)
def test_a_wrong_index_body_is_400_with_the_field(application: Application, body: bytes, text: str) -> None:
    answer = application.post("/v2/repository/index", body)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(text)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"parameters": {}}', b'{"parameters": {"unload_dependents": true}}'])
def test_an_unloaded_model_is_not_ready_until_it_is_loaded(application: Application, body: bytes) -> None:
    assert application.post(UNLOAD, body).json() == {"name": "m", "unload": True}
    assert infer(application) == 503
    assert application.get("/v2/models/m/ready").json() == {"error": "model 'm' version 2 is not ready: unloaded"}
    assert states(application) == {"broken/1": "UNAVAILABLE", "m/1": "UNAVAILABLE", "m/2": "UNAVAILABLE"}
    assert {entry["reason"] for entry in index(application) if entry["name"] == "m"} == {"unloaded"}
    assert application.post(LOAD).json() == {"name": "m", "load": True}
    assert states(application) == {"broken/1": "UNAVAILABLE", "m/1": "READY", "m/2": "READY"}
    assert infer(application) == 200


def test_what_is_loaded_and_has_not_changed_is_left_alone(application: Application) -> None:
    before = application.parts.repository.acquire("m", None)
    assert application.post(LOAD).status_code == 200
    assert application.parts.repository.acquire("m", None) is before


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
def test_a_model_that_is_not_there_is_404(application: Application, path: str) -> None:
    answer = application.post(path.replace("/m/", "/cats/"))
    assert (answer.status_code, answer.json()) == (404, {"error": "no model 'cats'"})


def test_a_model_that_cannot_be_loaded_says_why(application: Application) -> None:
    answer = application.post("/v2/repository/models/broken/load")
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("version 1: model.onnx: expected an ONNX graph")


def test_a_model_that_was_mended_is_loaded(application: Application, models: Path) -> None:
    shutil.copy(models / "m" / "1" / "model.onnx", models / "broken" / "model.onnx")
    assert application.post("/v2/repository/models/broken/load").status_code == 503  # it changed just now
    assert application.post("/v2/repository/models/broken/load").status_code == 200
    assert infer(application, "broken") == 200


@pytest.mark.parametrize(
    ("path", "parameters", "status", "text"),
    [
        (LOAD, {"config": "{}"}, 501, "parameters.config: expected none"),
        (LOAD, {"file:1/model.onnx": "AAAA"}, 501, "parameters.file:1/model.onnx: expected none"),
        (LOAD, {"unload_dependents": True}, 400, "parameters.unload_dependents: expected no such parameter"),
        (UNLOAD, {"unload_dependents": 1}, 400, "parameters.unload_dependents: expected true or false"),
        (UNLOAD, {"config": "{}"}, 400, "parameters.config: expected no such parameter"),
        (UNLOAD, {"a": []}, 400, "parameters"),
    ],
)
def test_parameters_that_are_not_offered_are_refused(
    application: Application, path: str, parameters: dict[str, Any], status: int, text: str
) -> None:
    answer = application.request("POST", path, json={"parameters": parameters})
    assert answer.status_code == status
    assert answer.json()["error"].startswith(text)
    assert infer(application) == 200


def test_a_body_over_the_limit_is_413(models: Path, state: Path) -> None:
    with running(models, state, max_body_bytes=10) as application:
        assert application.post("/v2/repository/index", b'{"ready": true}').status_code == 413
        assert application.post("/v2/repository/index", b"{}        ").status_code == 200


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_cross_site_request_forgery(application: Application, header: str, media_type: str) -> None:
    headers = {header: "null"} | ({"Content-Type": media_type} if media_type else {})
    assert application.post(UNLOAD, b"{}", **headers).status_code == 415
    assert infer(application) == 200
    assert application.post(UNLOAD, b"{}", **headers | {"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize("path", [LOAD, UNLOAD, "/v2/repository/index"])
def test_a_get_changes_nothing(application: Application, path: str) -> None:
    assert application.get(path).status_code == 405
    assert infer(application) == 200
