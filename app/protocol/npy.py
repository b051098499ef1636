"""NumPy's file format, .npy (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), versions 1.0 to
3.0: one array of numbers, with its dtype and its shape in front. NaN and infinities are values like any other.

NumPy's own reader evaluates the header as a Python literal and believes its shape before it looks at the data. Here a
header is held against the one form that NumPy writes, and the data against the shape before anything is made of it.
"""

import io
import re
import struct

import numpy as np

from app.contract.tensors import DataType, OutputSpec, Signature, TensorSpec
from app.errors import InvalidInput, NotRepresentable
from app.protocol import binary_tensors
from app.protocol.messages import DTYPES, Array, Encoded, InferRequest, Share

MEDIA_TYPE = "application/x-npy"
LONGEST_HEADER = 10_000
"""Bytes, as in NumPy's own reader; what NumPy writes for one array has 118."""

_MAGIC = b"\x93NUMPY"
_LENGTHS = {b"\x01\x00": struct.Struct("<H"), b"\x02\x00": struct.Struct("<I"), b"\x03\x00": struct.Struct("<I")}
_DESCR = rb"""'descr':\s*'(?P<descr>[^'\\]{1,40})'"""
_ORDER = rb"'fortran_order':\s*(?P<fortran>True|False)"
_SHAPE = rb"'shape':\s*\((?P<shape>(?:\d{1,19},\s*){0,32}(?:\d{1,19})?)\)"
_HEADER = re.compile(rb"\s*\{\s*%b\s*,\s*%b\s*,\s*%b(?:\s*,)?\s*\}\s*" % (_DESCR, _ORDER, _SHAPE))
_EXPECTED = "the header of an array of numbers: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"


def _names(datatype: DataType) -> tuple[str, ...]:
    """How a header names the dtype: NumPy's own way first. Libraries that know BF16 give it a byte order."""
    name = DTYPES[datatype].newbyteorder("<").str
    return (name, "<V2") if datatype is DataType.BF16 else (name,)


_DTYPES: dict[DataType, tuple[str, ...]] = {
    datatype: _names(datatype) for datatype in DataType if datatype is not DataType.BYTES
}


def read(raw: memoryview, spec: TensorSpec, field: str) -> Array:
    """The array of a whole file: a read-only view of `raw` where that lies as NumPy needs it, never larger than that.

    Raises InvalidInput, also where the dtype is another one than the spec's.
    """
    header, data = _divide(raw, field)
    found = _HEADER.fullmatch(header)
    if found is None:
        raise InvalidInput.field(f"{field}.header", expected=_EXPECTED, got="something else")
    if spec.datatype is DataType.BYTES:
        expected = f"JSON for input '{spec.name}', which is BYTES: .npy has no strings without pickle"
        raise InvalidInput.field(field, expected=expected, got=MEDIA_TYPE)
    names, got = _DTYPES[spec.datatype], found["descr"].decode("latin-1")
    if got not in names:
        expected = f"'{names[0]}', exactly the {spec.datatype} of input '{spec.name}'"
        raise InvalidInput.field(f"{field}.header.descr", expected=expected, got=f"'{got}'")
    shape = tuple(int(dim) for dim in re.findall(rb"\d+", found["shape"]))
    if found["fortran"] == b"False":
        return binary_tensors.read(data, spec.datatype, shape, f"{field}.data")
    return np.asarray(binary_tensors.read(data, spec.datatype, shape[::-1], f"{field}.data").T, order="C")


def write(array: Array, datatype: DataType) -> bytes:
    """What `read` reads, in version 1.0."""
    header = io.BytesIO()
    described = {"descr": _DTYPES[datatype][0], "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue() + binary_tensors.write(array, datatype)


def encode(request: InferRequest, share: Share, *, output: str | None) -> Encoded:
    """The answer as one array: the output of this name, or the model's only one."""
    served = request.served
    assert served is not None
    spec = chosen(served.signature, output)
    return Encoded(write(share.array(spec.name), spec.datatype), media_type=MEDIA_TYPE.encode())


def chosen(signature: Signature, output: str | None) -> OutputSpec:
    """The output that is the answer. Raises InvalidInput where no single one can be."""
    names = ", ".join(spec.name for spec in signature.outputs)
    if output is None and len(signature.outputs) > 1:
        raise InvalidInput.field("query.output", expected=f"one of {names}, as .npy holds one", got="none")
    for spec in signature.outputs:
        if output in (None, spec.name):
            if spec.datatype is DataType.BYTES:
                raise NotRepresentable(
                    f"output '{spec.name}' is BYTES, which .npy cannot carry without pickle; JSON can"
                )
            return spec
    raise InvalidInput.field("query.output", expected=f"one of {names}", got=f"'{output}'")


def _divide(raw: memoryview, field: str) -> tuple[bytes, memoryview]:
    """The header of a file, and its data."""
    length = _LENGTHS.get(bytes(raw[6:8]))
    if raw[:6] != _MAGIC or length is None:
        got = "something else" if len(raw) >= 8 else f"{len(raw)} bytes"
        raise InvalidInput.field(field, expected=".npy of version 1.0, 2.0 or 3.0", got=got)
    start = 8 + length.size
    if len(raw) < start:
        raise InvalidInput.field(f"{field}.header", expected=f"its length in {length.size} bytes", got="a part of it")
    (size,) = length.unpack(raw[8:start])
    if size > min(LONGEST_HEADER, len(raw) - start):
        expected = f"at most {LONGEST_HEADER} bytes, and no more than there are"
        raise InvalidInput.field(
            f"{field}.header", expected=expected, got=f"{size} announced, {len(raw) - start} there"
        )
    return bytes(raw[start : start + size]), raw[start + size :]
