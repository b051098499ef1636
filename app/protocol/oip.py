"""The Open Inference Protocol v2 (https://github.com/kserve/open-inference-protocol, REST), with its binary tensor
data extension: raw tensors that follow the JSON of a request or an answer."""

import math
from functools import partial
from typing import Any

import orjson

from app.contract.tensors import DataType, OutputSpec, Signature
from app.errors import InvalidInput, NotRepresentable
from app.protocol import binary_tensors, flat_rows, infer_header, json_answers, tensor_rows
from app.protocol.infer_header import BINARY_TYPE, NOT_IN_JSON
from app.protocol.layout import Layout
from app.protocol.messages import DTYPES, Content, Encoded, InferRequest, Share, Tensors, Timings
from app.protocol.plain import Form

LENGTH_HEADER = "inference-header-content-length"


class Decoder:
    """Reads the infer bodies of one head. Clients that send raw tensors of one shape send the same JSON before them
    each time: the last one is not read again."""

    def __init__(self, model: str, version: str | None) -> None:
        self._model = model
        self._version = version
        self._layout: Layout | None = None

    def __call__(self, body: Content, timings: Timings, json_length: int | None = None) -> InferRequest:
        """The request in a body. Raises InvalidInput.

        `json_length` is the header Inference-Header-Content-Length: how many bytes are JSON, raw tensors follow; None
        where it is absent, 0 where the body is no more than the tensor of the only input.
        """
        if json_length == 0:
            return InferRequest(
                model=self._model,
                version=self._version,
                read_inputs=partial(_read_only_input, memoryview(body)),
                timings=timings,
                binary_outputs=None,
            )
        layout = self._layout
        if layout is None or not layout.fits(body, json_length):
            layout = self._read_layout(body, json_length)
        header = layout.header
        return InferRequest(
            model=self._model,
            version=self._version,
            read_inputs=partial(layout.read, body),
            timings=timings,
            timeout=header.timeout,
            priority=header.priority,
            outputs=header.outputs,
            binary_outputs=header.binary_outputs,
            id=header.id,
        )

    def plain(self, json_length: int | None) -> Form | None:
        """How plain ones are read: in JSON, or raw behind the same JSON as the last one. There are none where the body
        is no more than a tensor."""
        if json_length is None:
            return Form(partial(flat_rows.read, self._model, self._version), flat_rows.plain_rows)
        return Form(partial(self._read_plain, json_length), tensor_rows.plain_rows) if json_length else None

    def _read_plain(self, json_length: int, body: bytes) -> tensor_rows.RawInfer:
        layout = self._layout
        if layout is None or not layout.is_plain or not layout.fits(body, json_length):
            raise ValueError("not plain, or not known to be")
        return tensor_rows.RawInfer(self._model, self._version, (layout, body), layout.header.outputs)

    def _read_layout(self, body: Content, json_length: int | None) -> Layout:
        if json_length is not None and not 0 <= json_length <= len(body):
            raise InvalidInput.field(
                LENGTH_HEADER, expected=f"at most {len(body)}, the length of the body", got=f"{json_length}"
            )
        layout = Layout(bytes(body if json_length is None else body[:json_length]), len(body))
        if layout.recurs:
            self._layout = layout
        return layout


def encode(request: InferRequest, share: Share) -> Encoded:
    """The answer of an infer request. Raises NotRepresentable."""
    served = request.served
    assert served is not None
    raws: list[bytes] = []
    outputs: list[dict[str, Any]] = []
    for spec in infer_header.wanted(served, request.outputs):
        name, shape = spec.name, share.shape(spec.name)
        if request.binary_outputs is None or name in request.binary_outputs:
            raws.append(binary_tensors.write(share.array(name), spec.datatype))
            outputs.append(infer_header.raw_output(spec, shape, len(raws[-1])))
        else:
            outputs.append({"name": name, "shape": shape, "datatype": spec.datatype, "data": _values(spec, share)})
    text = infer_header.write(served, outputs, request.id)
    return Encoded(b"".join((text, *raws)), len(text), BINARY_TYPE.encode()) if raws else Encoded(text)


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


def _values(spec: OutputSpec, share: Share) -> Any:
    if spec.datatype in NOT_IN_JSON:
        raise NotRepresentable(
            f"output '{spec.name}' is {spec.datatype}, which JSON cannot carry here; binary tensors can"
        )
    return orjson.Fragment(json_answers.flat(share, spec.name))
