"""The native dialect: what a person types at POST /predict."""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, ClassVar, NamedTuple

import msgspec

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.errors import InvalidInput
from app.protocol import json_answers, json_tensors, media
from app.protocol.messages import (
    DEFAULT_PRIORITY,
    Column,
    Content,
    Encoded,
    InferRequest,
    Inputs,
    Outputs,
    Rows,
    ServedModel,
    Share,
    Timings,
)
from app.protocol.plain import Form
from app.protocol.predictions import predictions


class Parameters(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    timeout_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=3)] = 0
    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None


_NO_PARAMETERS = Parameters()


class PlainBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    inputs: msgspec.Raw
    model: str | None = None
    version: int | str | None = None
    asks: ClassVar[None] = None


class PredictBody(PlainBody, frozen=True):
    parameters: Parameters = _NO_PARAMETERS

    def read_inputs(self, signature: Signature) -> Inputs:
        """`inputs` is a nested list for the only input, or an object of them by name."""
        if self.parameters is not _NO_PARAMETERS:
            check(self.parameters, signature, "parameters")
        raw = memoryview(self.inputs)
        if raw[0] == _BRACE:
            return _read_named(raw, signature)
        if len(signature.inputs) != 1:
            names = ", ".join(spec.name for spec in signature.inputs)
            raise InvalidInput.field("inputs", expected=f"an object with the inputs {names}", got="something else")
        spec = signature.inputs[0]
        return {spec.name: _read(raw, spec, "inputs")}


class NestedRows:
    """Plain requests with a nested list for a model's only input."""

    __slots__ = ("_served", "read")

    def __init__(self, served: ServedModel, read: Callable[[msgspec.Raw], Rows]) -> None:
        self._served = served
        self.read = read

    def inputs(self, rows: Rows) -> Inputs:
        return {self._served.signature.inputs[0].name: rows}

    def bodies(self, outputs: Outputs) -> "RunBodies":
        return RunBodies(self._served, outputs)


class RunBodies:
    """The bodies of answers to plain requests that shared a run."""

    __slots__ = ("_betweens", "_columns", "_form", "_rows")
    media_type = b"application/json"

    def __init__(self, served: ServedModel, outputs: Outputs) -> None:
        """Raises NotRepresentable where an output does not fall into rows, or has one that JSON cannot carry."""
        frame = _frame(served)
        self._betweens = frame.betweens
        compute = _MILLISECONDS % (1e3 * (outputs.computed - outputs.started))
        self._form = frame.form + _TIMING % (_MILLISECONDS, compute, _MILLISECONDS)
        """A body: its rows' texts, its milliseconds in the queue and in all."""
        columns: list[list[bytes]] = []
        for spec, between in zip(served.signature.outputs, self._betweens, strict=False):  # predictions come last
            array = outputs.arrays[spec.name]
            if array.ndim != len(spec.shape):  # `between` is another one
                raise json_answers.not_representable(spec.name)
            columns.append(json_answers.row_texts(array, spec.name, between))
        if frame.labelled is not None:
            made = predictions(frame.labelled, Share(outputs), None)
            columns.append([json_answers.encode(prediction) for prediction in made])
        self._columns = columns
        self._rows = list(zip(*columns, strict=True))
        """Of each row, what goes into the form of its answer."""

    def of(self, _: None, start: int, stop: int, queue: float, total: float) -> tuple[bytes, None]:
        texts = self._rows[start] if stop - start == 1 else self._joined(start, stop)
        return self._form % (*texts, queue, total), None

    def _joined(self, start: int, stop: int) -> list[bytes]:
        """What several rows together have in their place."""
        pairs = zip(self._betweens, self._columns, strict=True)
        return [between.join(column[start:stop]) for between, column in pairs]


class _Frame(NamedTuple):
    """What every answer of a model has in common."""

    outputs: tuple[tuple[str, bytes], ...]
    """Names, and what stands before their values."""
    labelled: OutputSpec | None
    """The output that predictions are made of."""
    form: bytes
    """An answer up to its times: %b for the rows of each output, and of the predictions, without the brackets around
    them."""
    betweens: tuple[bytes, ...]
    """What stands between two rows of each of them."""


