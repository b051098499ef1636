"""A request through each of the server's doors, and its answer as arrays."""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from app.contract.tensors import DataType
from app.protocol.messages import DTYPES, Array

Tensors = Mapping[str, Array]
Answer = dict[str, Array]


@dataclass(frozen=True)
class Target:
    """A model of a server, and the NumPy types of its outputs, which POST /predict does not tell."""

    client: httpx.Client
    model: str
    kinds: Mapping[str, np.dtype[Any]]


Door = Callable[[Target, Tensors], Answer]

_NAMES = {dtype: datatype.value for datatype, dtype in DTYPES.items() if datatype is not DataType.BF16}


def predict(target: Target, inputs: Tensors) -> Answer:
    """POST /predict."""
    lists = {name: array.tolist() for name, array in inputs.items()}
    answer = _sent(target, "/predict", json.dumps({"model": target.model, "inputs": lists}).encode())
    return {name: np.array(values, target.kinds[name]) for name, values in answer.json()["outputs"].items()}


def infer_json(target: Target, inputs: Tensors) -> Answer:
    """The Open Inference Protocol, tensors as JSON."""
    tensors = [_tensor(name, array) | {"data": array.reshape(-1).tolist()} for name, array in inputs.items()]
    answer = _sent(target, f"/v2/models/{target.model}/infer", json.dumps({"inputs": tensors}).encode())
    return {
        output["name"]: np.array(output["data"], DTYPES[output["datatype"]]).reshape(output["shape"])
        for output in answer.json()["outputs"]
    }


def infer_binary(target: Target, inputs: Tensors) -> Answer:
    """The Open Inference Protocol, tensors as raw bytes, both ways."""
    raws = [_packed(array) for array in inputs.values()]
    tensors = [
        _tensor(name, array) | {"parameters": {"binary_data_size": len(raw)}}
        for (name, array), raw in zip(inputs.items(), raws, strict=True)
    ]
    document = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    length = {"Inference-Header-Content-Length": str(len(document))}
    answer = _sent(target, f"/v2/models/{target.model}/infer", b"".join((document, *raws)), length)
    start = int(answer.headers["inference-header-content-length"])
    arrays = {}
    for output in json.loads(answer.content[:start])["outputs"]:
        stop = start + output["parameters"]["binary_data_size"]
        arrays[output["name"]] = _unpacked(answer.content[start:stop], output["datatype"], output["shape"])
        start = stop
    assert start == len(answer.content)
    return arrays


DOORS: dict[str, Door] = {"predict": predict, "infer in JSON": infer_json, "infer in binary": infer_binary}


def _sent(target: Target, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> httpx.Response:
    answer = target.client.post(path, content=body, headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    return answer


def _tensor(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": _NAMES[array.dtype]}


def _packed(array: Array) -> bytes:
    if array.dtype != object:
        return array.astype(array.dtype.newbyteorder("<")).tobytes()
    elements = [text.encode() for text in array.reshape(-1)]
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def _unpacked(raw: bytes, datatype: str, shape: list[int]) -> Array:
    if datatype != "BYTES":
        return np.frombuffer(raw, DTYPES[DataType(datatype)].newbyteorder("<")).reshape(shape)
    texts, start = [], 0
    while start < len(raw):
        stop = start + 4 + struct.unpack_from("<I", raw, start)[0]
        texts.append(raw[start + 4 : stop].decode())
        start = stop
    return np.array(texts, object).reshape(shape)
