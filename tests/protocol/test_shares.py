"""Answers cut out of a run that several requests share: each is what the request would have got alone."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.contract.tensors import DataType, OutputSpec, Signature
from app.errors import NotRepresentable
from app.protocol import json_answers, native, oip
from app.protocol.messages import DTYPES, Array, Encoded, Outputs, Share
from tests.protocol.bodies import (
    JSON_DATATYPES,
    OIP_JSON_DATATYPES,
    native_request,
    oip_request,
    served,
    signature,
    tensor,
)
from tests.protocol.test_round_trip import Encode, arrays

ROWS = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3).map(lambda shape: (shape[0] + 2, *shape[1:]))
FLOATS = ("float16", "float32", "float64")
DIALECTS = (("native", native.encode, JSON_DATATYPES), ("oip", oip.encode, OIP_JSON_DATATYPES))
CARRIED = [
    pytest.param(encode, datatype, id=f"{name}-{datatype}")
    for name, encode, datatypes in DIALECTS
    for datatype in datatypes
]
dialect = pytest.mark.parametrize("encode", [native.encode, oip.encode], ids=["native", "oip"])


def answer(encode: Encode, share: Share, given: Signature, binary: bool = False) -> Encoded:
    asked = native_request({"inputs": []})
    if encode is oip.encode:
        asked = oip_request({"inputs": [tensor([], [0])], "parameters": {"binary_data_output": binary}})
    return encode(served(asked, given), share)


def read(encode: Encode, share: Share, given: Signature) -> Any:
    """What the answer tells of its outputs."""
    return json.loads(answer(encode, share, given).body)["outputs"]


def cuts(data: st.DataObject, rows: int) -> list[tuple[int, int]]:
    """The rows of each request that shares a run, none without rows."""
    inner = data.draw(st.sets(st.integers(1, rows - 1)))
    edges = sorted({0, rows} | inner)
    return list(itertools.pairwise(edges))


@pytest.mark.parametrize(("encode", "datatype"), CARRIED)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_rows_cut_from_a_shared_run_are_the_answer_of_a_run_of_its_own(
    encode: Encode, datatype: DataType, data: st.DataObject
) -> None:
    array = data.draw(arrays(datatype, ROWS))
    given, run = signature(datatype, (-1, *array.shape[1:])), Outputs({"y": array})
    for start, stop in cuts(data, len(array)):
        alone = read(encode, Share(Outputs({"y": array[start:stop].copy()})), given)
        assert read(encode, Share(run, start, stop), given) == alone


@pytest.mark.parametrize("datatype", list(DTYPES), ids=str)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_raw_tensors_cut_from_a_shared_run_are_those_of_a_run_of_its_own(
    datatype: DataType, data: st.DataObject
) -> None:
    array = data.draw(arrays(datatype, ROWS))
    given, run = signature(datatype, (-1, *array.shape[1:])), Outputs({"y": array})
    for start, stop in cuts(data, len(array)):
        alone = Share(Outputs({"y": array[start:stop].copy()}))
        assert answer(oip.encode, Share(run, start, stop), given, binary=True) == answer(
            oip.encode, alone, given, binary=True
        )


@dialect
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 1, 2)], ids=str)
def test_a_value_that_json_cannot_carry_fails_only_the_request_whose_rows_hold_it(
    encode: Encode, value: float, dtype: str, shape: tuple[int, ...]
) -> None:
    array = np.ones(shape, dtype)
    array[2] = value
    given, run = signature("FP32", (-1, *shape[1:])), Outputs({"y": array})
    for start, stop in ((0, 2), (3, 4)):
        alone = Share(Outputs({"y": np.ones((stop - start, *shape[1:]), dtype)}))
        assert read(encode, Share(run, start, stop), given) == read(encode, alone, given)
    for start, stop in ((2, 3), (1, 4)):
        with pytest.raises(NotRepresentable, match=r"'y'.*binary"):
            read(encode, Share(run, start, stop), given)


def test_both_dialects_may_share_a_run() -> None:
    run = Outputs({"y": np.arange(6, dtype=np.float32).reshape(3, 2)})
    given = signature("FP32", (-1, 2))
    assert read(native.encode, Share(run, 1, 3), given) == {"y": [[2, 3], [4, 5]]}
    assert read(oip.encode, Share(run, 1, 3), given)[0]["data"] == [2, 3, 4, 5]
    assert read(native.encode, Share(run, 0, 1), given) == {"y": [[0, 1]]}


def test_a_run_is_written_once_for_all_that_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Array] = []

    class Counting(json_answers.RunText):
        def __init__(self, array: Array, *frame: Any) -> None:
            written.append(array)
            super().__init__(array, *frame)

    monkeypatch.setattr(json_answers, "RunText", Counting)
    run = Outputs({"y": np.ones((5, 3), np.float32)})
    for row in range(5):
        read(native.encode, Share(run, row, row + 1), signature())
    assert len(written) == 1


TWO = Signature(
    inputs=signature().inputs,
    outputs=(
        OutputSpec(name="y", datatype="FP32", shape=(-1, -1, 2)),
        OutputSpec(name="z", datatype="FP32", shape=(-1, 3)),
    ),
)


@pytest.mark.parametrize("length", [0, 1, 5])
def test_an_output_that_was_padded_is_cut_to_the_requests_own_length(length: int) -> None:
    arrays: dict[str, Array] = {
        "y": np.arange(40, dtype=np.float32).reshape(4, 5, 2),
        "z": np.arange(12, dtype=np.float32).reshape(4, 3),
    }
    share = Share(Outputs(arrays, lengths=frozenset({"y"})), 1, 3, length)
    expected = {"y": arrays["y"][1:3, :length].tolist(), "z": arrays["z"][1:3].tolist()}
    assert {name: array.tolist() for name, array in share.arrays().items()} == expected
    assert read(native.encode, share, TWO) == expected
    y, z = read(oip.encode, share, TWO)
    assert (y["shape"], y["data"]) == ([2, length, 2], arrays["y"][1:3, :length].ravel().tolist())
    assert (z["shape"], z["data"]) == ([2, 3], arrays["z"][1:3].ravel().tolist())


def test_a_run_that_belongs_to_one_request_may_have_any_shape() -> None:
    share = Share(Outputs({"y": np.array(7, np.float32)}))
    assert (share.array("y").tolist(), share.shape("y")) == (7, [])
    assert read(native.encode, share, signature("FP32", ())) == {"y": 7}


@pytest.mark.parametrize("encode", [json_answers.nested, json_answers.flat], ids=["nested", "flat"])
def test_a_run_of_one_request_is_not_cut(encode: Any) -> None:
    run = Outputs({"y": np.ones((2, 3), np.float32)})
    assert json.loads(encode(Share(run, 0, 2), "y"))
    assert not run.written
    assert json.loads(encode(Share(run, 0, 1), "y"))
    assert run.written
