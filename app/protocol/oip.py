"""The Open Inference Protocol v2 (https://github.com/kserve/open-inference-protocol, REST), with its binary tensor
data extension: raw tensors that follow the JSON of a request or an answer."""

import math
from typing import Annotated, Any

import msgspec
import orjson

from app.contract.tensors import DataType, OutputSpec, Signature
from app.errors import InvalidInput, NotRepresentable
from app.protocol import binary_tensors, json_answers, json_tensors
from app.protocol.messages import (
    DEFAULT_PRIORITY,
    DTYPES,
    PRIORITIES,
    Array,
    Encoded,
    InferRequest,
    Share,
    Tensors,
    Timings,
)

ID_LIMIT = 256
# Names that the protocol or its extensions give a meaning. A request that relies on one gets a refusal,
# not an answer that ignored it.
RESERVED = ("sequence_id", "sequence_start", "sequence_end")
INPUT_RESERVED = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
OUTPUT_RESERVED = (*INPUT_RESERVED, "binary_data_size", "classification")
LENGTH_HEADER = "inference-header-content-length"
BINARY_TYPE = "application/octet-stream"

Parameters = dict[str, bool | int | float | str]
Dim = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Shape = Annotated[list[Dim], msgspec.Meta(max_length=32)]
LONGEST_TIMEOUT = 2**63 - 1
"""Microseconds."""
_ABSENT = msgspec.Raw()


class InputTensor(msgspec.Struct, frozen=True):
    name: str
    shape: Shape
    datatype: str
    data: msgspec.Raw = _ABSENT
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


def decode(
    body: bytes, timings: Timings, json_length: int | None = None, *, model: str, version: str | None
) -> InferRequest:
    """The request in an infer body. Raises InvalidInput.

    `json_length` is the header Inference-Header-Content-Length: how many bytes are JSON, raw tensors follow; None where
    it is absent, 0 where the body is no more than the tensor of the only input.
    """
    if json_length == 0:
        return InferRequest(
            model=model,
            version=version,
            read_inputs=lambda signature: _read_only_input(memoryview(body), signature),
            timings=timings,
            binary_outputs=None,
        )
    text, rest = _divide(body, json_length)
    call = json_tensors.decode(_BODY, text, "body")
    if call.id is not None and not (len(call.id) <= ID_LIMIT and call.id.isprintable()):
        raise InvalidInput.field("id", expected=f"at most {ID_LIMIT} printable characters", got="something else")
    _refuse_reserved(call.parameters, RESERVED, "parameters")
    raws = _share_out(rest, call.inputs)
    outputs, binary_outputs = _requested(call)
    return InferRequest(
        model=model,
        version=version,
        read_inputs=lambda signature: _read_inputs(call.inputs, raws, signature),
        timings=timings,
        timeout=_timeout(call.parameters),
        priority=_priority(call.parameters),
        outputs=outputs,
        binary_outputs=binary_outputs,
        id=call.id,
    )


