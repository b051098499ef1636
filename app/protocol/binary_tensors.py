"""Raw bytes to arrays, strictly, and arrays to raw bytes.

The layout is that of the Open Inference Protocol's binary tensor data extension, "Binary Tensor Request": row-major and
little-endian without padding, a BOOL a byte of 0 or 1, an element of BYTES its length as a 4-byte unsigned integer and
then its bytes. NaN and infinities are values like any other.
"""

import math
import struct

import numpy as np

from app.contract.tensors import DataType
from app.errors import InvalidInput
from app.protocol import strings
from app.protocol.messages import DTYPES, Array

_LITTLE_ENDIAN = {datatype: dtype.newbyteorder("<") for datatype, dtype in DTYPES.items()}
_LENGTH = struct.Struct("<I")


def read(raw: memoryview, datatype: DataType, shape: tuple[int, ...], field: str) -> Array:
    """An array of exactly `shape`, a read-only view of `raw` where that lies as NumPy needs it.

    Raises InvalidInput, and TooLarge where it has too many strings.
    """
    count = math.prod(shape)  # Python integers: the product of a hostile shape must not wrap
    array = _strings(raw, count, field) if datatype is DataType.BYTES else _numbers(raw, datatype, count, field)
    try:
        return array.reshape(shape)
    except ValueError:  # no elements, but dimensions that no array can have
        raise InvalidInput.field(field, expected="a shape that an array can have", got=f"{list(shape)}") from None


def view(raw: bytes | memoryview, datatype: DataType, count: int, start: int = 0) -> Array:
    """So many numbers from a byte on, where they are known to be; a view, as far as that is possible."""
    array = np.frombuffer(raw, _LITTLE_ENDIAN[datatype], count, start)
    # A tensor begins wherever the one before it ended; kernels may take for granted that elements are aligned.
    return array.astype(DTYPES[datatype], copy=not array.flags.aligned)


def write(array: Array, datatype: DataType) -> bytes:
    """What `read` reads."""
    if datatype is not DataType.BYTES:
        return array.astype(_LITTLE_ENDIAN[datatype], copy=False).tobytes()
    pieces: list[bytes] = []
    for text in array.reshape(-1):
        element = text.encode()
        pieces += (_LENGTH.pack(len(element)), element)
    return b"".join(pieces)


def _numbers(raw: memoryview, datatype: DataType, count: int, field: str) -> Array:
    dtype = _LITTLE_ENDIAN[datatype]
    size = count * dtype.itemsize
    if len(raw) != size:
        expected = f"{size} bytes, {dtype.itemsize} for each {datatype} of the shape"
        raise InvalidInput.field(field, expected=expected, got=f"{len(raw)}")
    if datatype is DataType.BOOL and (largest := np.frombuffer(raw, np.uint8).max(initial=0)) > 1:
        raise InvalidInput.field(field, expected="bytes of 0 and 1", got=f"{largest}")
    return view(raw, datatype, count)


def _strings(raw: memoryview, count: int, field: str) -> Array:
    if count * _LENGTH.size > len(raw):
        expected = f"at least {count * _LENGTH.size} bytes, {_LENGTH.size} for each length"
        raise InvalidInput.field(field, expected=expected, got=f"{len(raw)}")
    strings.check(count, field)
    data = bytes(raw)  # one copy is cheaper than a view for every element
    texts: list[str] = []
    start = 0
    try:
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(data, start)
            start += _LENGTH.size
            if length > len(data) - start:
                expected = f"a length of at most the {len(data) - start} bytes left"
                raise InvalidInput.field(f"{field}[{len(texts)}]", expected=expected, got=f"{length}")
            texts.append(data[start : start + length].decode())
            start += length
    except struct.error:
        got = f"{len(data) - start} bytes"
        raise InvalidInput.field(f"{field}[{len(texts)}]", expected="a length of 4 bytes", got=got) from None
    except UnicodeDecodeError:
        raise InvalidInput.field(f"{field}[{len(texts)}]", expected="UTF-8", got="bytes that are not") from None
    if start != len(raw):
        raise InvalidInput.field(field, expected=f"{start} bytes, the sum of its lengths", got=f"{len(raw)}")
    return np.array(texts, DTYPES[DataType.BYTES])
