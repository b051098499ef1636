"""Protobuf's wire format, read from a mapped file (https://protobuf.dev/programming-guides/encoding/).

What has a length is given as a span of the file and is not copied. Groups (wire types 3 and 4) are in no ONNX file.
"""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


class Malformed(Exception):
    """No protobuf; the message says where."""


class Truncated(Malformed):
    """A field says that it goes on behind the end of the file."""


class Span(NamedTuple):
    """Bytes of the file."""

    start: int
    stop: int


class Field(NamedTuple):
    """A field of a message: its number, its wire type, and its value or where that lies."""

    number: int
    wire: int
    value: int
    """Of a varint."""
    span: Span
    """Of everything else."""


_NOWHERE = Span(0, 0)


def fields(content: mmap.mmap, message: Span) -> Iterator[Field]:
    """The fields of a message, in the file's order. Raises Malformed or Truncated."""
    position, stop = message
    while position < stop:
        tag, position = _varint(content, position, stop)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise Malformed(f"byte {position}: field number {number}")
        if wire == VARINT:
            value, position = _varint(content, position, stop)
            yield Field(number, wire, value, _NOWHERE)
            continue
        if wire == LENGTH:
            length, position = _varint(content, position, stop)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise Malformed(f"byte {position}: wire type {wire}")
        if length > stop - position:
            kind = Truncated if stop == len(content) else Malformed
            raise kind(f"byte {position}: a field of {length} bytes where {stop - position} are left")
        yield Field(number, wire, 0, Span(position, position + length))
        position += length


def varints(content: mmap.mmap, packed: Span) -> Iterator[int]:
    """The numbers of a packed field. Raises Malformed."""
    position, stop = packed
    while position < stop:
        value, position = _varint(content, position, stop)
        yield value


def signed(value: int) -> int:
    """A varint as an int64 has it, in two's complement."""
    return value - (1 << 64) if value >> 63 else value


def _varint(content: mmap.mmap, position: int, stop: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= stop:
            kind = Truncated if stop == len(content) else Malformed
            raise kind(f"byte {position}: a number that does not end")
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise Malformed(f"byte {position}: a number of more than 10 bytes")