def encode(request: InferRequest, share: Share) -> Encoded:
    """The answer of an infer request. Raises NotRepresentable."""
    served = request.served
    assert served is not None
    specs = {spec.name: spec for spec in served.signature.outputs}
    raws: list[bytes] = []
    outputs: list[dict[str, Any]] = []
    for name in request.outputs or specs:
        spec = specs[name]
        output: dict[str, Any] = {"name": name, "shape": share.shape(name), "datatype": spec.datatype}
        if request.binary_outputs is None or name in request.binary_outputs:
            raws.append(binary_tensors.write(share.array(name), spec.datatype))
            output["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            output["data"] = _values(spec, share)
        outputs.append(output)
    document: dict[str, Any] = {"model_name": served.name, "model_version": str(served.version)}
    if request.id is not None:
        document["id"] = request.id
    document["outputs"] = outputs
    text = json_answers.encode(document)
    return Encoded(b"".join((text, *raws)), len(text), BINARY_TYPE.encode()) if raws else Encoded(text)


def _divide(body: bytes, json_length: int | None) -> tuple[memoryview, memoryview]:
    """The JSON of a body, and the raw tensors that follow it."""
    view = memoryview(body)
    if json_length is None:
        return view, view[:0]
    if not 0 <= json_length <= len(body):
        raise InvalidInput.field(
            LENGTH_HEADER, expected=f"at most {len(body)}, the length of the body", got=f"{json_length}"
        )
    return view[:json_length], view[json_length:]


def _share_out(rest: memoryview, tensors: list[InputTensor]) -> list[memoryview | None]:
    """The raw bytes of every input, None for one in JSON. They lie in the order of the inputs, with nothing between or
    behind them."""
    raws: list[memoryview | None] = []
    start = 0
    for index, tensor in enumerate(tensors):
        size = tensor.parameters.get("binary_data_size")
        if (size is None) == (tensor.data is _ABSENT):
            got = "neither" if size is None else "both"
            expected = "a list or, in its place, parameters.binary_data_size"
            raise InvalidInput.field(f"inputs[{index}].data", expected=expected, got=got)
        if size is None:
            raws.append(None)
            continue
        left = len(rest) - start
        if type(size) is not int or not 0 <= size <= left:
            expected = f"an integer from 0 to {left}, the bytes left in the body"
            raise InvalidInput.field(f"inputs[{index}].parameters.binary_data_size", expected=expected, got=f"{size!r}")
        raws.append(rest[start : start + size])
        start += size
    if start != len(rest):
        raise InvalidInput.field("body", expected=f"{start} bytes of tensors after the JSON", got=f"{len(rest)}")
    return raws


def _read_inputs(tensors: list[InputTensor], raws: list[memoryview | None], signature: Signature) -> Tensors:
    known = {spec.name for spec in signature.inputs}
    read: dict[str, Array] = {}
    for index, (tensor, raw) in enumerate(zip(tensors, raws, strict=True)):
        field = f"inputs[{index}]"
        if tensor.name not in known or tensor.name in read:
            expected = f"one of {', '.join(sorted(known - read.keys()))}" if known - read.keys() else "no further input"
            raise InvalidInput.field(f"{field}.name", expected=expected, got=f"'{tensor.name[:ID_LIMIT]}'")
        _refuse_reserved(tensor.parameters, INPUT_RESERVED, f"{field}.parameters")
        read[tensor.name] = _read_tensor(tensor, raw, field)
    return read


def _read_tensor(tensor: InputTensor, raw: memoryview | None, field: str) -> Array:
    datatype, shape = _datatype(tensor.datatype, f"{field}.datatype"), tuple(tensor.shape)
    if raw is not None:
        return binary_tensors.read(raw, datatype, shape, f"{field}.data")
    if datatype in (DataType.FP16, DataType.BF16):
        raise InvalidInput.field(
            f"{field}.datatype", expected="a datatype that the protocol carries in JSON", got=datatype
        )
    return json_tensors.read_shaped(tensor.data, datatype, shape, f"{field}.data")


def _read_only_input(raw: memoryview, signature: Signature) -> Tensors:
    """A raw request: the body is the tensor of the only input, and its length says how large the free dimension is."""
    spec = signature.inputs[0]
    free = spec.shape.count(-1)
    if len(signature.inputs) > 1 or free > 1 or spec.datatype is DataType.BYTES:
        expected = "the length of JSON: a body without any is one input of numbers with one free dimension at most"
        raise InvalidInput.field(LENGTH_HEADER, expected=expected, got="0")
    step = math.prod(dim for dim in spec.shape if dim != -1) * DTYPES[spec.datatype].itemsize
    size = len(raw) // step if step else 0
    if free and size * step != len(raw):
        raise InvalidInput.field("body", expected=f"a multiple of {step} bytes", got=f"{len(raw)}")
    shape = tuple(size if dim == -1 else dim for dim in spec.shape)
    return {spec.name: binary_tensors.read(raw, spec.datatype, shape, "body")}


def _datatype(name: str, field: str) -> DataType:
    try:
        return DataType(name)
    except ValueError:
        raise InvalidInput.field(field, expected=f"one of {', '.join(DataType)}", got=f"'{name[:40]}'") from None


def _requested(call: InferBody) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Names of the outputs asked for, and of those wanted as raw bytes; None for all."""
    by_default = _flag(call.parameters, "binary_data_output", False, "parameters")
    binary: list[str] = []
    for index, output in enumerate(call.outputs):
        field = f"outputs[{index}].parameters"
        _refuse_reserved(output.parameters, OUTPUT_RESERVED, field)
        if _flag(output.parameters, "binary_data", by_default, field):
            binary.append(output.name)
    names = tuple(output.name for output in call.outputs)
    if len(set(names)) != len(names):
        raise InvalidInput.field("outputs", expected="every output once", got="one twice")
    return (names, tuple(binary)) if names else (None, None if by_default else ())


def _flag(parameters: Parameters, name: str, default: bool, field: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput.field(f"{field}.{name}", expected="true or false", got=f"{value!r}")
    return value


def _timeout(parameters: Parameters) -> float | None:
    """The protocol's `timeout`: microseconds, 0 for none."""
    microseconds = parameters.get("timeout")
    if microseconds is None:
        return None
    whole = isinstance(microseconds, int) and not isinstance(microseconds, bool)
    if not whole or not 0 <= int(microseconds) <= LONGEST_TIMEOUT:
        expected = f"microseconds as an integer from 0 to {LONGEST_TIMEOUT}"
        raise InvalidInput.field("parameters.timeout", expected=expected, got=f"{microseconds!r}")
    microseconds = int(microseconds)
    return microseconds / 1e6 if microseconds else None


def _priority(parameters: Parameters) -> int:
    """The protocol's `priority`: 1 is the highest, 0 stands for the default."""
    priority = parameters.get("priority", 0)
    if type(priority) is not int or priority not in (0, *PRIORITIES):
        expected = f"an integer from 0 (default) to {PRIORITIES[-1]}"
        raise InvalidInput.field("parameters.priority", expected=expected, got=f"{priority!r}")
    return priority or DEFAULT_PRIORITY


def _refuse_reserved(parameters: Parameters, reserved: tuple[str, ...], field: str) -> None:
    for name, value in parameters.items():
        if name in reserved and value is not False:
            raise InvalidInput(f"{field}.{name}: expected no parameter that this server does not support, got one")


def _values(spec: OutputSpec, share: Share) -> Any:
    if spec.datatype in (DataType.FP16, DataType.BF16):
        raise NotRepresentable(
            f"output '{spec.name}' is {spec.datatype}, which JSON cannot carry here; binary tensors can"
        )
    return orjson.Fragment(json_answers.flat(share, spec.name))
