"""Tensors as an ONNX file holds them: what their bytes are, and whether those fit their shapes.

Types and the fields that hold each of them are those of TensorProto in onnx.proto3.
"""

import math
import mmap
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import LoadFailed, clip
from app.runtime import wire

# TensorProto.DataType -> bits of an element
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
_BITS |= {17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2, 27: 6, 28: 6}
_STRING = 8
# ... -> the field of its elements where they are not raw; int32_data for all others
_FIELDS = {1: "float_data", 14: "float_data", 8: "string_data", 7: "int64_data", 11: "double_data"}
_FIELDS |= {15: "double_data", 12: "uint64_data", 13: "uint64_data"}
_COMPLEX = (14, 15)
_STRING_BYTES = 16
_KEYS = {"location", "offset", "length", "checksum"}
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class External:
    """A tensor whose bytes lie in another file."""

    tensor: str
    """What a message calls it."""
    location: str
    """The file, relative to the graph's folder; as it was found, not checked."""
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a TensorProto says of itself."""

    label: str
    dims: Sequence[int]
    data_type: int
    counts: Mapping[str, int]
    """Numbers or strings in each typed field."""
    raw: int | None
    """Bytes of raw_data."""
    is_external: bool
    entries: Mapping[str, str]
    """external_data."""

    def bytes(self) -> int:
        """What its elements take, a string by a guess. Raises LoadFailed where the type or the shape is none."""
        if min(self.dims, default=0) < 0:
            raise LoadFailed(f"{self.label}: expected dimensions of at least 0, got {_shape(self.dims)}")
        elements = math.prod(self.dims)
        if self.data_type == _STRING:
            return elements * _STRING_BYTES
        if self.data_type not in _BITS:
            raise LoadFailed(f"{self.label}: expected a data type of ONNX, got number {self.data_type}")
        return -(-elements * _BITS[self.data_type] // 8)

    def check(self) -> External | None:
        """Where its bytes lie, if not inside. Raises LoadFailed where they disagree with its type and shape."""
        needed = self.bytes()
        if self.is_external:
            return self._external(needed)
        found = sum(self.counts.values())
        if self.raw is not None:
            if self.data_type == _STRING or found:
                raise LoadFailed(f"{self.label}: expected its elements in one field, got raw_data beside it")
            self._compare(needed, self.raw, "bytes")
        else:
            field = _FIELDS.get(self.data_type, "int32_data")
            if found != self.counts.get(field, 0):
                raise LoadFailed(f"{self.label}: expected its elements in {field}, got {', '.join(self.counts)}")
            self._compare(self._numbers(), found, "elements")
        return None

    def _numbers(self) -> int:
        """How many the typed field holds: elements of 2 and 4 bits share one, a complex one takes two."""
        elements, bits = math.prod(self.dims), _BITS.get(self.data_type, 8)
        if self.data_type in _COMPLEX:
            return elements * 2
        return -(-elements * bits // 8) if bits in (2, 4) else elements

    def _compare(self, expected: int, got: int, unit: str) -> None:
        if expected != got:
            shape = _shape(self.dims)
            raise LoadFailed(f"{self.label}: expected {expected} {unit}, as shape {shape} has, got {got}")

    def _external(self, needed: int) -> External:
        if self.data_type == _STRING or self.raw or sum(self.counts.values()):
            raise LoadFailed(f"{self.label}: expected numbers in another file and none inside, got both or strings")
        if unknown := self.entries.keys() - _KEYS:
            raise LoadFailed(
                f"{self.label}: external_data: expected {', '.join(sorted(_KEYS))}, got {clip(min(unknown))}"
            )
        offset, length = (self._number(key, default) for key, default in (("offset", 0), ("length", needed)))
        if length != needed:
            self._compare(needed, length, "bytes of external data")
        location = self.entries.get("location", "")
        return External(self.label, location, offset, needed)

    def _number(self, key: str, default: int) -> int:
        text = self.entries.get(key)
        if text is None:
            return default
        if _NUMBER.fullmatch(text) is None:
            raise LoadFailed(
                f"{self.label}: external_data.{key}: expected a number of at least 0, got '{clip(text, 40)}'"
            )
        return int(text)


def count(content: mmap.mmap, name: str, found: wire.Field) -> int:
    """Elements in one occurrence of a typed field."""
    if found.wire != wire.LENGTH or name == "string_data":
        return 1
    start, stop = found.span
    if name in ("float_data", "double_data"):
        size = 4 if name == "float_data" else 8
        if (stop - start) % size:
            raise wire.Malformed(f"byte {start}: {name} of {stop - start} bytes")
        return (stop - start) // size
    # The last byte of a varint is the one without its highest bit.
    return int(np.count_nonzero(np.frombuffer(content, np.uint8, stop - start, start) < 0x80))


def _shape(dims: Sequence[int]) -> str:
    return clip(str(list(dims)), 100)
