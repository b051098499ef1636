"""Files of NumPy's format: what NumPy writes is read, what is written NumPy reads, and anything else is refused for
less memory than it takes itself."""

import io
import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.tensors import DataType, InputSpec, OutputSpec, Signature
from app.errors import InvalidInput, NotRepresentable
from app.protocol import npy
from app.protocol.messages import DTYPES, Array
from tests.protocol.bodies import refusal
from tests.protocol.test_round_trip import arrays, same

NUMBERS = [datatype for datatype in DataType if datatype is not DataType.BYTES]
VERSIONS = [(1, 0), (2, 0), (3, 0)]
EXAMPLE = np.array([[1.5, -2.0, np.nan], [np.inf, 0.0, -0.0]], np.float32)
DESCR, ORDER, SHAPE = "'descr': '<f4'", "'fortran_order': False", "'shape': (2, 3)"


def spec(datatype: str = "FP32") -> InputSpec:
    return InputSpec(name="x", datatype=datatype, shape=(-1, 3))


def saved(array: Array, version: tuple[int, int] = (1, 0)) -> bytes:
    """As NumPy writes it."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=False)
    return file.getvalue()


def read(raw: bytes, datatype: str = "FP32") -> Array:
    return npy.read(memoryview(raw), spec(datatype), "body")


def made(header: str = f"{{{DESCR}, {ORDER}, {SHAPE}, }}", data: bytes = EXAMPLE.tobytes()) -> bytes:
    """A file with this header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header.encode())) + header.encode() + data


