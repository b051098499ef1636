"""The inference paths in the OpenAPI document: they are served in front of FastAPI, which does not know them."""

from typing import Any

from fastapi import FastAPI

from app.api.admin import ADMIN
from app.api.health import PROBES
from app.api.routes import PREDICT
from app.protocol import media, npy

_TENSOR_DATA = {"description": "A nested list, rows first.", "type": "array", "items": {}}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": 0}}

_PREDICT_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "additionalProperties": False,
    "properties": {
        "model": {"type": "string", "description": "May be left out where one model is loaded or a default is set."},
        "version": {"type": ["integer", "string"]},
        "inputs": {
            "description": "A nested list for the only input, rows first, or an object of them by input name; "
            "for an input with a medium a list of texts, or of images or sounds in base64.",
            "anyOf": [_TENSOR_DATA, {"type": "object", "additionalProperties": _TENSOR_DATA}],
        },
        "parameters": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "timeout_ms": {"type": "number", "exclusiveMinimum": 0},
                "priority": {"type": "integer", "minimum": 0, "maximum": 3, "description": "1 is the highest."},
                "top_k": {"type": "integer", "minimum": 1},
            },
        },
    },
}
_PREDICT_ANSWER = {
    "type": "object",
    "required": ["model", "version", "outputs", "timing_ms"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "integer"},
        "outputs": {"type": "object", "additionalProperties": _TENSOR_DATA},
        "predictions": {"type": "array", "items": {"type": "object"}},
        "timing_ms": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}
_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": _SHAPE,
        "datatype": {"type": "string"},
        "parameters": _PARAMETERS,
        "data": {
            "description": "Left out where parameters.binary_data_size says how many raw bytes follow the JSON.",
            "type": "array",
            "items": {},
        },
    },
}
_INFER_BODY = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 256},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
            },
        },
    },
}
_INFER_ANSWER = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_JSON_LENGTH = "Inference-Header-Content-Length"
_TIMEOUT = {
    "name": "X-Request-Timeout-Ms",
    "in": "header",
    "required": False,
    "description": "Milliseconds after which the answer is of no use; what the body says goes first.",
    "schema": {"type": "integer", "minimum": 1},
}
_BINARY = {
    "description": "JSON, then raw tensors (the extension binary_tensor_data).",
    "type": "string",
    "format": "binary",
}
_ARRAY = {"description": "One array (NumPy's format, versions 1.0 to 3.0).", "type": "string", "format": "binary"}
_QUERY: dict[str, Any] = {
    "model": {"type": "string"},
    "version": {"type": "string"},
    **_PREDICT_BODY["properties"]["parameters"]["properties"],
    "output": {"type": "string", "description": "The output of an .npy answer; of several outputs it must name one."},
}
"""What may stand in the query of /predict: beside a JSON body only `output`."""
_BODY_CODING = {
    "name": "Content-Encoding",
    "in": "header",
    "required": False,
    "description": "How the body is compressed.",
    "schema": {"type": "string", "enum": ["gzip", "deflate"]},
}
_ANSWER_CODING = {
    "name": "Accept-Encoding",
    "in": "header",
    "required": False,
    "description": "One coding alone is a wish that answers of 1 KB or more are compressed; a list is not.",
    "schema": {"type": "string"},
}
_COMPRESSED = {"description": "Where the answer is compressed.", "schema": _BODY_CODING["schema"]}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_FAILURES = {
    400: "Invalid input: which field, what was expected, what came.",
    401: "An API key is missing or unknown.",
    403: "The API key does not open this, or the host is a name that is not this server's.",
    404: "Unknown model or version.",
    413: "Body or rows over the limit.",
    415: "Content type or encoding that is not read here.",
    429: "This key has asked too often; Retry-After says when to come back.",
    500: "A fault of the server or the model.",
    501: "Not supported.",
    503: "Overloaded, draining or not ready; Retry-After says when to come back.",
    504: "The deadline passed.",
}


_SCHEMES = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_WITH_KEY: list[dict[str, list[str]]] = [{name: []} for name in _SCHEMES]
_NO_KEY: dict[str, list[str]] = {}
"""What a server without keys takes."""


def install(application: FastAPI) -> None:
    """Makes the document hold every path that is served, and the one error body that is sent."""
    generate = application.openapi

    def document() -> dict[str, Any]:
        if application.openapi_schema is None:
            schema = generate()
            schema["paths"] |= _inference_paths()
            schema["security"] = [_NO_KEY, *_WITH_KEY]
            schema.setdefault("components", {})["securitySchemes"] = _SCHEMES
            for path, operations in schema["paths"].items():
                for operation in operations.values():
                    _use_our_errors(operation)
                    if path in PROBES:
                        operation["security"] = []
                    elif path.startswith(ADMIN):
                        operation["security"] = _WITH_KEY
            schema.get("components", {}).get("schemas", {}).pop("HTTPValidationError", None)
            schema.get("components", {}).get("schemas", {}).pop("ValidationError", None)
        return application.openapi_schema or {}

    application.openapi = document  # type: ignore[method-assign]


def _inference_paths() -> dict[str, Any]:
    model, version = _path_parameter("model"), _path_parameter("version")
    infer = "/v2/models/{model}/infer"
    pinned = "/v2/models/{model}/versions/{version}/infer"
    return {
        PREDICT: {"post": _predict_operation()},
        infer: {"post": _infer_operation("Infer", [model])},
        pinned: {"post": _infer_operation("Infer with one version", [model, version])},
    }


def _operation(summary: str, parameters: list[Any], body: Any, answer: Any) -> dict[str, Any]:
    failures = {str(status): _response(text, _ERROR) for status, text in _FAILURES.items()}
    return {
        "tags": ["inference"],
        "summary": summary,
        "parameters": [*parameters, _TIMEOUT, _BODY_CODING, _ANSWER_CODING],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _response("The answer.", answer) | {"headers": {"Content-Encoding": _COMPRESSED}},
            **failures,
        },
    }


def _predict_operation() -> dict[str, Any]:
    """JSON, .npy both ways, or a medium."""
    query = [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in _QUERY.items()]
    operation = _operation("Predict", query, _PREDICT_BODY, _PREDICT_ANSWER)
    for content in (operation["requestBody"]["content"], operation["responses"]["200"]["content"]):
        content[npy.MEDIA_TYPE] = {"schema": _ARRAY}
    for media_type, medium in media.MEDIA.items():
        row = {"description": f"One row of an input whose medium is {medium}.", "type": "string"}
        schema = row if medium == "text" else row | {"format": "binary"}
        operation["requestBody"]["content"][media_type] = {"schema": schema}
    return operation


def _infer_operation(summary: str, parameters: list[Any]) -> dict[str, Any]:
    """JSON or binary tensors, both ways."""
    length = {"description": "Bytes of JSON before the raw tensors.", "schema": {"type": "integer", "minimum": 0}}
    sent = {"name": _JSON_LENGTH, "in": "header", "required": False, **length}
    operation = _operation(summary, [*parameters, sent], _INFER_BODY, _INFER_ANSWER)
    answer = operation["responses"]["200"]
    answer["headers"][_JSON_LENGTH] = length
    for content in (operation["requestBody"]["content"], answer["content"]):
        content["application/octet-stream"] = {"schema": _BINARY}
    return operation


def _response(description: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _use_our_errors(operation: dict[str, Any]) -> None:
    """FastAPI documents a 422 with a body of its own, which is never sent."""
    operation["responses"].pop("422", None)
    operation["responses"].setdefault("default", _response("A failure.", _ERROR))
