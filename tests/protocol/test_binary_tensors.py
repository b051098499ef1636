"""Raw bytes and arrays: golden bytes, round trips of every datatype at any offset, and bytes that are no tensor."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.contract.tensors import DataType
from app.protocol import binary_tensors
from app.protocol.messages import DTYPES, Array
from tests.protocol.bodies import refusal
from tests.protocol.test_round_trip import SHAPES, TEXT, same

DATATYPES = list(DTYPES)
ELEMENTS = {DataType.BYTES: TEXT, DataType.BF16: st.binary(min_size=2, max_size=2)}
"""Where hypothesis does not know them; of the others any bits."""
HUGE = 2**62


def read(raw: bytes, datatype: str, *shape: int) -> Array:
    return binary_tensors.read(memoryview(raw), DataType(datatype), shape, "x")


GOLDEN: dict[str, tuple[list[object], bytes]] = {
    "BOOL": ([True, False], b"\1\0"),
    "UINT8": ([1, 255], b"\x01\xff"),
    "UINT16": ([1, 0xABCD], b"\x01\x00\xcd\xab"),
    "UINT32": ([1, 0x89ABCDEF], b"\x01\x00\x00\x00\xef\xcd\xab\x89"),
    "UINT64": ([1, 2**64 - 2], b"\x01\0\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff"),
    "INT8": ([1, -2], b"\x01\xfe"),
    "INT16": ([1, -2], b"\x01\x00\xfe\xff"),
    "INT32": ([1, -2], b"\x01\x00\x00\x00\xfe\xff\xff\xff"),
    "INT64": ([1, -2], b"\x01\0\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff"),
    "FP16": ([1.0, -2.0], b"\x00\x3c\x00\xc0"),
    "FP32": ([1.0, -2.0], b"\x00\x00\x80\x3f\x00\x00\x00\xc0"),
    "FP64": ([1.0, -2.0], b"\0\0\0\0\0\0\xf0\x3f\0\0\0\0\0\0\0\xc0"),
    "BF16": ([b"\x80\x3f", b"\x00\xc0"], b"\x80\x3f\x00\xc0"),
    "BYTES": (["a🌳", ""], b"\x05\0\0\0a\xf0\x9f\x8c\xb3\0\0\0\0"),
}


def test_every_datatype_has_golden_bytes() -> None:
    assert GOLDEN.keys() == set(DATATYPES)


@pytest.mark.parametrize(
    ("datatype", "values", "raw"), [(name, *golden) for name, golden in GOLDEN.items()], ids=GOLDEN
)
def test_the_bytes_are_these(datatype: str, values: list[object], raw: bytes) -> None:
    array = np.array(values, DTYPES[DataType(datatype)])
    assert binary_tensors.write(array, DataType(datatype)) == raw
    assert same(read(raw, datatype, 2), array)
    assert same(read(raw, datatype, 1, 2, 1), array.reshape(1, 2, 1))


@pytest.mark.parametrize("datatype", DATATYPES, ids=str)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), offset=st.integers(0, 9))
def test_any_array_comes_back_as_itself_from_any_offset(datatype: DataType, data: st.DataObject, offset: int) -> None:
    array = data.draw(hnp.arrays(DTYPES[datatype], SHAPES, elements=ELEMENTS.get(datatype)))
    raw = binary_tensors.write(array, datatype)
    back = binary_tensors.read(memoryview(b"#" * offset + raw)[offset:], datatype, array.shape, "x")
    assert same(back, array)
    assert back.flags.aligned
    assert back.flags.c_contiguous


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0])
@pytest.mark.parametrize("datatype", [DataType.FP16, DataType.FP32, DataType.FP64], ids=str)
def test_what_json_cannot_carry_travels(value: float, datatype: DataType) -> None:
    array = np.array([value], DTYPES[datatype])
    assert same(read(binary_tensors.write(array, datatype), datatype, 1), array)


@pytest.mark.parametrize("order", ["transposed", "every other row", "reversed", "big-endian"])
def test_an_array_that_lies_otherwise_in_memory_is_written_in_order(order: str) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    views = {"transposed": array.T, "every other row": array[::2], "reversed": array[::-1]}
    view = (views | {"big-endian": array.astype(">f4")})[order]
    assert binary_tensors.write(view, DataType.FP32) == struct.pack(f"<{view.size}f", *view.ravel().tolist())


def test_aligned_bytes_are_not_copied_and_cannot_be_written_to() -> None:
    raw = memoryview(np.arange(4, dtype=np.float32).tobytes())
    array = binary_tensors.read(raw, DataType.FP32, (2, 2), "x")
    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))
    assert not array.flags.writeable


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (0, 2**31)], ids=str)
@pytest.mark.parametrize("datatype", DATATYPES, ids=str)
def test_a_tensor_without_elements_is_no_bytes(datatype: DataType, shape: tuple[int, ...]) -> None:
    array = read(b"", datatype, *shape)
    assert (array.shape, array.dtype) == (shape, DTYPES[datatype])
    assert binary_tensors.write(array, datatype) == b""


def text(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


REFUSED: dict[str, tuple[bytes, str, tuple[int, ...], str]] = {
    "a byte short": (b"\0" * 11, "FP32", (3,), "x: expected 12 bytes, 4 for each FP32 of the shape, got 11"),
    "a byte more": (b"\0" * 13, "FP32", (3,), "x: expected 12 bytes"),
    "nothing": (b"", "FP32", (3,), "x: expected 12 bytes"),
    "something for no rows": (b"\0", "UINT8", (0, 3), "x: expected 0 bytes"),
    "a huge batch": (b"\0" * 12, "FP32", (10**9, 3), "x: expected 12000000000 bytes"),
    "2^62 x 4, which wraps to 0": (b"", "UINT8", (HUGE, 4), f"x: expected {2**64} bytes"),
    "2^62 x 4 of strings": (b"", "BYTES", (HUGE, 4), f"x: expected at least {2**66} bytes"),
    "32 huge axes": (b"", "FP64", (2**63 - 1,) * 32, "x: expected"),
    "32 huge axes of strings": (b"", "BYTES", (2**63 - 1,) * 32, "x: expected"),
    "no rows of 2^62 x 64": (b"", "FP32", (0, HUGE, 64), "x: expected a shape that an array can have"),
    "no rows of 2^62 x 64 strings": (b"", "BYTES", (0, HUGE, 64), "x: expected a shape that an array can have"),
    "2 for a bool": (b"\0\1\2", "BOOL", (3,), "x: expected bytes of 0 and 1, got 2"),
    "255 for a bool": (b"\xff", "BOOL", (), "x: expected bytes of 0 and 1, got 255"),
    "BF16": (b"\0\0\0", "BF16", (1,), "x: expected 2 bytes, 2 for each BF16 of the shape, got 3"),
    "a string too few": (text(b"a"), "BYTES", (2,), "x: expected at least 8 bytes"),
    "a string too few, but bytes enough": (text(b"abcdef"), "BYTES", (2,), "x[1]: expected a length of 4 bytes, got 0"),
    "a string too many": (text(b"a", b"b"), "BYTES", (1,), "x: expected 5 bytes, the sum of its lengths, got 10"),
    "half a length": (text(b"abcdef") + b"\0\0", "BYTES", (2,), "x[1]: expected a length of 4 bytes, got 2 bytes"),
    "a length beyond the end": (
        struct.pack("<I", 2) + b"a",
        "BYTES",
        (1,),
        "x[0]: expected a length of at most the 1 bytes left, got 2",
    ),
    "the longest length": (
        text(b"a") + b"\xff" * 4,
        "BYTES",
        (2,),
        f"x[1]: expected a length of at most the 0 bytes left, got {2**32 - 1}",
    ),
    "no UTF-8": (text(b"a", b"\xff"), "BYTES", (2,), "x[1]: expected UTF-8, got bytes that are not"),
    "half a character": (text(b"\xf0\x9f", b"\x8c\xb3"), "BYTES", (2,), "x[0]: expected UTF-8"),
    "a surrogate": (text(b"\xed\xa0\x80"), "BYTES", (1,), "x[0]: expected UTF-8"),
}


@pytest.mark.parametrize(("raw", "datatype", "shape", "message"), REFUSED.values(), ids=REFUSED)
def test_bytes_that_are_no_such_tensor_are_refused(
    raw: bytes, datatype: str, shape: tuple[int, ...], message: str
) -> None:
    assert refusal(lambda: read(raw, datatype, *shape)).startswith(message)
