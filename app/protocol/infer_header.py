"""The JSON of an infer request or its answer, which the Open Inference Protocol calls its inference header: what is
asked for, what is there, and where the tensors are."""

from typing import Annotated, Any

import msgspec

from app.contract.tensors import DataType, OutputSpec
from app.errors import InvalidInput
from app.protocol import json_answers, json_tensors
from app.protocol.messages import DEFAULT_PRIORITY, PRIORITIES, ServedModel

BINARY_TYPE = "application/octet-stream"
"""What has raw tensors behind its JSON."""
NOT_IN_JSON = (DataType.FP16, DataType.BF16)
"""The protocol carries them as raw tensors only."""
ID_LIMIT = 256
# Names that the protocol or its extensions give a meaning. A request that relies on one gets a refusal,
# not an answer that ignored it.
RESERVED = ("sequence_id", "sequence_start", "sequence_end")
INPUT_RESERVED = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
OUTPUT_RESERVED = (*INPUT_RESERVED, "binary_data_size", "classification")
Parameters = dict[str, bool | int | float | str]
Dim = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Shape = Annotated[list[Dim], msgspec.Meta(max_length=32)]
LONGEST_TIMEOUT = 2**63 - 1
"""Microseconds."""
ABSENT = msgspec.Raw()


class InputTensor(msgspec.Struct, frozen=True):
    name: str
    shape: Shape
    datatype: str
    data: msgspec.Raw = ABSENT
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


class InferHeader(msgspec.Struct, frozen=True, eq=False):
    """What the JSON of a body says."""

    inputs: list[InputTensor]
    places: list[slice | None]
    """Where in the bytes behind the JSON each input lies; None for one in JSON."""
    outputs: tuple[str, ...] | None
    """Names of the outputs asked for; None for all."""
    binary_outputs: tuple[str, ...] | None
    """Names of those wanted as raw bytes; None for all."""
    timeout: float | None
    """Seconds; None for no deadline."""
    priority: int
    id: str | None

    @classmethod
    def read(cls, text: bytes, left: int) -> "InferHeader":
        """Reads the JSON that `left` bytes follow. Raises InvalidInput."""
        body = json_tensors.decode(_BODY, text, "body")
        check_id(body.id)
        refuse_reserved(body.parameters, RESERVED, "parameters")
        places = _share_out(left, body.inputs)
        outputs, binary_outputs = _requested(body)
        return cls(
            body.inputs,
            places,
            outputs,
            binary_outputs,
            timeout=_timeout(body.parameters),
            priority=_priority(body.parameters),
            id=body.id,
        )

    @property
    def is_plain(self) -> bool:
        """Whether it is one raw tensor, and nothing is asked for but outputs as raw tensors."""
        only_raw = self.binary_outputs is None or (bool(self.binary_outputs) and self.binary_outputs == self.outputs)
        asks_more = self.timeout is not None or self.priority != DEFAULT_PRIORITY or self.id is not None
        return only_raw and not asks_more and len(self.inputs) == 1 and self.places[0] is not None


def check_id(given: str | None) -> None:
    """Raises InvalidInput."""
    if given is not None and not (len(given) <= ID_LIMIT and given.isprintable()):
        raise InvalidInput.field("id", expected=f"at most {ID_LIMIT} printable characters", got="something else")


def wanted(served: ServedModel, names: tuple[str, ...] | None) -> list[OutputSpec]:
    """The outputs of these names, in their order; all for None."""
    specs = {spec.name: spec for spec in served.signature.outputs}
    return [specs[name] for name in names or specs]


def raw_output(spec: OutputSpec, shape: list[int], size: int) -> dict[str, Any]:
    """What the JSON of an answer says of an output that follows it in so many bytes."""
    return {"name": spec.name, "shape": shape, "datatype": spec.datatype, "parameters": {"binary_data_size": size}}


def write(served: ServedModel, outputs: list[dict[str, Any]], request_id: str | None = None) -> bytes:
    """The JSON of an answer."""
    document: dict[str, Any] = {"model_name": served.name, "model_version": str(served.version)}
    if request_id is not None:
        document["id"] = request_id
    return json_answers.encode(document | {"outputs": outputs})


def refuse_reserved(parameters: Parameters, reserved: tuple[str, ...], field: str) -> None:
    """Raises InvalidInput where a parameter relies on what this server does not do."""
    for name, value in parameters.items():
        if name in reserved and value is not False:
            raise InvalidInput(f"{field}.{name}: expected no parameter that this server does not support, got one")


def _share_out(left: int, tensors: list[InputTensor]) -> list[slice | None]:
    """Where the raw bytes of every input lie, None for one in JSON: in the order of the inputs, with nothing between or
    behind them."""
    places: list[slice | None] = []
    start = 0
    for index, tensor in enumerate(tensors):
        size = tensor.parameters.get("binary_data_size")
        if (size is None) == (tensor.data is ABSENT):
            got = "neither" if size is None else "both"
            expected = "a list or, in its place, parameters.binary_data_size"
            raise InvalidInput.field(f"inputs[{index}].data", expected=expected, got=got)
        if size is None:
            places.append(None)
            continue
        if type(size) is not int or not 0 <= size <= left - start:
            expected = f"an integer from 0 to {left - start}, the bytes left in the body"
            raise InvalidInput.field(f"inputs[{index}].parameters.binary_data_size", expected=expected, got=f"{size!r}")
        places.append(slice(start, start + size))
        start += size
    if start != left:
        raise InvalidInput.field("body", expected=f"{start} bytes of tensors after the JSON", got=f"{left}")
    return places


def _requested(body: InferBody) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Names of the outputs asked for, and of those wanted as raw bytes; None for all."""
    by_default = _flag(body.parameters, "binary_data_output", False, "parameters")
    binary: list[str] = []
    for index, output in enumerate(body.outputs):
        field = f"outputs[{index}].parameters"
        refuse_reserved(output.parameters, OUTPUT_RESERVED, field)
        if _flag(output.parameters, "binary_data", by_default, field):
            binary.append(output.name)
    names = tuple(output.name for output in body.outputs)
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
