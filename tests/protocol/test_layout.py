"""Layouts: bodies that begin with the same JSON are read like the first of them, and as strictly."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.errors import InvalidInput
from app.protocol import layout, oip
from app.protocol.infer_header import InferHeader
from app.protocol.messages import Timings
from tests.protocol.bodies import signature

Y = OutputSpec(name="y", datatype="FP32", shape=(-1,))


def taking(*datatypes: str) -> Signature:
    """Inputs a, b, ... of two columns."""
    named = zip("abc", datatypes, strict=False)
    specs = [InputSpec(name=name, datatype=datatype, shape=(-1, 2)) for name, datatype in named]
    return Signature(inputs=tuple(specs), outputs=(Y,))


def text(*tensors: tuple[str, str, list[int], int], **members: Any) -> bytes:
    """The JSON before raw tensors: name, datatype, shape and bytes of each."""
    listed = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
        for name, datatype, shape, size in tensors
    ]
    return json.dumps({"inputs": listed, **members}).encode()


@pytest.fixture
def read_headers(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The JSON that has been read."""
    seen: list[bytes] = []
    read = InferHeader.read

    def watched(text: bytes, left: int) -> InferHeader:
        seen.append(text)
        return read(text, left)

    monkeypatch.setattr(InferHeader, "read", watched)
    return seen


FLOATS = text(("a", "FP32", [1, 2], 8), id="7", parameters={"priority": 1, "timeout": 5000})


def test_the_same_json_is_read_once(read_headers: list[bytes]) -> None:
    decoder, of = oip.Decoder("m", "3"), taking("FP32")
    for values in ([1, 2], [3, 4], [5, 6]):
        body = FLOATS + np.array(values, "<f4").tobytes()
        asked = decoder(body, Timings(0.0), len(FLOATS))
        assert asked.read_inputs(of)["a"].tolist() == [values]
        assert (asked.model, asked.version, asked.id, asked.priority, asked.timeout) == ("m", "3", "7", 1, 0.005)
    assert read_headers == [FLOATS]


def test_tensors_that_lie_behind_one_another_are_found_again() -> None:
    decoder, of = oip.Decoder("m", None), taking("UINT8", "INT64")
    begin = text(("a", "UINT8", [1, 2], 2), ("b", "INT64", [1, 2], 16))
    for number in range(3):
        body = begin + bytes([number, 9]) + np.array([-number, 1 << 40], "<i8").tobytes()
        read = decoder(body, Timings(0.0), len(begin)).read_inputs(of)
        assert (read["a"].tolist(), read["b"].tolist()) == ([[number, 9]], [[-number, 1 << 40]])
        assert read["b"].flags.aligned


def test_other_json_of_the_same_length_is_read(read_headers: list[bytes]) -> None:
    decoder, of = oip.Decoder("m", None), taking("FP32")
    other = FLOATS.replace(b'"7"', b'"8"')
    for begin, name in ((FLOATS, "7"), (other, "8"), (FLOATS, "7")):
        assert decoder(begin + bytes(8), Timings(0.0), len(begin)).id == name
    assert read_headers == [FLOATS, other, FLOATS]
    assert decoder(other + bytes(8), Timings(0.0), len(other)).read_inputs(of)["a"].tolist() == [[0, 0]]


@pytest.mark.parametrize("size", [0, 7, 9])
def test_bodies_of_another_length_are_refused_as_before(size: int) -> None:
    decoder = oip.Decoder("m", None)
    decoder(FLOATS + bytes(8), Timings(0.0), len(FLOATS)).read_inputs(taking("FP32"))
    with pytest.raises(InvalidInput):
        decoder(FLOATS + bytes(size), Timings(0.0), len(FLOATS))


def test_long_json_and_values_in_json_are_not_remembered(read_headers: list[bytes]) -> None:
    long = text(("a", "FP32", [1, 2], 8), parameters={"note": "x" * layout.LONGEST})
    values = json.dumps({"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}).encode()
    for begin, rest, times in ((long, bytes(8), 3), (values, b"", 2)):
        decoder = oip.Decoder("m", None)
        for _ in range(times):
            decoder(begin + rest, Timings(0.0), len(begin))
    assert read_headers == [long, long, long, values, values]


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [("BOOL", b"\1\0", b"\1\2"), ("BYTES", b"\1\0\0\0a\1\0\0\0b", b"\1\0\0\0a\2\0\0\0b")],
)
def test_elements_of_which_not_every_byte_is_allowed_are_looked_at_in_each_body(
    datatype: str, good: bytes, bad: bytes
) -> None:
    decoder, of = oip.Decoder("m", None), taking(datatype)
    begin = text(("a", datatype, [1, 2], len(good)))
    for _ in range(3):
        decoder(begin + good, Timings(0.0), len(begin)).read_inputs(of)
    with pytest.raises(InvalidInput, match=r"inputs\[0\]\.data"):
        decoder(begin + bad, Timings(0.0), len(begin)).read_inputs(of)


def test_a_signature_that_has_changed_is_held_against_the_inputs_anew() -> None:
    decoder = oip.Decoder("m", None)
    body = FLOATS + bytes(8)
    for _ in range(2):
        decoder(body, Timings(0.0), len(FLOATS)).read_inputs(taking("FP32"))
    with pytest.raises(InvalidInput, match="one of x"):
        decoder(body, Timings(0.0), len(FLOATS)).read_inputs(signature())


NUMBERS = ("FP32", "UINT8", "INT64", "BOOL")
SIZES = {"FP32": 4, "UINT8": 1, "INT64": 8, "BOOL": 1}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, int]:
    """A body and its JSON's length: right, or wrong in one place or another."""
    tensors, rest = [], b""
    for name in draw(st.sampled_from(["a", "ab", "ba", "aa"])):
        datatype, rows = draw(st.sampled_from(NUMBERS)), draw(st.integers(0, 2))
        size = 2 * rows * SIZES[datatype] + draw(st.sampled_from([0, 0, 0, 0, 1]))
        tensors.append((name, datatype, [rows, 2], size))
        rest += draw(st.binary(min_size=size, max_size=size))
    begin = text(*tensors)
    return begin + rest + draw(st.sampled_from([b"", b"", b"", b"x"])), len(begin)


def outcome(decoder: oip.Decoder, body: bytes, json_length: int, of: Signature) -> object:
    """The arrays that are read, or the refusal."""
    try:
        read = decoder(body, Timings(0.0), json_length).read_inputs(of)
    except InvalidInput as refusal:
        return str(refusal)
    assert all(array.flags.aligned for array in read.values())
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in read.items()}


SIGNATURES = (taking("FP32", "UINT8"), taking("INT64"))


@settings(max_examples=300)
@given(st.lists(bodies(), min_size=1, max_size=3), st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=8))
def test_a_decoder_that_remembers_reads_what_a_new_one_reads(
    sent: list[tuple[bytes, int]], order: list[tuple[int, bool]]
) -> None:
    """Whatever comes in whatever order, for one signature or the other."""
    decoder = oip.Decoder("m", None)
    for index, which in order:
        body, length = sent[index % len(sent)]
        of = SIGNATURES[which]
        assert outcome(decoder, body, length, of) == outcome(oip.Decoder("m", None), body, length, of)
