"""Graphs with BF16 inputs or outputs. NumPy has no such type: an element is two bytes that only graphs can read, and
ONNX Runtime takes and gives it through values of its own instead of arrays."""

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort

from app.contract.tensors import DataType, Signature
from app.errors import LoadFailed
from app.protocol.messages import DTYPES, Array
from app.runtime.providers import CPU

DTYPE = DTYPES[DataType.BF16]
_ONNX_TYPE = 16  # TensorProto.BFLOAT16


def is_used(signature: Signature) -> bool:
    return any(spec.datatype is DataType.BF16 for spec in (*signature.inputs, *signature.outputs))


def check(signature: Signature, provider: str) -> None:
    """Raises LoadFailed where such a graph cannot be served: results are read from the host's memory, and a value of
    strings cannot be made."""
    if not is_used(signature):
        return
    if provider != CPU:
        raise LoadFailed(f"BF16 inputs and outputs: expected {CPU}, got {provider}")
    if any(spec.datatype is DataType.BYTES for spec in signature.inputs):
        raise LoadFailed("BF16 inputs and outputs: expected no BYTES input beside them")


def run(session: Any, outputs: list[str], inputs: Mapping[str, Array], options: Any) -> list[Array]:
    """The outputs in this order."""
    arrays = {name: np.asarray(array, order="C") for name, array in inputs.items()}
    values = {name: _value(array) for name, array in arrays.items()}  # they lie in the arrays' memory
    return [_array(value) for value in session.run_with_ort_values(outputs, values, options)]


def _value(array: Array) -> Any:
    if array.dtype != DTYPE:
        return ort.OrtValue.ortvalue_from_numpy(array)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _ONNX_TYPE)


def _array(value: Any) -> Array:
    if value.data_type() != DataType.BF16.onnx:
        array: Array = value.numpy()
        return array
    shape = value.shape()
    count = int(np.prod(shape))
    raw = ctypes.string_at(value.data_ptr(), count * DTYPE.itemsize) if count else b""
    return np.frombuffer(raw, DTYPE).reshape(shape)
