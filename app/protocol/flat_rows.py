"""Plain infer requests in JSON: a flat list each, and nothing asked for but outputs in JSON."""

import math
from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from app.contract.tensors import DataType
from app.protocol import infer_header, json_answers, json_tensors
from app.protocol.infer_header import NOT_IN_JSON, Shape
from app.protocol.messages import DTYPES, Inputs, Outputs, Rows, ServedModel
from app.protocol.plain import cut


class FlatTensor(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: str
    shape: Shape
    datatype: str
    data: msgspec.Raw


class FlatBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    inputs: Annotated[list[FlatTensor], msgspec.Meta(min_length=1, max_length=1)]
    id: str | None = None


class FlatInfer(NamedTuple):
    """A body with one input and no parameters."""

    model: str
    version: str | None
    inputs: FlatTensor
    asks: str | None
    """The id that its answer has too."""


class FlatRows:
    """Plain requests with a flat list for a model's only input."""

    __slots__ = ("_decoder", "_row", "_served", "_size", "_spec")

    def __init__(self, served: ServedModel, decoder: msgspec.json.Decoder[Rows]) -> None:
        self._served = served
        self._decoder = decoder
        self._spec = served.signature.inputs[0]
        self._row = list(self._spec.shape[1:])
        self._size = math.prod(self._row)

    def read(self, tensor: FlatTensor) -> list[Rows]:
        if tensor.name != self._spec.name or tensor.datatype != self._spec.datatype or tensor.shape[1:] != self._row:
            raise ValueError("another input than the model's")
        values = self._decoder.decode(tensor.data)
        if tensor.shape[:1] != [len(values) / self._size]:
            raise ValueError("more or less values than the shape has")
        return cut(values, self._size)

    def inputs(self, rows: list[Rows]) -> Inputs:
        return {self._spec.name: np.array(rows, DTYPES[self._spec.datatype]).reshape(len(rows), *self._row)}

    def bodies(self, outputs: Outputs) -> "FlatBodies":
        return FlatBodies(self._served, outputs)


class FlatBodies:
    """The bodies of answers to plain requests that shared a run."""

    __slots__ = ("_columns", "_served", "_shapes")
    media_type = b"application/json"

    def __init__(self, served: ServedModel, outputs: Outputs) -> None:
        """Raises NotRepresentable where an output does not fall into rows, or has one that JSON cannot carry."""
        arrays = [outputs.arrays[spec.name] for spec in served.signature.outputs]
        self._served = served
        self._shapes = tuple([array.shape[1:] for array in arrays])
        self._columns = [
            json_answers.row_texts(array.reshape(len(array), -1), spec.name, b"],[")
            for spec, array in zip(served.signature.outputs, arrays, strict=True)
        ]
        """Of each output, its rows."""

    def of(self, request_id: str | None, start: int, stop: int, queue: float, total: float) -> tuple[bytes, None]:
        said = b"" if request_id is None else b',"id":' + json_answers.encode(request_id)
        form = _form(self._served, stop - start, self._shapes)
        return form % (said, *[b",".join(column[start:stop]) for column in self._columns]), None


def read(model: str, version: str | None, body: bytes) -> FlatInfer:
    """A body that says nothing of deadlines, priorities, outputs or raw tensors. Raises InvalidInput, ValueError or
    RecursionError for any other."""
    flat = _BODY.decode(body)
    infer_header.check_id(flat.id)
    return FlatInfer(model, version, flat.inputs[0], flat.id)


@lru_cache
def plain_rows(served: ServedModel) -> FlatRows | None:
    """None where no parser alone can read and prove a flat list for the model's only input, there are more inputs, or
    JSON cannot carry what the model answers."""
    spec, *others = served.signature.inputs
    outputs = {output.datatype for output in served.signature.outputs}
    fits = not others and spec.datatype not in NOT_IN_JSON and outputs.isdisjoint((*NOT_IN_JSON, DataType.BYTES))
    exact = json_tensors.exact_decoder(spec.datatype, spec.shape)  # of its very shape, which has to be known
    flat = json_tensors.exact_decoder(spec.datatype, (-1,))
    return None if not fits or exact is None or flat is None else FlatRows(served, flat)


_BODY = msgspec.json.Decoder(FlatBody)


@lru_cache(maxsize=1024)
def _form(served: ServedModel, rows: int, shapes: tuple[tuple[int, ...], ...]) -> bytes:
    """An answer with so many rows: %b for the id, and for the values of each output."""
    outputs = [
        {"name": spec.name, "shape": [rows, *shape], "datatype": spec.datatype, "data": []}
        for spec, shape in zip(served.signature.outputs, shapes, strict=True)
    ]
    text = infer_header.write(served, outputs).replace(b"%", b"%%")
    # Within a string no quote stands without a backslash, so that these are found where they are meant.
    return text.replace(b',"outputs":[', b'%b,"outputs":[', 1).replace(b'"data":[]', b'"data":[%b]')
