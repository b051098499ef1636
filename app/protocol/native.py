"""The native dialect: what a person types at POST /predict."""

from typing import Annotated, Any

import msgspec

from app.contract.tensors import Signature
from app.errors import InvalidInput
from app.protocol import json_tensors
from app.protocol.messages import InferRequest, InferResponse, Tensors, Timings
from app.protocol.predictions import predictions


class Parameters(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    timeout_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None


class PredictBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    inputs: msgspec.Raw
    model: str | None = None
    version: int | str | None = None
    parameters: Parameters = Parameters()


_BODY = msgspec.json.Decoder(PredictBody)
_NAMED = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode(body: bytes, timings: Timings) -> InferRequest:
    """The request in a /predict body. Raises InvalidInput."""
    call = json_tensors.decode(_BODY, body, "body")
    return InferRequest(
        model=call.model,
        version=None if call.version is None else str(call.version),
        read_inputs=lambda signature: _read_inputs(call, signature),
        timings=timings,
        timeout=None if call.parameters.timeout_ms is None else call.parameters.timeout_ms / 1000,
        top_k=call.parameters.top_k,
    )


def encode(request: InferRequest, response: InferResponse) -> bytes:
    """The answer of /predict. Raises NotRepresentable."""
    document: dict[str, Any] = {
        "model": response.model,
        "version": response.version,
        "outputs": {name: json_tensors.writable(array, name) for name, array in response.outputs.items()},
    }
    labelled = predictions(response.signature, response.outputs, request.top_k)
    if labelled is not None:
        document["predictions"] = labelled
    timings = response.timings
    document["timing_ms"] = {
        "queue": round(timings.queue * 1000, 3),
        "compute": round(timings.compute * 1000, 3),
        "total": round(timings.total * 1000, 3),
    }
    return json_tensors.encode(document)


def _read_inputs(call: PredictBody, signature: Signature) -> Tensors:
    """`inputs` is a nested list for the only input, or an object of them by name."""
    if call.parameters.top_k is not None and not any(spec.labels for spec in signature.outputs):
        raise InvalidInput.field("parameters.top_k", expected="a model whose output has labels", got="one without")
    raw = call.inputs
    if bytes(memoryview(raw)[:1]) != b"{":
        if len(signature.inputs) != 1:
            names = ", ".join(spec.name for spec in signature.inputs)
            raise InvalidInput.field("inputs", expected=f"an object with the inputs {names}", got="something else")
        spec = signature.inputs[0]
        return {spec.name: json_tensors.read_nested(raw, spec, "inputs")}
    named = json_tensors.decode(_NAMED, memoryview(raw), "inputs")
    specs = {spec.name: spec for spec in signature.inputs}
    if unknown := named.keys() - specs.keys():
        raise InvalidInput.field("inputs", expected=f"only {', '.join(specs)}", got=", ".join(sorted(unknown)))
    return {name: json_tensors.read_nested(value, specs[name], f"inputs.{name}") for name, value in named.items()}
