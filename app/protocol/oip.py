"""The Open Inference Protocol v2 in JSON (https://github.com/kserve/open-inference-protocol, REST)."""

from typing import Annotated, Any

import msgspec

from app.contract.tensors import DataType, Signature
from app.errors import InvalidInput
from app.protocol import json_tensors
from app.protocol.messages import Array, InferRequest, InferResponse, Tensors, Timings

ID_LIMIT = 256
# Names that the protocol or its extensions give a meaning. A request that relies on one gets a refusal,
# not an answer that ignored it.
RESERVED = ("priority", "binary_data_output", "sequence_id", "sequence_start", "sequence_end")
TENSOR_RESERVED = (
    "binary_data_size",
    "shared_memory_region",
    "shared_memory_offset",
    "shared_memory_byte_size",
)
OUTPUT_RESERVED = (*TENSOR_RESERVED, "classification")

Parameters = dict[str, bool | int | float | str]
Dim = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Shape = Annotated[list[Dim], msgspec.Meta(max_length=32)]
LONGEST_TIMEOUT = 2**63 - 1
"""Microseconds."""


class InputTensor(msgspec.Struct, frozen=True):
    name: str
    shape: Shape
    datatype: str
    data: msgspec.Raw
    parameters: Parameters = {}


class RequestedOutput(msgspec.Struct, frozen=True):
    name: str
    parameters: Parameters = {}


class InferBody(msgspec.Struct, frozen=True):
    inputs: Annotated[list[InputTensor], msgspec.Meta(min_length=1)]
    id: str | None = None
    parameters: Parameters = {}
    outputs: list[RequestedOutput] = []


_BODY = msgspec.json.Decoder(InferBody)


def decode(body: bytes, timings: Timings, model: str, version: str | None) -> InferRequest:
    """The request in an infer body. Raises InvalidInput."""
    call = json_tensors.decode(_BODY, body, "body")
    if call.id is not None and not (len(call.id) <= ID_LIMIT and call.id.isprintable()):
        raise InvalidInput.field("id", expected=f"at most {ID_LIMIT} printable characters", got="something else")
    _refuse_reserved(call.parameters, RESERVED, "parameters")
    return InferRequest(
        model=model,
        version=version,
        read_inputs=lambda signature: _read_inputs(call.inputs, signature),
        timings=timings,
        timeout=_timeout(call.parameters),
        outputs=_requested(call.outputs),
        id=call.id,
    )


def encode(request: InferRequest, response: InferResponse) -> bytes:
    """The answer of an infer request. Raises NotRepresentable."""
    specs = {spec.name: spec for spec in response.signature.outputs}
    document: dict[str, Any] = {"model_name": response.model, "model_version": str(response.version)}
    if request.id is not None:
        document["id"] = request.id
    document["outputs"] = [_write_output(name, specs[name].datatype, array) for name, array in response.outputs.items()]
    return json_tensors.encode(document)


def _read_inputs(tensors: list[InputTensor], signature: Signature) -> Tensors:
    known = {spec.name for spec in signature.inputs}
    read: dict[str, Array] = {}
    for index, tensor in enumerate(tensors):
        field = f"inputs[{index}]"
        if tensor.name not in known or tensor.name in read:
            expected = f"one of {', '.join(sorted(known - read.keys()))}" if known - read.keys() else "no further input"
            raise InvalidInput.field(f"{field}.name", expected=expected, got=f"'{tensor.name[:ID_LIMIT]}'")
        _refuse_reserved(tensor.parameters, TENSOR_RESERVED, f"{field}.parameters")
        datatype = _datatype(tensor.datatype, f"{field}.datatype")
        read[tensor.name] = json_tensors.read_shaped(tensor.data, datatype, tuple(tensor.shape), f"{field}.data")
    return read


def _datatype(name: str, field: str) -> DataType:
    if name in (DataType.FP16, DataType.BF16):
        raise InvalidInput.field(field, expected="a datatype that the protocol carries in JSON", got=name)
    try:
        return DataType(name)
    except ValueError:
        raise InvalidInput.field(field, expected=f"one of {', '.join(DataType)}", got=f"'{name[:40]}'") from None


def _requested(outputs: list[RequestedOutput]) -> tuple[str, ...] | None:
    for index, output in enumerate(outputs):
        _refuse_reserved(output.parameters, OUTPUT_RESERVED, f"outputs[{index}].parameters")
    names = tuple(output.name for output in outputs)
    if len(set(names)) != len(names):
        raise InvalidInput.field("outputs", expected="every output once", got="one twice")
    return names or None


def _timeout(parameters: Parameters) -> float | None:
    """The protocol's `timeout`: microseconds, 0 for none."""
    microseconds = parameters.get("timeout", 0)
    whole = isinstance(microseconds, int) and not isinstance(microseconds, bool)
    if not whole or not 0 <= int(microseconds) <= LONGEST_TIMEOUT:
        expected = f"microseconds as an integer from 0 to {LONGEST_TIMEOUT}"
        raise InvalidInput.field("parameters.timeout", expected=expected, got=f"{microseconds!r}")
    microseconds = int(microseconds)
    return microseconds / 1e6 if microseconds else None


def _refuse_reserved(parameters: Parameters, reserved: tuple[str, ...], field: str) -> None:
    for name in reserved:
        if name in parameters and parameters[name] is not False:
            raise InvalidInput(f"{field}.{name}: expected no parameter that this server does not support, got one")


def _write_output(name: str, datatype: DataType, array: Array) -> dict[str, Any]:
    if datatype in (DataType.FP16, DataType.BF16):
        raise InvalidInput.field(
            f"output '{name}'", expected="a datatype that the protocol carries in JSON", got=datatype
        )
    data = json_tensors.writable(array.reshape(-1), name)
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}
