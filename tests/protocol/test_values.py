"""Single values in JSON: which of them each datatype takes, and which it refuses."""

from typing import Any

import numpy as np
import pytest

from app.contract.tensors import DataType
from tests.protocol.bodies import (
    JSON_DATATYPES,
    OIP_JSON_DATATYPES,
    native_inputs,
    oip_inputs,
    refusal,
    signature,
    tensor,
)

INTEGERS = {
    "UINT8": (0, 255),
    "UINT16": (0, 65535),
    "UINT32": (0, 2**32 - 1),
    "UINT64": (0, 2**64 - 1),
    "INT8": (-128, 127),
    "INT16": (-(2**15), 2**15 - 1),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
}
FLOATS = {"FP16": "65504", "FP32": "3.4028234663852886e38", "FP64": "1.7976931348623157e308"}
TOO_LARGE_FLOATS = {"FP16": "65520", "FP32": "3.5e38", "FP64": "1.8e308"}

# What stands in place of a value, and is none of any datatype.
NEVER = ("null", "{}", "[1]", "NaN", "Infinity", "-Infinity", "0x10", "01", "+1", "-", "a", "1/**/", "1,", ",", "'a'")
# Values of one kind, refused by every datatype of another.
KINDS = {"bool": "true", "string": '"1"', "integer": "1", "float": "1.5"}
TAKES = {
    "BOOL": {"bool"},
    "BYTES": {"string"},
    **{name: {"integer"} for name in INTEGERS},
    **{name: {"integer", "float"} for name in FLOATS},
}


def native(literal: str, datatype: str) -> Any:
    document = b'{"inputs": [%s]}' % literal.encode()
    return native_inputs(document, signature(datatype, (-1,)))["x"]


def oip(literal: str, datatype: str) -> Any:
    document = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "%s", "data": [%s]}]}'
    return oip_inputs(document % (datatype.encode(), literal.encode()), signature(datatype, (-1,)))["x"]


READERS = [*((native, name) for name in JSON_DATATYPES), *((oip, name) for name in OIP_JSON_DATATYPES)]
reader = pytest.mark.parametrize(
    ("read", "datatype"), READERS, ids=[f"{read.__name__}-{name}" for read, name in READERS]
)
dialect = pytest.mark.parametrize("read", [native, oip], ids=["native", "oip"])


@reader
def test_what_is_no_value_is_refused(read: Any, datatype: str) -> None:
    for literal in NEVER:
        refusal(lambda literal=literal: read(literal, datatype))


@reader
def test_a_value_of_another_kind_is_refused_and_located(read: Any, datatype: str) -> None:
    place = "inputs[0]: expected" if read is native else "inputs[0].data[0]: expected"
    for kind, literal in KINDS.items():
        if kind in TAKES[datatype]:
            assert read(literal, datatype).shape == (1,)
        else:
            assert refusal(lambda literal=literal: read(literal, datatype)).startswith(place)


@reader
def test_the_array_has_the_datatypes_numpy_type(read: Any, datatype: str) -> None:
    literal = {"bool": "true", "string": '"a"', "integer": "7"}[sorted(TAKES[datatype])[-1]]
    array = read(literal, datatype)
    assert array.dtype == DataType(datatype).numpy
    assert array.tolist() == [{"true": True, '"a"': "a", "7": 7}[literal]]


@dialect
@pytest.mark.parametrize(("datatype", "limits"), INTEGERS.items(), ids=INTEGERS)
def test_integers_reach_exactly_to_their_limits(read: Any, datatype: str, limits: tuple[int, int]) -> None:
    for limit, outside in ((limits[0], limits[0] - 1), (limits[1], limits[1] + 1)):
        assert read(str(limit), datatype).tolist() == [limit]
        assert datatype in refusal(lambda outside=outside: read(str(outside), datatype))


@pytest.mark.parametrize(
    ("read", "datatype"), [(native, "FP16"), *((r, d) for r in (native, oip) for d in ("FP32", "FP64"))]
)
def test_floats_reach_exactly_to_their_limits(read: Any, datatype: str) -> None:
    for sign in ("", "-"):
        array = read(sign + FLOATS[datatype], datatype)
        assert np.isfinite(array).all()
        assert abs(array[0]) == np.finfo(array.dtype).max
        assert "out of range" in refusal(lambda sign=sign: read(sign + TOO_LARGE_FLOATS[datatype], datatype))


@reader
def test_a_number_of_many_digits_is_refused_or_exact(read: Any, datatype: str) -> None:
    for digits in (20, 400, 5000, 100_000):
        literal = "1" + "0" * digits
        if datatype in ("FP32", "FP64") and digits == 20:
            assert read(literal, datatype)[0] == read("1e20", datatype)[0]
        else:
            refusal(lambda literal=literal: read(literal, datatype))


@dialect
@pytest.mark.parametrize("literal", ["1e-400", "1e-46", "-0.0", "5e-324"])
def test_a_small_number_becomes_the_nearest_float(read: Any, literal: str) -> None:
    assert read(literal, "FP32")[0] == 0.0


@dialect
@pytest.mark.parametrize("literal", [r'"\ud800"', r'"\udc00"', r'"\ud800x"', '"\\ud800\\ud800"'], ids=ascii)
def test_a_lone_surrogate_is_refused(read: Any, literal: str) -> None:
    refusal(lambda: read(literal, "BYTES"))


@dialect
@pytest.mark.parametrize(
    ("literal", "text"),
    [(r'"\ud83c\udf33"', "🌳"), ('"🌳"', "🌳"), (r'"a\u0000b"', "a\0b"), ('""', ""), (r'"\"[["', '"[[')],
)
def test_strings_arrive_as_they_were_sent(read: Any, literal: str, text: str) -> None:
    assert read(literal, "BYTES").tolist() == [text]


def test_bf16_does_not_travel_in_json() -> None:
    assert "BF16" in refusal(lambda: native("1", "BF16"))
    assert "BF16" in refusal(lambda: oip("1", "BF16"))


def test_fp16_does_not_travel_in_the_protocols_json() -> None:
    assert "FP16" in refusal(lambda: oip("1", "FP16"))


def test_the_datatype_sent_must_be_the_models() -> None:
    text = refusal(lambda: oip_inputs({"inputs": [tensor([1, 2, 3], [1, 3], "INT32")]}, signature("FP32")))
    assert text == "input 'x': expected datatype FP32, got int32"
