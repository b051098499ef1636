"""The binary tensor data extension of the Open Inference Protocol: raw tensors behind the JSON, both ways."""

import copy
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.dataplane import validate
from app.errors import InvalidInput, NotRepresentable
from app.protocol import oip
from app.protocol.messages import Array, InferRequest, Tensors, Timings
from tests.protocol.bodies import as_array, encoded, refusal, signature

TWO = Signature(
    inputs=(InputSpec(name="x", datatype="UINT32", shape=(-1, 2)), InputSpec(name="b", datatype="BOOL", shape=(-1,))),
    outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 2)), OutputSpec(name="z", datatype="BYTES", shape=(-1,))),
)
X, B = struct.pack("<4I", 1, 2, 3, 4), b"\1\0"


def raw(size: Any, shape: Any, datatype: str = "FP32", name: str = "x", **members: Any) -> dict[str, Any]:
    """An input tensor whose data lies behind the JSON."""
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}, **members}


INPUTS = [raw(16, [2, 2], "UINT32"), raw(2, [2], "BOOL", "b")]


def request(document: Any, *tensors: bytes, length: int | None = None) -> InferRequest:
    """The request in a body of JSON and tensors; the header tells the JSON's length, or what the test says."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    given = len(text) if length is None else length
    return oip.Decoder("m", None)(b"".join((text, *tensors)), Timings(0.0), given)


def inputs(document: Any, *tensors: bytes, of: Signature | None = None, length: int | None = None) -> Tensors:
    """What is read, held against the signature."""
    of = of or signature("FP32", (-1, 3))
    read = request(document, *tensors, length=length).read_inputs(of)
    validate(of, read)
    return {spec.name: as_array(read[spec.name], spec) for spec in of.inputs}


def answer(asked: InferRequest, of: Signature = TWO, **outputs: Array) -> tuple[bytes, int | None]:
    """The answer of a model that has these of the outputs."""
    specs = tuple(spec for spec in of.outputs if spec.name in outputs)
    whole = encoded(oip.encode, asked, of.model_copy(update={"outputs": specs}), outputs)
    return whole.body, whole.json_length


def test_a_request_of_these_bytes() -> None:
    body = (
        b'{"inputs":[{"name":"x","shape":[2,2],"datatype":"UINT32","parameters":{"binary_data_size":16}},'
        b'{"name":"b","shape":[2],"datatype":"BOOL","parameters":{"binary_data_size":2}}]}'
        b"\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00"
        b"\x01\x00"
    )
    read = oip.Decoder("m", "3")(body, Timings(0.0), 175).read_inputs(TWO)
    assert {name: array.tolist() for name, array in read.items()} == {"x": [[1, 2], [3, 4]], "b": [True, False]}


def test_an_answer_of_these_bytes() -> None:
    asked = request({"id": "7", "inputs": INPUTS, "parameters": {"binary_data_output": True}}, X, B)
    y, z = np.array([[1.0, -2.0]], np.float32), np.array(["ab"], object)
    assert answer(asked, y=y, z=z) == (
        b'{"model_name":"m","model_version":"2","id":"7","outputs":['
        b'{"name":"y","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}},'
        b'{"name":"z","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}]}'
        b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
        b"\x02\x00\x00\x00ab",
        220,
    )


def test_json_and_binary_inputs_mix_in_any_order() -> None:
    listed = {"name": "b", "shape": [2], "datatype": "BOOL", "data": [True, False]}
    for tensors in ([INPUTS[0], listed], [listed, INPUTS[0]]):
        read = inputs({"inputs": tensors}, X, of=TWO)
        assert {name: array.tolist() for name, array in read.items()} == {"x": [[1, 2], [3, 4]], "b": [True, False]}
    assert inputs({"inputs": INPUTS[::-1]}, B, X, of=TWO)["x"].tolist() == [[1, 2], [3, 4]]


def test_with_the_header_all_may_be_json() -> None:
    listed = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    assert inputs({"inputs": [listed]})["x"].tolist() == [[1, 2, 3]]


def test_fp16_and_values_that_json_cannot_carry_travel() -> None:
    sent = np.array([[1, np.nan, -np.inf]], np.float16)
    read = inputs({"inputs": [raw(6, [1, 3], "FP16")]}, sent.tobytes(), of=signature("FP16"))["x"]
    assert read.tobytes() == sent.tobytes()
    listed = {"name": "x", "shape": [1, 1], "datatype": "FP16", "data": [1]}
    assert "FP16" in refusal(lambda: inputs({"inputs": [listed]}, of=signature("FP16")))


def test_no_rows_are_no_bytes() -> None:
    assert inputs({"inputs": [raw(0, [0, 3])]})["x"].shape == (0, 3)


ROW = struct.pack("<3f", 1, 2, 3)
SIZE, DATA = "inputs[0].parameters.binary_data_size", "inputs[0].data"
REFUSED: dict[str, tuple[Any, bytes, str]] = {
    "size beyond the body": (
        raw(16, [1, 4]),
        ROW,
        f"{SIZE}: expected an integer from 0 to 12, the bytes left in the b",
    ),
    "size 2^63": (raw(2**63, [1, 3]), ROW, SIZE),
    "size 2^64": (raw(2**64, [1, 3]), ROW, SIZE),
    "size of 4000 digits": (raw(10**4000, [1, 3]), ROW, SIZE),
    "size negative": (raw(-12, [1, 3]), ROW, SIZE),
    "size a string": (
        raw("12", [1, 3]),
        ROW,
        f"{SIZE}: expected an integer from 0 to 12, the bytes left in the body, go",
    ),
    "size a long string": (raw("1" * 100_000, [1, 3]), ROW, SIZE),
    "size a float": (raw(12.0, [1, 3]), ROW, SIZE),
    "size true": (raw(True, [1, 3]), ROW, SIZE),
    "size null": (raw(None, [1, 3]), ROW, "inputs[0].parameters"),
    "size a list": (raw([12], [1, 3]), ROW, "inputs[0].parameters"),
    "trailing bytes": (raw(12, [1, 3]), ROW + b"\0", "body: expected 12 bytes of tensors after the JSON, got 13"),
    "only trailing bytes": (
        {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]},
        ROW,
        "body: expected 0 bytes of tensors after the JSON, got 12",
    ),
    "data and size": (raw(12, [1, 3], data=[1, 2, 3]), ROW, f"{DATA}: expected a list or, in its place, parameters.bi"),
    "data null and size": (raw(12, [1, 3], data=None), ROW, DATA),
    "neither": ({"name": "x", "shape": [1, 3], "datatype": "FP32"}, b"", DATA),
    "size is not the shape's": (
        raw(12, [1, 2]),
        ROW,
        f"{DATA}: expected 8 bytes, 4 for each FP32 of the shape, got 12",
    ),
    "size is not the datatype's": (raw(12, [1, 3], "FP64"), ROW, f"{DATA}: expected 24 bytes"),
    "a huge shape": (raw(12, [2**62, 64]), ROW, DATA),
    "a huge shape without rows": (raw(0, [0, 2**62, 64]), b"", DATA),
    "a negative shape": (raw(12, [-1, 3]), ROW, "inputs[0].shape[0]"),
    "another datatype": (raw(12, [1, 3], "INT32"), ROW, "input 'x'"),
    "unknown datatype": (raw(12, [1, 3], "FP31"), ROW, "inputs[0].datatype"),
    "unknown input": (raw(12, [1, 3], name="z"), ROW, "inputs[0].name"),
    "shared memory": (
        {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1], "parameters": {"shared_memory_region": "r"}},
        b"",
        "inputs[0].parameters.shared_memory_region",
    ),
    "a lying length": (raw(5, [1], "BYTES"), b"\xff\xff\xff\xffa", f"{DATA}[0]: expected a length"),
}


@pytest.mark.parametrize(("tensor", "rest", "message"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_binary_input_is_refused_with_the_field(tensor: Any, rest: bytes, message: str) -> None:
    assert refusal(lambda: inputs({"inputs": [tensor]}, rest)).startswith(message)


def test_the_second_tensor_begins_where_the_first_ends() -> None:
    place = "inputs[1].parameters.binary_data_size: expected an integer from 0 to 1, the bytes left in the body, got 2"
    assert refusal(lambda: inputs({"inputs": INPUTS}, X, B[:1], of=TWO)) == place


@pytest.mark.parametrize("length", [-1, -(2**63), 200, 10**17])
def test_a_header_outside_the_body_is_refused(length: int) -> None:
    message = f"inference-header-content-length: expected at most 100, the length of the body, got {length}"
    assert refusal(lambda: request(b" " * 100, length=length)) == message


def test_a_header_that_splits_the_json_is_refused() -> None:
    whole = json.dumps({"inputs": [raw(12, [1, 3])]}).encode()
    for length in range(1, len(whole) + len(ROW) + 1):
        if length != len(whole):
            assert refusal(lambda length=length: request(whole, ROW, length=length)).startswith("body: expected JSON")


def test_without_the_header_there_are_no_bytes_behind_the_json() -> None:
    body = json.dumps({"inputs": [raw(12, [1, 3])]}).encode()
    text = refusal(lambda: oip.Decoder("m", None)(body, Timings(0.0)))
    assert text.startswith(f"{SIZE}: expected an integer from 0 to 0")


RAW: dict[str, tuple[str, tuple[int, ...], bytes, tuple[int, ...]]] = {
    "rows": ("FP32", (-1, 3), ROW * 2, (2, 3)),
    "no rows": ("FP32", (-1, 3), b"", (0, 3)),
    "free columns": ("UINT8", (2, -1), b"\0" * 6, (2, 3)),
    "fixed": ("FP32", (3,), ROW, (3,)),
    "a scalar": ("FP64", (), b"\0" * 8, ()),
    "only a free dimension": ("FP16", (-1,), b"\0" * 8, (4,)),
    "no columns": ("FP32", (-1, 0), b"", (0, 0)),
}


@pytest.mark.parametrize(("datatype", "spec", "body", "shape"), RAW.values(), ids=RAW)
def test_a_body_without_json_is_the_only_input(
    datatype: str, spec: tuple[int, ...], body: bytes, shape: tuple[int, ...]
) -> None:
    of = signature(datatype, spec)
    read = oip.Decoder("m", None)(body, Timings(0.0), 0).read_inputs(of)["x"]
    assert (read.shape, read.tobytes()) == (shape, body)


def test_a_body_without_json_is_answered_with_raw_tensors() -> None:
    asked = oip.Decoder("m", "2")(ROW, Timings(0.0), 0)
    assert (asked.model, asked.version, asked.outputs, asked.id, asked.timeout) == ("m", "2", None, None, None)
    body, length = answer(asked, y=np.ones((1, 2), np.float32))
    assert body[length:] == struct.pack("<2f", 1, 1)


HEADER = "inference-header-content-length: expected the length of JSON"
WRONG_RAW = {
    "255 bytes of 256": (signature("FP32", (-1, 64)), b"\0" * 255, "body: expected a multiple of 256 bytes, got 255"),
    "too few": (signature("FP32", (3,)), ROW[:8], "body: expected 12 bytes"),
    "too many": (signature("FP32", (3,)), ROW * 2, "body: expected 12 bytes"),
    "bytes for no columns": (signature("FP32", (-1, 0)), b"\0", "body: expected a multiple of 0 bytes, got 1"),
    "two free dimensions": (signature("FP32", (-1, -1)), ROW, HEADER),
    "two inputs": (TWO, X + B, HEADER),
    "strings": (signature("BYTES", (1,)), b"\1\0\0\0a", HEADER),
    "no bools": (signature("BOOL", (-1,)), b"\2", "body: expected bytes of 0 and 1, got 2"),
}


@pytest.mark.parametrize(("of", "body", "message"), WRONG_RAW.values(), ids=WRONG_RAW)
def test_a_body_without_json_that_is_no_such_input_is_refused(of: Signature, body: bytes, message: str) -> None:
    assert refusal(lambda: inputs(b"", body, of=of, length=0)).startswith(message)


def asking(by_default: bool | None, **binary: bool | None) -> InferRequest:
    """A request with this binary_data_output, for outputs with this binary_data; None where it is left out."""
    outputs = [
        {"name": name, "parameters": {} if flag is None else {"binary_data": flag}} for name, flag in binary.items()
    ]
    parameters = {} if by_default is None else {"binary_data_output": by_default}
    return request({"inputs": INPUTS, "parameters": parameters, "outputs": outputs}, X, B)


@pytest.mark.parametrize(
    ("by_default", "binary", "expected"),
    [
        (None, {}, ()),
        (False, {}, ()),
        (True, {}, ("y", "z")),
        (None, {"y": True, "z": None}, ("y",)),
        (None, {"y": False, "z": True}, ("z",)),
        (True, {"y": False, "z": None}, ("z",)),
        (True, {"y": None, "z": None}, ("y", "z")),
        (True, {"y": False, "z": False}, ()),
    ],
)
def test_an_output_is_binary_where_it_or_else_the_request_says_so(
    by_default: bool | None, binary: dict[str, bool | None], expected: tuple[str, ...]
) -> None:
    y, z = np.array([[1, 2]], np.float32), np.array(["ab"], object)
    body, length = answer(asking(by_default, **binary), y=y, z=z)
    outputs = {output["name"]: output for output in json.loads(body[:length])["outputs"]}
    sizes = {"y": 8, "z": 6}
    for name, output in outputs.items():
        assert ("data" in output) == (name not in expected)
        assert output.get("parameters") == ({"binary_data_size": sizes[name]} if name in expected else None)
    assert (length is None) == (expected == ())
    assert len(body) - (length or len(body)) == sum(sizes[name] for name in expected)


def test_an_output_without_elements_is_announced_with_size_0() -> None:
    body, length = answer(asking(True), y=np.empty((0, 2), np.float32))
    assert length == len(body)
    assert json.loads(body)["outputs"][0]["parameters"] == {"binary_data_size": 0}


def test_an_output_that_json_cannot_carry_is_carried_by_binary() -> None:
    nan, half = np.array([[np.nan, np.inf]], np.float32), np.array([[1, 2]], np.float16)
    for of, array in ((TWO, nan), (signature("FP16"), half)):
        body, length = answer(asking(True), of, y=array)
        assert body[length:] == array.tobytes()
        with pytest.raises(NotRepresentable, match=r"'y'.*binary"):
            answer(asking(False), of, y=array)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_damaged_bodies_are_a_request_or_invalid_input(data: st.DataObject) -> None:
    tensors = copy.deepcopy([*INPUTS, raw(9, [2, 1], "BYTES", "s")])
    of = TWO.model_copy(update={"inputs": (*TWO.inputs, InputSpec(name="s", datatype="BYTES", shape=(-1, 1)))})
    for tensor in tensors:
        if data.draw(st.booleans()):
            tensor["parameters"]["binary_data_size"] += data.draw(st.integers(-3, 3))
            tensor["shape"][0] = data.draw(st.integers(-1, 3))
    rest = bytearray(X + B + b"\1\0\0\0a\0\0\0\0")
    start = data.draw(st.integers(0, len(rest)))
    rest[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    text = json.dumps({"inputs": tensors}).encode()
    length = len(text) + data.draw(st.sampled_from([0, 0, 0, -1, 1]))
    try:
        read = inputs(text, bytes(rest), of=of, length=length)
    except InvalidInput:
        return
    assert read.keys() == {"x", "b", "s"}