_BODY = msgspec.json.Decoder(PredictBody)
_NAMED = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BRACE = ord("{")
_PREDICTIONS = b',"predictions":'
_TIMING = b',"timing_ms":{"queue":%b,"compute":%b,"total":%b}}'
_MILLISECONDS = b"%.3f"
_TIMES = _TIMING % (_MILLISECONDS, _MILLISECONDS, _MILLISECONDS)


def decode(body: Content, timings: Timings, _: int | None = None) -> InferRequest:
    """The request in a /predict body, which is JSON as a whole. Raises InvalidInput."""
    call = json_tensors.decode(_BODY, body, "body")
    version = None if call.version is None else str(call.version)
    request = InferRequest(call.model, version, call.read_inputs, timings)
    if call.parameters is not _NO_PARAMETERS:
        apply(call.parameters, request)
    return request


def check(parameters: Parameters, signature: Signature, field: str) -> None:
    """Raises InvalidInput where they ask for what the model does not have; `field` is where they came."""
    if parameters.top_k is not None and not any(spec.labels for spec in signature.outputs):
        raise InvalidInput.field(f"{field}.top_k", expected="a model whose output has labels", got="one without")


def apply(parameters: Parameters, request: InferRequest) -> None:
    """Has a request ask for what they say."""
    request.timeout = None if parameters.timeout_ms is None else parameters.timeout_ms / 1000
    request.priority = parameters.priority or DEFAULT_PRIORITY
    request.top_k = parameters.top_k


def encode(request: InferRequest, share: Share) -> Encoded:
    """The answer of /predict, put together from texts. Raises NotRepresentable."""
    served, timings = request.served, request.timings
    assert served is not None
    outputs, labelled, *_ = _frame(served)
    text = b""
    for name, key in outputs:
        text += key + json_answers.nested(share, name)
    text += b"}"
    if labelled is not None:
        text += _PREDICTIONS + json_answers.encode(predictions(labelled, share, request.top_k))
    times = _TIMES % (
        1e3 * (timings.started - timings.decoded),
        1e3 * (timings.computed - timings.started),
        1e3 * (timings.computed - timings.received),
    )
    return Encoded(text + times)


@lru_cache
def plain_rows(served: ServedModel) -> NestedRows | None:
    """None where no parser alone can read and prove a nested list for the model's only input, there are more inputs, or
    RunBodies cannot write what the model answers."""
    spec, *others = served.signature.inputs
    if any(output.datatype in ("BYTES", "BF16") for output in served.signature.outputs):
        return None
    exact = json_tensors.exact_decoder(spec.datatype, spec.shape)
    return None if others or spec.medium is not None or exact is None else NestedRows(served, exact.decode)


PLAIN = Form(msgspec.json.Decoder(PlainBody).decode, plain_rows)
"""/predict without parameters."""


@lru_cache
def _frame(served: ServedModel) -> _Frame:
    begin = json_answers.encode({"model": served.name, "version": served.version})[:-1] + b',"outputs":{'
    specs = served.signature.outputs
    keys = [(b"," if index else begin) + json_answers.encode(spec.name) + b":" for index, spec in enumerate(specs)]
    labelled = next((spec for spec in specs if spec.labels), None)
    form, betweens = b"", []
    for key, spec in zip(keys, specs, strict=True):
        opened, between, closed = json_answers.brackets(len(spec.shape))
        form += key.replace(b"%", b"%%") + opened + b"%b" + closed
        betweens.append(between)
    form += b"}"
    if labelled is not None:
        form += _PREDICTIONS + b"[%b]"
        betweens.append(b",")
    names = [spec.name for spec in specs]
    return _Frame(tuple(zip(names, keys, strict=True)), labelled, form, tuple(betweens))


def _read_named(raw: memoryview, signature: Signature) -> Inputs:
    named = json_tensors.decode(_NAMED, raw, "inputs")
    specs = {spec.name: spec for spec in signature.inputs}
    if unknown := named.keys() - specs.keys():
        raise InvalidInput.field("inputs", expected=f"only {', '.join(specs)}", got=min(unknown))
    return {name: _read(memoryview(value), specs[name], f"inputs.{name}") for name, value in named.items()}


def _read(raw: memoryview, spec: InputSpec, field: str) -> Column:
    return (json_tensors.read_rows if spec.medium is None else media.read_rows)(raw, spec, field)
