"""Bodies of both dialects, and what becomes of them."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.contract.tensors import DataType, InputSpec, OutputSpec, Signature, TensorSpec
from app.dataplane import validate
from app.errors import InvalidInput
from app.protocol import native, oip
from app.protocol.messages import (
    DTYPES,
    Array,
    Column,
    Encoded,
    InferRequest,
    Outputs,
    ServedModel,
    Share,
    Tensors,
    Timings,
)

JSON_DATATYPES = [datatype for datatype in DataType if datatype is not DataType.BF16]
OIP_JSON_DATATYPES = [datatype for datatype in JSON_DATATYPES if datatype is not DataType.FP16]


def signature(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 3), **output: Any) -> Signature:
    """One input x and one output y of a datatype and a shape."""
    return Signature(
        inputs=(InputSpec(name="x", datatype=datatype, shape=shape),),
        outputs=(OutputSpec(name="y", datatype=datatype, shape=shape, **output),),
        batch_axis=0 if shape else None,
    )


def tensor(data: Any, shape: Any, datatype: Any = "FP32", name: Any = "x", **members: Any) -> dict[str, Any]:
    """An input tensor of the Open Inference Protocol."""
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **members}


def body(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def native_request(document: Any) -> InferRequest:
    return native.decode(body(document), Timings(0.0))


def oip_request(document: Any) -> InferRequest:
    return oip.Decoder("m", None)(body(document), Timings(0.0))


def native_inputs(document: Any, given: Signature | None = None) -> Tensors:
    """What the native dialect reads, held against the signature."""
    return _validated(native_request(document), given or signature())


def oip_inputs(document: Any, given: Signature | None = None) -> Tensors:
    """What the standard dialect reads, held against the signature."""
    return _validated(oip_request(document), given or signature())


def refusal(read: Callable[[], object]) -> str:
    """Why it is refused: one line of a bounded length."""
    with pytest.raises(InvalidInput) as raised:
        read()
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 1000
    return text


def _validated(request: InferRequest, given: Signature) -> Tensors:
    inputs = request.read_inputs(given)
    validate(given, inputs)
    return {spec.name: as_array(inputs[spec.name], spec) for spec in given.inputs}


def as_array(column: Column, spec: TensorSpec) -> Array:
    """The array that a batch makes of one input."""
    if isinstance(column, np.ndarray):
        return column
    return np.array(column, DTYPES[spec.datatype]).reshape(len(column), *spec.shape[1:])


def encoded(
    encode: Callable[[InferRequest, Share], Encoded], request: InferRequest, given: Signature, outputs: Tensors
) -> Encoded:
    """The answer to a request that had a run of its own."""
    return encode(served(request, given), Share(Outputs(outputs)))


def served(request: InferRequest, given: Signature) -> InferRequest:
    """The request, once a model version has been chosen for it."""
    request.served = ServedModel("m", 2, given, "CPUExecutionProvider")
    return request
