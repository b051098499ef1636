"""Any array of any datatype that JSON can carry comes back as itself."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.contract.tensors import DataType
from app.errors import NotRepresentable
from app.protocol import json_answers, native, oip
from app.protocol.messages import Array, Encoded, InferRequest, Outputs, Share
from tests.protocol.bodies import (
    JSON_DATATYPES,
    OIP_JSON_DATATYPES,
    encoded,
    native_inputs,
    native_request,
    oip_inputs,
    oip_request,
    signature,
    tensor,
)

Encode = Callable[[InferRequest, Share], Encoded]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def elements(datatype: DataType) -> st.SearchStrategy[object] | None:
    if datatype is DataType.BYTES:
        return TEXT
    if datatype is DataType.BF16:
        return st.binary(min_size=2, max_size=2)
    if datatype in (DataType.FP16, DataType.FP32, DataType.FP64):
        width = np.dtype(datatype.numpy).itemsize * 8
        return st.floats(allow_nan=False, allow_infinity=False, width=width)  # type: ignore[arg-type]
    return None


def arrays(datatype: DataType, shapes: st.SearchStrategy[tuple[int, ...]] = SHAPES) -> st.SearchStrategy[Array]:
    return hnp.arrays(np.dtype(datatype.numpy), shapes, elements=elements(datatype))


def answer(encode: Encode, asked: InferRequest, array: Array, datatype: DataType) -> bytes:
    """The answer whose output y is the array."""
    return encoded(encode, asked, signature(datatype, tuple(array.shape)), {"y": array}).body


def read_back(array: Array) -> Any:
    """What a client reads of an array."""
    return json.loads(json_answers.nested(Share(Outputs({"y": array})), "y"))


def same(got: Array, expected: Array) -> bool:
    """Equal in shape, type and every bit: -0.0 is not 0.0."""
    bits = got.tolist() == expected.tolist() if expected.dtype == object else got.tobytes() == expected.tobytes()
    return got.shape == expected.shape and got.dtype == expected.dtype and bits


@pytest.mark.parametrize("datatype", JSON_DATATYPES, ids=str)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_what_the_native_dialect_writes_it_reads(datatype: DataType, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    written = json.loads(answer(native.encode, native_request({"inputs": []}), array, datatype))["outputs"]["y"]
    shape = (-1, *array.shape[1:]) if array.ndim else ()
    assert same(native_inputs({"inputs": written}, signature(datatype, shape))["x"], array)


@pytest.mark.parametrize("datatype", OIP_JSON_DATATYPES, ids=str)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_an_output_of_the_standard_dialect_is_an_input_of_it(datatype: DataType, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype))
    asked = oip_request({"inputs": [tensor([], [0])]})
    output = json.loads(answer(oip.encode, asked, array, datatype))["outputs"][0]
    assert (output["name"], output["shape"], output["datatype"]) == ("y", list(array.shape), datatype)
    assert all(not isinstance(element, list) for element in output["data"])
    read = oip_inputs({"inputs": [output | {"name": "x"}]}, signature(datatype, tuple(array.shape)))
    assert same(read["x"], array)


@pytest.mark.parametrize("datatype", OIP_JSON_DATATYPES, ids=str)
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_nested_and_flat_data_are_the_same_tensor(datatype: DataType, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype, hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)))
    spec = signature(datatype, tuple(array.shape))
    for values in (array, array.reshape(-1)):
        sent = tensor(read_back(values), list(array.shape), str(datatype))
        assert same(oip_inputs({"inputs": [sent]}, spec)["x"], array)


@settings(deadline=None)
@given(arrays(DataType.FP32))
def test_floats_are_written_with_no_more_digits_than_they_need(array: Array) -> None:
    """The shortest decimal that is read back as the same float32, as NumPy prints it."""
    assert read_back(array.reshape(-1)) == [float(str(value)) for value in array.reshape(-1)]


@pytest.mark.parametrize("order", ["transposed", "every other row", "reversed"])
def test_an_array_that_lies_otherwise_in_memory_is_written_in_order(order: str) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    view = {"transposed": array.T, "every other row": array[::2], "reversed": array[::-1]}[order]
    assert read_back(view) == view.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("datatype", ["float16", "float32", "float64"])
def test_an_output_that_json_cannot_carry_is_an_error_that_names_it(value: float, datatype: str) -> None:
    array = np.array([[1.0, value]], datatype)
    for encode in (native.encode, oip.encode):
        asked = native_request({"inputs": []})
        with pytest.raises(NotRepresentable, match=r"'y'.*binary"):
            answer(encode, asked, array, DataType.FP32)
