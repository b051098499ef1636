"""What a request means, by json, NumPy and ONNX Runtime alone: nothing of the server's code.

It is more lenient than the server, so it says nothing where the server refuses. What the server answers it must read
too, and give the same outputs.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from app.contract.tensors import Signature
from tests.fuzz import models
from tests.fuzz.world import Fault

Array = NDArray[Any]
Arrays = Mapping[str, Array]

DTYPES: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BF16": "<V2",
    "BYTES": "O",
}
TAME = 1e3
"""Values up to which sums in another order are still about the same."""


class Model:
    """A model of the repository, run without the server."""

    def __init__(self, name: str, signature: Signature, folder: Path) -> None:
        self.name = name
        self.signature = signature
        graph = next(iter(sorted(folder.glob("**/model.onnx"))))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Arrays) -> Arrays:
        if self.name == "brains":  # NumPy and ONNX Runtime's Python have no BF16 between them
            return {"y": inputs["x"]}
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(None, dict(inputs)), strict=True))

    def check(self, inputs: Arrays, outputs: Arrays) -> None:
        """Raises Fault unless these are the model's outputs for these inputs."""
        if any(array.size == 0 for array in inputs.values()):
            return  # the server need not run for no rows
        expected = self.run(inputs)
        exact = self.name in models.EXACT
        if not exact and not all((np.abs(array) < TAME).all() for array in inputs.values()):
            return
        for name, array in outputs.items():
            if array.shape != expected[name].shape or not _same(array, expected[name], exact):
                raise Fault(f"{self.name} gives {name} = {expected[name]!r}, the server {array!r} for {inputs!r}")


def _same(got: Array, expected: Array, exact: bool) -> bool:
    if got.dtype.kind == "O" or got.dtype.kind == "V":
        return bool(got.tolist() == expected.tolist())
    if exact:
        return np.array_equal(got, expected, equal_nan=got.dtype.kind == "f")
    return np.allclose(got, expected, rtol=1e-3, atol=1e-3)


def oip_inputs(body: bytes, json_length: int | None, signature: Signature) -> Arrays:
    """Of a request of the Open Inference Protocol. Raises ValueError and the like where it is none."""
    if json_length == 0:
        spec = signature.inputs[0]
        return {spec.name: np.frombuffer(body, DTYPES[spec.datatype]).reshape(spec.shape)}
    return oip_tensors(body, json_length, "inputs")


def oip_tensors(body: bytes, json_length: int | None, member: str) -> Arrays:
    """The tensors of a request's or an answer's `inputs` or `outputs`."""
    length = len(body) if json_length is None else json_length
    if length > len(body):
        raise ValueError("the JSON is longer than the body")
    tensors: dict[str, Array] = {}
    start = length
    for tensor in _json(body[:length])[member]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        dtype, shape = DTYPES[tensor["datatype"]], tuple(tensor["shape"])
        if size is None:
            array = np.array(_flat(tensor["data"]), dtype)
        else:
            raw = body[start : start + size]
            if type(size) is not int or not 0 <= size == len(raw):
                raise ValueError("fewer bytes than are announced")
            start += size
            array = np.array(_strings(raw), "O") if dtype == "O" else np.frombuffer(raw, dtype)
        tensors[tensor["name"]] = array.reshape(shape)
    if start != len(body):
        raise ValueError("bytes behind the last tensor")
    return tensors


def native_inputs(body: bytes, signature: Signature) -> Arrays:
    """Of a /predict body."""
    given = _json(body)["inputs"]
    named = given if isinstance(given, dict) else {signature.inputs[0].name: given}
    return {spec.name: _nested(named[spec.name], DTYPES[spec.datatype], spec.shape) for spec in signature.inputs}


def native_outputs(body: bytes, signature: Signature) -> Arrays:
    """Of an answer of /predict."""
    outputs = json.loads(body)["outputs"]
    return {spec.name: _nested(outputs[spec.name], DTYPES[spec.datatype], spec.shape) for spec in signature.outputs}


def answered_by(body: bytes) -> str:
    """The name of the model that an answer of /predict is of."""
    return str(json.loads(body)["model"])


def _json(text: bytes) -> Any:
    """The server does not read names that it does not know, so there may be anything in them."""
    return json.loads(text.decode(errors="replace"))


def _nested(values: Any, dtype: str, shape: tuple[int, ...]) -> Array:
    array = np.array(values, dtype)
    if array.ndim != len(shape) and array.size:
        raise ValueError("another rank")
    return array


def _flat(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise ValueError("no list")
    flat: list[Any] = []
    for value in values:
        flat += _flat(value) if isinstance(value, list) else [value]
    return flat


def _strings(raw: bytes) -> list[str]:
    found: list[str] = []
    while raw:
        (length,) = struct.unpack_from("<I", raw)
        if length > len(raw) - 4:
            raise ValueError("a string that is not all there")
        found.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    return found
