"""The layout of infer bodies: the JSON that they begin with, and where behind it each tensor lies."""

import math
from typing import NamedTuple

from app.contract.tensors import DataType, Signature
from app.errors import InvalidInput
from app.protocol import binary_tensors, json_tensors
from app.protocol.infer_header import (
    ID_LIMIT,
    INPUT_RESERVED,
    NOT_IN_JSON,
    InferHeader,
    InputTensor,
    refuse_reserved,
)
from app.protocol.messages import Array, Content, Tensors

LONGEST = 2 << 10
"""Bytes of JSON that are remembered."""
CHECKED = (DataType.BYTES, DataType.BOOL)
"""Elements of which not every byte is allowed: they are looked at in each body."""


class Layout:
    """What bodies of one length that begin with the same JSON have in common."""

    __slots__ = ("_rows", "_signature", "_size", "_text", "_views", "header", "is_plain")

    def __init__(self, text: bytes, size: int) -> None:
        """The layout of a body of so many bytes. Raises InvalidInput."""
        self._text = text
        self._size = size
        self.header = InferHeader.read(text, size - len(text))
        self._signature: Signature | None = None
        """That its inputs have been held against."""
        self._views: tuple[_View, ...] | None = None
        """Empty where each body has to be looked at; None until a second body has come."""
        self._rows: int | None = None
        """By that signature; None until somebody asks."""
        self.is_plain = self.recurs and self.header.is_plain and self.header.inputs[0].datatype not in CHECKED
        """Whether its bodies are one raw tensor each, and ask for nothing but raw tensors."""

    @property
    def recurs(self) -> bool:
        """Whether bodies with other values have it too."""
        return len(self._text) <= LONGEST and None not in self.header.places

    def fits(self, body: Content, json_length: int | None) -> bool:
        """Whether a body, of which so many bytes are JSON, has it."""
        return json_length == len(self._text) and len(body) == self._size and body[:json_length] == self._text

    def rows(self, signature: Signature) -> int:
        """How many rows of the signature's only input each body has, where this is plain; 0 where no body has been
        read by it yet, or it has to be looked at."""
        if signature is not self._signature:
            return 0
        if self._rows is None:
            (spec, *others), tensor = signature.inputs, self.header.inputs[0]
            outputs = {output.name for output in signature.outputs}
            is_right = spec.datatype == tensor.datatype and spec.matches(tuple(tensor.shape))
            is_known = not others and signature.batch_axis == 0 and outputs.issuperset(self.header.outputs or ())
            self._rows = tensor.shape[0] if is_right and is_known else 0
        return self._rows

    def raw(self, body: bytes) -> bytes:
        """What follows the JSON of a body that has this layout."""
        return body[len(self._text) :]

    def read(self, body: Content, signature: Signature) -> Tensors:
        """The inputs in a body that has this layout. Raises InvalidInput."""
        if signature is self._signature:
            if self._views is None:
                self._views = self._viewed()
            if self._views:
                return {view.name: view.of(body) for view in self._views}
        read = _read_inputs(self.header, memoryview(body)[len(self._text) :], signature)
        self._signature, self._rows = signature, None
        return read

    def _viewed(self) -> "tuple[_View, ...]":
        """Views of inputs that have been read once; none where not all of them are raw numbers."""
        views: list[_View] = []
        for tensor, place in zip(self.header.inputs, self.header.places, strict=True):
            datatype, shape = DataType(tensor.datatype), tuple(tensor.shape)
            if place is None or datatype in CHECKED:
                return ()
            views.append(_View(tensor.name, datatype, shape, math.prod(shape), len(self._text) + place.start))
        return tuple(views)


class _View(NamedTuple):
    """A tensor of numbers in a body that is known to have it."""

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    elements: int
    start: int

    def of(self, body: Content) -> Array:
        return binary_tensors.view(body, self.datatype, self.elements, self.start).reshape(self.shape)


def _read_inputs(header: InferHeader, rest: memoryview, signature: Signature) -> Tensors:
    known = {spec.name for spec in signature.inputs}
    read: dict[str, Array] = {}
    for index, (tensor, place) in enumerate(zip(header.inputs, header.places, strict=True)):
        field = f"inputs[{index}]"
        if tensor.name not in known or tensor.name in read:
            expected = f"one of {', '.join(sorted(known - read.keys()))}" if known - read.keys() else "no further input"
            raise InvalidInput.field(f"{field}.name", expected=expected, got=f"'{tensor.name[:ID_LIMIT]}'")
        refuse_reserved(tensor.parameters, INPUT_RESERVED, f"{field}.parameters")
        read[tensor.name] = _read_tensor(tensor, None if place is None else rest[place], field)
    return read


def _read_tensor(tensor: InputTensor, raw: memoryview | None, field: str) -> Array:
    datatype, shape = _datatype(tensor.datatype, f"{field}.datatype"), tuple(tensor.shape)
    if raw is not None:
        return binary_tensors.read(raw, datatype, shape, f"{field}.data")
    if datatype in NOT_IN_JSON:
        raise InvalidInput.field(
            f"{field}.datatype", expected="a datatype that the protocol carries in JSON", got=datatype
        )
    return json_tensors.read_shaped(tensor.data, datatype, shape, f"{field}.data")


def _datatype(name: str, field: str) -> DataType:
    try:
        return DataType(name)
    except ValueError:
        raise InvalidInput.field(field, expected=f"one of {', '.join(DataType)}", got=f"'{name[:40]}'") from None
