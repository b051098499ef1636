"""Whole HTTP requests as bytes: Bonsai's native JSON, and the Open Inference Protocol with binary tensors."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.keys import KEY

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]

DATATYPES = {"float32": "FP32", "int64": "INT64"}


def predict(document: Mapping[str, Any]) -> bytes:
    """POST /predict."""
    return post("/predict", json.dumps(document, separators=(",", ":")).encode())


def infer(model: str, tensors: Tensors) -> bytes:
    """POST to the infer path with the binary tensor extension: a JSON header, then each tensor's bytes; the answer is
    asked for in the same form."""
    document = {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": DATATYPES[array.dtype.name],
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in tensors.items()
        ],
        "parameters": {"binary_data_output": True},
    }
    header = json.dumps(document, separators=(",", ":")).encode()
    body = header + b"".join(np.ascontiguousarray(array).tobytes() for array in tensors.values())
    return post(
        f"/v2/models/{model}/infer",
        body,
        {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))},
    )


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    access = {"Host": "127.0.0.1", "Authorization": f"Bearer {KEY}"}
    fields = access | {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in (fields | dict(headers or {})).items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
