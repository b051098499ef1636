"""Nested JSON lists to arrays, strictly.

msgspec decodes into declared types, so that a bool, a null or a string where a number belongs is refused with the
index of the culprit (docs/decisions/0002-json.md).
"""

import functools
import re
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np

from app.contract.tensors import DataType, TensorSpec
from app.errors import InvalidInput, TooLarge, clip
from app.protocol import strings
from app.protocol.messages import Array, Column, Rows

T = TypeVar("T")

_COMMA, _BRACKET = ord(","), ord("[")
_FLOATS = (DataType.FP16, DataType.FP32, DataType.FP64)
SMALL = 4096
"""Bytes of JSON up to which an input stays a list until its batch is formed."""
MOST_ELEMENTS = 1 << 21
MOST_LISTS = 1 << 18
"""Of one tensor. They are read on the event loop: so many take some 0.3 s, in which nobody else is served. A body that
is compressed to some kilobytes would hold millions."""


def decode(decoder: msgspec.json.Decoder[T], body: bytes | memoryview, root: str) -> T:
    """What the decoder reads from JSON. Raises InvalidInput that names the field below `root`."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(_located(str(error), root)) from None
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{root}: expected JSON, got something else: {error}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{root}: expected UTF-8, got bytes that are not") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise InvalidInput(f"{root}: expected numbers of a sane length, got one of thousands of digits") from None
    except RecursionError:
        raise InvalidInput(f"{root}: expected JSON of a sane depth, got too many nested levels") from None


def read_rows(raw: memoryview, spec: TensorSpec, field: str) -> Column:
    """A nested list of the spec's rank, rows first. Raises what `read_nested` raises.

    A small one stays a list, whose shape and range the parser has proven: one array is made of a whole batch.
    """
    exact = exact_decoder(spec.datatype, spec.shape)
    if exact is None or len(raw) > SMALL:
        return read_nested(raw, spec, field)
    try:
        return exact.decode(raw)
    except (ValueError, RecursionError):  # what is wrong, the thorough way says
        return read_nested(raw, spec, field)


def read_nested(raw: memoryview, spec: TensorSpec, field: str) -> Array:
    """A nested list of the spec's rank, rows first. Raises InvalidInput, and TooLarge where it has too many elements or
    lists."""
    _check_size(raw, spec.datatype, field)
    rank = len(spec.shape)
    values = decode(_decoder(rank, _element(spec.datatype, field)), raw, field)
    array = _array(values, spec.datatype, field)
    if array.ndim == rank:
        return array
    if array.size:  # an array of objects holds the lists that do not fit
        raise _ragged(field)
    # Empty lists have lost the dimensions inside them.
    return array.reshape(array.shape + tuple(max(dim, 0) for dim in spec.shape[array.ndim :]))


def read_shaped(raw: msgspec.Raw, datatype: DataType, shape: tuple[int, ...], field: str) -> Array:
    """A list, flat or nested, row-major, that holds exactly `shape`. Raises InvalidInput, and TooLarge where it has too
    many elements or lists."""
    element = _element(datatype, field)
    view = memoryview(raw)
    _check_size(view, datatype, field)
    nested = re.match(rb"\s*\[\s*\[", view) is not None
    array = _array(decode(_decoder(len(shape) if nested else 1, element), view, field), datatype, field)
    count = 1
    for dim in shape:  # Python integers: the product of a hostile shape must not wrap
        count *= dim
    if array.size != count:
        raise InvalidInput.field(field, expected=f"{count} elements for shape {list(shape)}", got=f"{array.size}")
    # Empty lists have lost the dimensions inside them.
    whole = array.shape == shape if array.size else array.shape == shape[: array.ndim]
    if nested and not whole:
        raise InvalidInput.field(field, expected=f"shape {list(shape)}", got=f"{list(array.shape)}")
    try:
        return array.reshape(shape)
    except ValueError:  # no elements, but dimensions that no array can have
        raise InvalidInput.field(field, expected="a shape that an array can have", got=f"{list(shape)}") from None


@functools.cache
def exact_decoder(datatype: DataType, shape: tuple[int, ...]) -> msgspec.json.Decoder[Rows] | None:
    """A parser of lists of this very shape, with any number of rows; None where it cannot prove as much."""
    element = _BOUNDED.get(datatype)
    if element is None or shape[:1] != (-1,) or min(shape[1:], default=1) < 1:
        return None
    nested: Any = element
    for dim in reversed(shape[1:]):
        nested = Annotated[list[nested], msgspec.Meta(min_length=dim, max_length=dim)]
    return msgspec.json.Decoder(list[nested])


def _integer(bits: int, signed: bool) -> Any:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return Annotated[int, msgspec.Meta(ge=low, le=high)]


def _float(limit: float) -> Any:
    """`limit` is halfway between the largest value and the one that would follow it: what rounds to infinity."""
    return Annotated[float, msgspec.Meta(gt=-limit, lt=limit)]


_BOUNDED: dict[DataType, Any] = {
    DataType.BOOL: bool,
    DataType.UINT8: _integer(8, signed=False),
    DataType.UINT16: _integer(16, signed=False),
    DataType.UINT32: _integer(32, signed=False),
    DataType.INT8: _integer(8, signed=True),
    DataType.INT16: _integer(16, signed=True),
    DataType.INT32: _integer(32, signed=True),
    DataType.INT64: _integer(64, signed=True),
    DataType.FP16: _float(65520.0),
    DataType.FP32: _float(float(2**128 - 2**103)),
    DataType.FP64: float,
}
"""Elements as the parser can hold them to their range; of UINT64 it cannot, and BYTES are no numbers."""


@functools.cache
def _decoder(rank: int, element: type) -> msgspec.json.Decoder[Any]:
    nested: Any = element
    for _ in range(rank):
        nested = list[nested]
    return msgspec.json.Decoder(nested)


def _element(datatype: DataType, field: str) -> type:
    if datatype in _FLOATS:
        return float
    if datatype is DataType.BOOL:
        return bool
    if datatype is DataType.BYTES:
        return str
    if datatype is DataType.BF16:
        raise InvalidInput.field(field, expected="a datatype that JSON can carry", got="BF16")
    return int


def _array(values: Any, datatype: DataType, field: str) -> Array:
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=datatype.numpy)
    except OverflowError:
        raise InvalidInput.field(field, expected=f"values that fit {datatype}", got="one out of range") from None
    except ValueError:
        raise _ragged(field) from None
    if datatype is DataType.BYTES:
        strings.check(array.size, field)
    if datatype in _FLOATS and not np.isfinite(array).all():
        raise InvalidInput.field(field, expected=f"values that fit {datatype}", got="one out of range")
    return array


def _check_size(raw: memoryview, datatype: DataType, field: str) -> None:
    """Raises TooLarge. Text may be full of commas, and strings are counted once they are read."""
    if len(raw) <= MOST_LISTS or datatype is DataType.BYTES:
        return
    text = np.frombuffer(raw, np.uint8)
    elements, lists = np.count_nonzero(text == _COMMA) + 1, np.count_nonzero(text == _BRACKET)
    if elements > MOST_ELEMENTS or lists > MOST_LISTS:
        expected = f"at most {MOST_ELEMENTS} elements in {MOST_LISTS} lists"
        raise TooLarge(f"{clip(field)}: expected {expected}, got {elements} in {lists}; raw tensors take more")


def _ragged(field: str) -> InvalidInput:
    return InvalidInput.field(field, expected="lists of equal length", got="a ragged nesting")


_PLACE = re.compile(r"(?P<text>.*?)(?: - at `\$?(?P<path>[^`]*)`)?", re.DOTALL)
_MEMBER = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<name>[^`]*)`")
_MEMBER_FAULTS = {
    "missing required": "expected a value, got none",
    "contains unknown": "expected no such member, got one",
}


def _located(message: str, root: str) -> str:
    """msgspec's "Expected `float`, got `bool` - at `$[0][1]`" as "inputs[0][1]: expected float, got bool"."""
    place = _PLACE.fullmatch(message)
    assert place is not None
    field, text = f"{root}{place['path'] or ''}", place["text"]
    if member := _MEMBER.fullmatch(text):
        field, text = f"{field}.{member['name']}", _MEMBER_FAULTS[member["fault"]]
    text = text.replace("`", "")
    return f"{clip(field.removeprefix('body.'))}: {clip(text[:1].lower() + text[1:], 400)}"
