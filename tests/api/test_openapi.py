"""The OpenAPI document and what is served are the same."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from fastapi.routing import APIRoute

from app.api import configuration, health, metadata, repository, statistics
from app.api.routes import JSON_TYPES, route
from app.protocol import native, raw
from app.protocol.compression import CODINGS
from app.protocol.query import NAMES
from app.telemetry.metrics import Metrics
from tests.api.application import Application

INFERENCE = {
    "/predict",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
}
ADMIN = {f"/v2/repository/models/{{model}}/{what}" for what in ("load", "unload")}


@pytest.fixture(scope="module")
def document(application: Application) -> dict[str, Any]:
    schema: dict[str, Any] = application.get("/openapi.json").json()
    return schema


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_the_documented_paths_are_the_served_ones(application: Application, document: dict[str, Any]) -> None:
    parts = application.parts
    routers = (
        health.router(parts.dataplane, parts.repository, Metrics()),
        metadata.router(parts.repository),
        configuration.router(parts.repository),
        statistics.router(parts.repository, Metrics()),
        repository.router(parts.repository, 1),
    )
    served = {
        (method, found.path)
        for router in routers
        for found in router.routes
        if isinstance(found, APIRoute) and found.include_in_schema
        for method in found.methods
    }
    assert served
    assert {(method, path) for method, path, _ in operations(document)} == served | {
        ("POST", path) for path in INFERENCE
    }


def test_the_document_says_where_a_key_is_needed(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["ApiKey"]["name"] == "X-API-Key"
    assert {} in document["security"]
    for _, path, operation in operations(document):
        if path in health.PROBES:
            assert operation["security"] == []
        elif path in ADMIN:
            assert operation["security"] == [{"Bearer": []}, {"ApiKey": []}]
        else:
            assert "security" not in operation


def test_every_documented_operation_is_there(application: Application, document: dict[str, Any]) -> None:
    for method, path, _ in operations(document):
        answer = application.request(method, path.format(model="m", version="1"))
        expected = 400 if path in INFERENCE else 401 if path in ADMIN else 200
        assert answer.status_code == expected, (path, answer.text)


@pytest.mark.parametrize("path", sorted(INFERENCE))
def test_the_inference_door_takes_its_documented_paths(path: str) -> None:
    assert route(path.format(model="m", version="1")) is not None


def test_fastapis_own_error_body_is_nowhere(document: dict[str, Any]) -> None:
    assert "422" not in {status for _, _, operation in operations(document) for status in operation["responses"]}
    assert "ValidationError" not in str(document)
    assert "detail" not in str(document)


def test_every_operation_documents_the_one_error_body(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        failures = {status: found for status, found in operation["responses"].items() if status != "200"}
        assert "default" in failures, (method, path)
        for found in failures.values():
            schema = found["content"]["application/json"]["schema"]
            assert (list(schema["properties"]), schema["required"]) == (["error"], ["error"]), (method, path)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from [inner] if key == "$ref" else references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    found = set(references(document))
    assert found
    for reference in found:
        at: Any = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def test_path_parameters_are_declared(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        declared = [found["name"] for found in operation.get("parameters", []) if found["in"] == "path"]
        assert all(f"{{{name}}}" in path for name in declared)
        assert len(declared) == path.count("{")


@pytest.mark.parametrize("path", sorted(INFERENCE))
def test_the_infer_paths_document_binary_tensors_both_ways(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["post"]
    answer = operation["responses"]["200"]
    is_infer = path.startswith("/v2")
    other = "application/octet-stream" if is_infer else "application/x-npy"
    assert list(answer["content"]) == ["application/json", other]
    taken = list(operation["requestBody"]["content"])
    assert taken == ["application/json", other] if is_infer else [*JSON_TYPES[1:2], *raw.MEDIA_TYPES]
    length = ["Inference-Header-Content-Length"] * is_infer
    sent = [found["name"] for found in operation["parameters"] if found["in"] == "header"]
    assert [name for name in sent if name.startswith("Inference-")] == length
    assert [name for name in answer.get("headers", {}) if name.startswith("Inference-")] == length


@pytest.mark.parametrize("path", sorted(INFERENCE))
def test_every_documented_media_type_is_taken(document: dict[str, Any], path: str) -> None:
    documented = list(document["paths"][path]["post"]["requestBody"]["content"])
    for media_type in [*documented, "image/gif", "multipart/form-data"]:
        found = route(path.format(model="m", version="1"), headers={b"content-type": media_type.encode()})
        assert found is not None
        assert (found.fault is None) == (media_type in documented), media_type


@pytest.mark.parametrize("path", sorted(INFERENCE))
def test_every_content_coding_is_documented_both_ways(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["post"]
    sent = {found["name"]: found["schema"] for found in operation["parameters"] if found["in"] == "header"}
    codings = sent["Content-Encoding"]["enum"]
    assert {coding.encode() for coding in codings} == CODINGS - {b"x-gzip"}  # an alias of gzip
    assert operation["responses"]["200"]["headers"]["Content-Encoding"]["schema"]["enum"] == codings
    assert "Accept-Encoding" in sent


def test_every_query_parameter_is_documented_and_taken(document: dict[str, Any]) -> None:
    documented = [
        found["name"] for found in document["paths"]["/predict"]["post"]["parameters"] if found["in"] == "query"
    ]
    assert documented == list(NAMES)


@pytest.mark.parametrize("path", sorted(INFERENCE))
def test_the_inference_paths_document_the_header_with_a_timeout(document: dict[str, Any], path: str) -> None:
    sent = {found["name"] for found in document["paths"][path]["post"]["parameters"] if found["in"] == "header"}
    assert "X-Request-Timeout-Ms" in sent


def test_every_parameter_of_a_predict_body_is_documented(document: dict[str, Any]) -> None:
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"].keys() == {field.name for field in msgspec.structs.fields(native.PredictBody)}
    parameters = body["properties"]["parameters"]["properties"]
    assert parameters.keys() == {field.name for field in msgspec.structs.fields(native.Parameters)}


def test_the_document_is_the_same_when_asked_for_again(application: Application, document: dict[str, Any]) -> None:
    assert application.get("/openapi.json").json() == document
    assert document["openapi"].startswith("3.")
