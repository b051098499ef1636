"""The native dialect: what a person types at POST /predict."""

from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec

from app.contract.tensors import Signature
from app.errors import InvalidInput
from app.protocol import json_answers, json_tensors
from app.protocol.messages import DEFAULT_PRIORITY, Encoded, InferRequest, Inputs, ServedModel, Share, Timings
from app.protocol.predictions import predictions


class Parameters(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    timeout_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=3)] = 0
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None


class PredictBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    inputs: msgspec.Raw
    model: str | None = None
    version: int | str | None = None
    parameters: Parameters = Parameters()

    def read_inputs(self, signature: Signature) -> Inputs:
        """`inputs` is a nested list for the only input, or an object of them by name."""
        if self.parameters.top_k is not None and not any(spec.labels for spec in signature.outputs):
            raise InvalidInput.field("parameters.top_k", expected="a model whose output has labels", got="one without")
        raw = memoryview(self.inputs)
        if raw[0] == _BRACE:
            return _read_named(raw, signature)
        if len(signature.inputs) != 1:
            names = ", ".join(spec.name for spec in signature.inputs)
            raise InvalidInput.field("inputs", expected=f"an object with the inputs {names}", got="something else")
        spec = signature.inputs[0]
        return {spec.name: json_tensors.read_rows(raw, spec, "inputs")}


class _Frame(NamedTuple):
    """What every answer of a model has in common."""

    begin: bytes
    outputs: tuple[tuple[str, bytes], ...]
    """Names, and what stands before their values."""


_BODY = msgspec.json.Decoder(PredictBody)
_NAMED = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BRACE = ord("{")


def decode(body: bytes, timings: Timings) -> InferRequest:
    """The request in a /predict body. Raises InvalidInput."""
    call = json_tensors.decode(_BODY, body, "body")
    parameters = call.parameters
    return InferRequest(
        call.model,
        None if call.version is None else str(call.version),
        call.read_inputs,
        timings,
        None if parameters.timeout_ms is None else parameters.timeout_ms / 1000,
        parameters.priority or DEFAULT_PRIORITY,
        top_k=parameters.top_k,
    )


def encode(request: InferRequest, share: Share) -> Encoded:
    """The answer of /predict, put together from texts. Raises NotRepresentable."""
    served, timings = request.served, request.timings
    assert served is not None
    frame = _frame(served)
    outputs = [key + json_answers.nested(share, name) for name, key in frame.outputs]
    labelled = predictions(served.signature, share, request.top_k)
    body = b'%b%b}%b,"timing_ms":{"queue":%.3f,"compute":%.3f,"total":%.3f}}' % (
        frame.begin,
        outputs[0] if len(outputs) == 1 else b",".join(outputs),
        b"" if labelled is None else b',"predictions":' + json_answers.encode(labelled),
        1e3 * (timings.started - timings.decoded),
        1e3 * (timings.computed - timings.started),
        1e3 * (timings.computed - timings.received),
    )
    return Encoded(body)


@lru_cache
def _frame(served: ServedModel) -> _Frame:
    begin = json_answers.encode({"model": served.name, "version": served.version})[:-1] + b',"outputs":{'
    names = [spec.name for spec in served.signature.outputs]
    return _Frame(begin, tuple((name, json_answers.encode(name) + b":") for name in names))


def _read_named(raw: memoryview, signature: Signature) -> Inputs:
    named = json_tensors.decode(_NAMED, raw, "inputs")
    specs = {spec.name: spec for spec in signature.inputs}
    if unknown := named.keys() - specs.keys():
        raise InvalidInput.field("inputs", expected=f"only {', '.join(specs)}", got=", ".join(sorted(unknown)))
    return {
        name: json_tensors.read_rows(memoryview(value), specs[name], f"inputs.{name}") for name, value in named.items()
    }
