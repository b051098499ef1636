"""Every member of every body with a value of every other type of JSON."""

import copy
from collections.abc import Iterator
from typing import Any

from tests.hostile.case import GOOD, INFER, PREDICT, ROW, Case, infer

Place = tuple[str | int, ...]

VALUES: dict[str, Any] = {
    "null": None,
    "bool": True,
    "integer": 7,
    "number": 1.5,
    "string": "text",
    "array": [],
    "object": {},
}
_INFER_BODY = {
    "id": "a",
    "parameters": {"timeout": 0, "priority": 0, "binary_data_output": False, "custom": 1},
    "inputs": [GOOD | {"parameters": {"custom": 1}}],
    "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
}
_INFER_MEMBERS: dict[Place, str] = {
    (): "object",
    ("id",): "string null",
    ("parameters",): "object",
    ("parameters", "timeout"): "integer",
    ("parameters", "priority"): "integer",
    ("parameters", "binary_data_output"): "bool",
    ("parameters", "custom"): "bool integer number string",
    ("inputs",): "array",
    ("inputs", 0): "object",
    ("inputs", 0, "name"): "string",
    ("inputs", 0, "shape"): "array",
    ("inputs", 0, "shape", 0): "integer",
    ("inputs", 0, "datatype"): "string",
    ("inputs", 0, "parameters"): "object",
    ("inputs", 0, "parameters", "custom"): "bool integer number string",
    ("inputs", 0, "data"): "array",
    ("inputs", 0, "data", 0): "integer number",
    ("outputs",): "array",
    ("outputs", 0): "object",
    ("outputs", 0, "name"): "string",
    ("outputs", 0, "parameters"): "object",
    ("outputs", 0, "parameters", "binary_data"): "bool",
}
_PREDICT_BODY = {
    "model": "m",
    "version": 1,
    "inputs": {"x": [ROW]},
    "parameters": {"timeout_ms": 1000, "priority": 1, "top_k": None},
}
_PREDICT_MEMBERS: dict[Place, str] = {
    (): "object",
    ("model",): "string null",
    ("version",): "integer string null",
    ("inputs",): "object array",
    ("inputs", "x"): "array",
    ("inputs", "x", 0): "array",
    ("inputs", "x", 0, 0): "integer number",
    ("parameters",): "object",
    ("parameters", "timeout_ms"): "integer number null",
    ("parameters", "priority"): "integer",
    ("parameters", "top_k"): "integer null",
}
_REPOSITORY_MEMBERS: dict[str, tuple[dict[str, Any], dict[Place, str]]] = {
    "/v2/repository/index": ({"ready": True}, {(): "object", ("ready",): "bool"}),
    "/v2/repository/models/m/load": ({"parameters": {}}, {(): "object", ("parameters",): "object"}),
    "/v2/repository/models/m/unload": (
        {"parameters": {"unload_dependents": False}},
        {(): "object", ("parameters",): "object", ("parameters", "unload_dependents"): "bool"},
    ),
}


def _replaced(document: Any, place: Place, value: Any) -> Any:
    if not place:
        return value
    changed = copy.deepcopy(document)
    parent = changed
    for step in place[:-1]:
        parent = parent[step]
    parent[place[-1]] = value
    return changed


def _wrong(target: str, document: Any, places: dict[Place, str]) -> Iterator[Case]:
    for place, allowed in places.items():
        for kind, value in VALUES.items():
            if kind not in allowed.split():
                name = f"{target}: {'.'.join(map(str, place)) or 'the document'} is {kind}"
                yield infer(name, _replaced(document, place, value), target=target)


CASES: list[Case] = [
    infer("infer: every member", _INFER_BODY, 200),
    infer("predict: every member", _PREDICT_BODY, 200, target=PREDICT),
    *_wrong(INFER, _INFER_BODY, _INFER_MEMBERS),
    *_wrong(PREDICT, _PREDICT_BODY, _PREDICT_MEMBERS),
    *(case for target, (body, places) in _REPOSITORY_MEMBERS.items() for case in _wrong(target, body, places)),
]