@pytest.mark.parametrize("datatype", NUMBERS, ids=str)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_numpy_writes_is_read(datatype: DataType, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    version = data.draw(st.sampled_from(VERSIONS))
    assert same(read(saved(array, version), datatype), array)
    assert same(read(saved(np.asarray(array, order="F"), version), datatype), array)


@pytest.mark.parametrize("datatype", NUMBERS, ids=str)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_is_written_numpy_reads_and_so_does_read(datatype: DataType, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    raw = npy.write(array, datatype)
    assert same(np.load(io.BytesIO(raw), allow_pickle=False), array)
    assert same(read(raw, datatype), array)
    assert raw == saved(np.asarray(array, order="C"))


@pytest.mark.parametrize(
    "array", [EXAMPLE[:, ::2], EXAMPLE.T, EXAMPLE[::-1]], ids=["columns", "transposed", "reversed"]
)
def test_an_array_that_lies_otherwise_in_memory_is_written_in_order(array: Array) -> None:
    assert same(np.load(io.BytesIO(npy.write(array, DataType.FP32))), array)


def test_nan_and_infinities_are_values_like_any_other() -> None:
    assert same(read(saved(EXAMPLE)), EXAMPLE)


def test_bf16_may_have_a_byte_order() -> None:
    array = np.arange(6, dtype=np.uint16).view(DTYPES[DataType.BF16]).reshape(2, 3)
    raw = saved(array)
    assert raw.count(b"'|V2'") == 1
    assert same(read(raw.replace(b"'|V2'", b"'<V2'"), "BF16"), array)


def test_an_array_in_order_is_not_copied() -> None:
    raw = saved(EXAMPLE)
    assert np.shares_memory(read(raw), np.frombuffer(raw, np.uint8))


HEADERS = {
    "no space": f"{{{DESCR},{ORDER},{SHAPE}}}",
    "much space": f"  {{  {DESCR} ,\n {ORDER}\t,   {SHAPE} , }}    \n",
    "none in the shape": f"{{{DESCR}, {ORDER}, 'shape': (2,3)}}",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_space_does_not_matter(header: str) -> None:
    assert same(read(made(header)), EXAMPLE)


REFUSED = {
    "nothing": (b"", "body: expected .npy of version 1.0, 2.0 or 3.0, got 0 bytes"),
    "JSON": (b'{"inputs": [[1]]}', "body: expected .npy of version 1.0, 2.0 or 3.0, got something else"),
    "an archive": (b"PK\x03\x04" + bytes(100), "body: expected .npy"),
    "a version of the future": (saved(EXAMPLE).replace(b"NUMPY\x01\x00", b"NUMPY\x04\x00"), "body: expected .npy"),
    "no length": (b"\x93NUMPY\x02\x00\x76", "body.header: expected its length in 4 bytes"),
    "4 GB of header": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "body.header: expected at most 10000 bytes"),
    "a header behind the end": (made()[:20], "body.header: expected at most"),
    "a header over the limit": (made(" " * 10_001), "body.header: expected at most"),
    "no header": (made(""), "body.header: expected the header of"),
    "deep": (made("{" * 9000), "body.header: expected the header of"),
    "deep signs": (made("-" * 9000), "body.header: expected the header of"),
    "code": (made("__import__('os').system('true')"), "body.header: expected the header of"),
    "a member more": (made(f"{{{DESCR}, {ORDER}, {SHAPE}, 'x': 1}}"), "body.header"),
    "a member twice": (made(f"{{{DESCR}, {DESCR}, {ORDER}, {SHAPE}}}"), "body.header"),
    "a member less": (made(f"{{{DESCR}, {SHAPE}}}"), "body.header"),
    "structured": (made(f"{{'descr': [('a', '<f4'), ('b', '<i8')], {ORDER}, {SHAPE}}}"), "body.header"),
    "nested dtype": (made(f"{{'descr': ('<f4', (1000000, 1000000)), {ORDER}, {SHAPE}}}"), "body.header"),
    "objects": (made(f"{{'descr': '|O', {ORDER}, {SHAPE}}}"), "body.header.descr: expected '<f4'"),
    "big endian": (
        saved(EXAMPLE.astype(">f4")),
        "body.header.descr: expected '<f4', exactly the FP32 of input 'x', got",
    ),
    "another dtype": (saved(EXAMPLE.astype("<f8")), "body.header.descr: expected '<f4'"),
    "strings": (saved(np.array(["a"])), "body.header.descr: expected '<f4'"),
    "4 GB elements": (made(f"{{'descr': '|S4294967295', {ORDER}, {SHAPE}}}"), "body.header.descr: expected '<f4'"),
    "a negative dimension": (made(f"{{{DESCR}, {ORDER}, 'shape': (-2, 3)}}"), "body.header"),
    "a shape that is a number": (made(f"{{{DESCR}, {ORDER}, 'shape': 6}}"), "body.header"),
    "33 dimensions": (made(f"{{{DESCR}, {ORDER}, 'shape': ({'1, ' * 34})}}"), "body.header"),
    "no elements, impossible": (
        made(f"{{{DESCR}, {ORDER}, 'shape': (0, {2**62}, {2**62})}}", b""),
        "body.data: expected a shape that an array can have",
    ),
    "huge": (made(f"{{{DESCR}, {ORDER}, 'shape': (9223372036854775807, 9223372036854775807)}}"), "body.data: expected"),
    "wraps to 24": (made(f"{{{DESCR}, {ORDER}, 'shape': (4611686018427387904, 4, 6)}}"), "body.data: expected"),
    "a terabyte, the other way": (made(f"{{{DESCR}, 'fortran_order': True, 'shape': (500000, 500000)}}"), "body.data"),
    "bytes behind": (saved(EXAMPLE) + b"\0", "body.data: expected 24 bytes, 4 for each FP32 of the shape, got 25"),
    "bytes missing": (saved(EXAMPLE)[:-1], "body.data: expected 24 bytes"),
    "two files": (saved(EXAMPLE) * 2, "body.data: expected 24 bytes"),
}


@pytest.mark.parametrize(("raw", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_such_file_is_refused(raw: bytes, message: str) -> None:
    assert refusal(lambda: read(raw)).startswith(message)


@pytest.mark.parametrize("spot", ["{", ":", "'<f4'", ",", "False", "(", "2,", ")"])
def test_a_header_of_space_is_read_at_once(spot: str) -> None:
    header = made()[10 : -EXAMPLE.nbytes].decode()
    raw = made(header.replace(spot, spot + " " * (9_900 // header.count(spot)))[:-1])
    begun = time.perf_counter()
    refusal(lambda: read(raw))
    assert time.perf_counter() - begun < 0.05  # quadratic would take a second


def test_a_bool_is_0_or_1() -> None:
    assert refusal(lambda: read(saved(np.array([True]))[:-1] + b"\2", "BOOL")).startswith(
        "body.data: expected bytes of 0"
    )


def test_strings_have_no_place_in_it() -> None:
    assert "pickle" in refusal(lambda: read(saved(np.array(["a"])), "BYTES"))


@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_damaged_files_are_an_array_or_invalid_input_and_take_no_more_than_themselves(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(NUMBERS))
    raw = bytearray(saved(data.draw(arrays(datatype)), data.draw(st.sampled_from(VERSIONS))))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, min(len(raw), 140)))
        end = data.draw(st.integers(start, min(len(raw), start + 12)))
        words = st.sampled_from([b"9" * 18, b"True", b"False", b"(", b")", b",", b"'", b"|O", b"<f8", b"0"])
        raw[start:end] = data.draw(st.one_of(st.just(b""), words, st.binary(max_size=4)))
    tracemalloc.start()
    try:
        array = read(bytes(raw), datatype)
    except InvalidInput:
        pass
    else:
        assert array.dtype == DTYPES[datatype]
        assert array.nbytes <= len(raw)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 << 10


def outputs(*named: tuple[str, str]) -> Signature:
    specs = [OutputSpec(name=name, datatype=datatype, shape=(-1, 2)) for name, datatype in named]
    return Signature(inputs=(spec(),), outputs=tuple(specs))


def test_the_only_output_is_the_answer_and_of_several_the_one_that_is_named() -> None:
    both = outputs(("y", "FP32"), ("z", "BF16"))
    assert npy.chosen(outputs(("y", "FP32")), None).name == "y"
    assert npy.chosen(both, "z").name == "z"
    assert refusal(lambda: npy.chosen(both, None)) == "query.output: expected one of y, z, as .npy holds one, got none"
    assert refusal(lambda: npy.chosen(both, "x")) == "query.output: expected one of y, z, got 'x'"


def test_an_output_of_strings_cannot_be_the_answer() -> None:
    with pytest.raises(NotRepresentable, match="'y' is BYTES"):
        npy.chosen(outputs(("y", "BYTES")), None)
