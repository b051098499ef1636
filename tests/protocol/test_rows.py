"""Inputs that stay lists until their batch is formed are held to all that an array is held to."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.contract.tensors import DataType, InputSpec
from app.errors import InvalidInput
from app.protocol.json_tensors import SMALL, read_nested, read_rows
from app.protocol.messages import Array
from tests.protocol.bodies import JSON_DATATYPES, as_array
from tests.protocol.test_mutations import JSON
from tests.protocol.test_round_trip import arrays, same

SHAPES = st.lists(st.sampled_from([-1, 0, 1, 2, 3]), max_size=3).map(tuple)
FITTING = st.lists(st.integers(1, 3), max_size=2).map(lambda shape: (-1, *shape))
POWERS = [2**bits for bits in (7, 8, 15, 16, 31, 32, 63, 64)]
EDGES = [
    *(f"{sign}{value}" for sign in ("", "-") for power in POWERS for value in (power - 1, power)),
    *("0", "-0", "-0.0", "1.0", "1e0", "1e2", "0.5", "5e-324", "1e-400"),
    *("65504", "65519.99", "65520", "-65520", "3.4028235e38", "3.4028236e38", "-3.4028236e38"),
    *("1.7976931348623157e308", "1e999", "-1e999", "1" + "0" * 400, "9" * 5000),
    *("true", "null", '"1"', '"a"', "[]", "[1]", "{}", "NaN", "Infinity", "01", "+1", "", " 1 "),
]


def outcome(read: object, raw: bytes, spec: InputSpec) -> Array | str:
    """The values that are read, or why they are refused."""
    try:
        column = read(memoryview(raw), spec, "x")  # type: ignore[operator]
    except InvalidInput as error:
        return str(error)
    return as_array(column, spec)


def assert_alike(raw: bytes, datatype: DataType, shape: tuple[int, ...]) -> None:
    """Both ways give the same array, or the same complaint; a shape that does not fit is `validate`'s to refuse."""
    spec = InputSpec(name="x", datatype=datatype, shape=shape)
    thorough, quick = outcome(read_nested, raw, spec), outcome(read_rows, raw, spec)
    if isinstance(thorough, str) or isinstance(quick, str):
        assert thorough == quick
    else:
        assert same(quick, thorough)


@pytest.mark.parametrize("datatype", JSON_DATATYPES, ids=str)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), shape=FITTING)
def test_values_that_fit_are_the_same_either_way(
    datatype: DataType, data: st.DataObject, shape: tuple[int, ...]
) -> None:
    rows = data.draw(arrays(datatype, st.just((data.draw(st.integers(0, 3)), *shape[1:]))))
    assert_alike(json.dumps(rows.tolist()).encode(), datatype, shape)


@pytest.mark.parametrize("datatype", JSON_DATATYPES, ids=str)
@settings(deadline=None, max_examples=60)
@given(literal=st.sampled_from(EDGES), shape=SHAPES, place=st.integers(0, 3))
def test_any_value_at_any_place_is_read_or_refused_alike(
    datatype: DataType, literal: str, shape: tuple[int, ...], place: int
) -> None:
    good = '"b"' if datatype is DataType.BYTES else "true" if datatype is DataType.BOOL else "1"
    values = [good] * 3
    values[place:place] = [literal]
    for depth in range(1, 4):
        assert_alike(f"{'[' * depth}{','.join(values)}{']' * depth}".encode(), datatype, shape)


@pytest.mark.parametrize("datatype", JSON_DATATYPES, ids=str)
@settings(deadline=None, max_examples=60)
@given(document=JSON, shape=SHAPES)
@example(document=[], shape=(-1, 3))
@example(document=[[]], shape=(-1, 0))
@example(document=[[1, 2], [3]], shape=(-1, 2))
def test_any_document_is_read_or_refused_alike(datatype: DataType, document: object, shape: tuple[int, ...]) -> None:
    assert_alike(json.dumps(document).encode(), datatype, shape)


@pytest.mark.parametrize("datatype", [name for name in JSON_DATATYPES if name not in ("UINT64", "BYTES")], ids=str)
def test_what_the_parser_can_prove_stays_a_list_where_it_is_small(datatype: DataType) -> None:
    spec = InputSpec(name="x", datatype=datatype, shape=(-1, 2))
    value = "true" if datatype is DataType.BOOL else "1"
    small = f"[[{value},{value}]]".encode()
    assert isinstance(read_rows(memoryview(small), spec, "x"), list)
    assert isinstance(read_rows(memoryview(small[:-2] + b" " * SMALL + small[-2:]), spec, "x"), np.ndarray)


LIMITS = {
    DataType.FP16: ("65504", "65519.99", "65520"),
    DataType.FP32: ("3.4028234663852886e38", "3.4028235e38", "3.4028236e38"),
    DataType.FP64: ("1.7976931348623157e308", "1.7976931348623158e308", "1.8e308"),
}


@pytest.mark.parametrize("read", [read_nested, read_rows])
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("datatype", LIMITS, ids=str)
def test_a_float_that_rounds_to_the_largest_is_taken_and_one_that_rounds_to_infinity_refused(
    read: object, datatype: DataType, sign: str
) -> None:
    spec = InputSpec(name="x", datatype=datatype, shape=(-1,))
    *taken, refused = LIMITS[datatype]
    for literal in taken:
        array = outcome(read, f"[{sign}{literal}]".encode(), spec)
        assert not isinstance(array, str), array
        assert array.tolist() == [float(f"{sign}1") * np.finfo(array.dtype).max]
    assert "range" in str(outcome(read, f"[{sign}{refused}]".encode(), spec))
