"""Plain infer requests in JSON: together they are read and answered as the ordinary way reads and answers each."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.tensors import DataType, InputSpec, OutputSpec, Signature
from app.errors import InvalidInput, NotRepresentable
from app.protocol import flat_rows, oip
from app.protocol.flat_rows import FlatInfer, FlatRows
from app.protocol.messages import Array, Outputs, ServedModel, Share, Timings
from tests.protocol.bodies import OIP_JSON_DATATYPES, signature, tensor
from tests.protocol.bodies import body as body_of
from tests.protocol.test_round_trip import arrays, same
from tests.protocol.test_shares import cuts
from tests.protocol.test_tensor_rows import ROWS, TWO, serving

READ = [datatype for datatype in OIP_JSON_DATATYPES if datatype not in ("BYTES", "UINT64")]
"""What a parser alone can prove."""
read = partial(flat_rows.read, "m", None)


def asked(array: Array, datatype: str, **members: Any) -> bytes:
    return body_of({"inputs": [tensor(array.ravel().tolist(), array.shape, datatype)], **members})


def reader_of(model: ServedModel) -> FlatRows:
    reader = flat_rows.plain_rows(model)
    assert reader is not None
    return reader


def ordinary(model: ServedModel, body: bytes, share: Share) -> bytes:
    request = oip.Decoder("m", None)(body, Timings(0.0))
    request.served = model
    return oip.encode(request, share).body


@pytest.mark.parametrize("datatype", READ, ids=str)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_each_is_read_and_answered_as_by_itself(datatype: DataType, data: st.DataObject) -> None:
    array = np.nan_to_num(data.draw(arrays(datatype, ROWS)), posinf=1, neginf=-1)
    model, outputs = serving(signature(datatype, (-1, *array.shape[1:]))), Outputs({"y": array})
    reader = reader_of(model)
    bodies, rows = reader.bodies(outputs), []
    parts = cuts(data, len(array))
    for start, stop in parts:
        body = asked(array[start:stop], datatype, **data.draw(st.sampled_from([{}, {"id": '7 "%b" ä'}])))
        plain = read(body)
        part = reader.read(plain.inputs)
        assert len(part) == stop - start
        rows += part
        answer = ordinary(model, body, Share(outputs, start, stop))
        assert bodies.of(plain.asks, start, stop, 0.0, 0.0) == (answer, None)
    expected = np.concatenate([array[start:stop] for start, stop in parts])
    assert same(reader.inputs(rows)["x"], expected)


def test_several_outputs_with_names_of_all_kinds() -> None:
    names = {'%b "data":[] 100 %': [[1.5], [2.5]], ',"outputs":[': [[[1, 2]], [[3, 4]]]}
    outputs = Outputs({name: np.array(values, np.float32) for name, values in names.items()})
    specs = [
        OutputSpec(name=name, datatype="FP32", shape=(-1, *array.shape[1:])) for name, array in outputs.arrays.items()
    ]
    model = serving(Signature(inputs=TWO.inputs, outputs=tuple(specs)))
    body = asked(np.ones((1, 2), np.float32), "FP32")
    for start, stop in ((0, 1), (1, 2), (0, 2)):
        answer, _ = reader_of(model).bodies(outputs).of(None, start, stop, 0.0, 0.0)
        assert answer == ordinary(model, body, Share(outputs, start, stop))


ONE = np.ones((1, 2), np.float32)


@pytest.mark.parametrize(
    "members",
    [{"parameters": {}}, {"outputs": []}, {"inputs": []}, {"id": 7}, {"more": 1}, {"id": "\n"}, {"id": "7" * 257}],
    ids=str,
)
def test_what_says_more_is_not_plain(members: dict[str, Any]) -> None:
    with pytest.raises((ValueError, InvalidInput)):
        read(asked(ONE, "FP32", **members))


def changed_by(**changed: Any) -> FlatInfer:
    return read(body_of({"inputs": [tensor([1, 2], [1, 2]) | changed]}))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "z"},
        {"shape": [1, 3]},
        {"shape": [2]},
        {"shape": []},
        {"shape": [2, 2]},
        {"shape": [1, 2, 1]},
        {"datatype": "FP64"},
        {"data": [1]},
        {"data": [1, 2, 3]},
        {"data": [[1, 2]]},
        {"data": [1, 1e39]},
        {"data": [1, None]},
        {"data": {}},
    ],
    ids=str,
)
def test_what_the_model_would_refuse_is_not_plain(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        reader_of(serving(TWO)).read(changed_by(**changed).inputs)
    assert reader_of(serving(TWO)).read(changed_by().inputs) == [[1, 2]]


@pytest.mark.parametrize("array", [np.array([[np.nan]], np.float32), np.zeros((1, 0), np.float32)], ids=str)
def test_what_does_not_fall_into_rows_of_json_is_refused(array: Array) -> None:
    model = serving(Signature(inputs=TWO.inputs, outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, -1)),)))
    with pytest.raises(NotRepresentable):
        reader_of(model).bodies(Outputs({"y": array}))


@pytest.mark.parametrize(
    "given",
    [
        Signature(inputs=(*TWO.inputs, InputSpec(name="z", datatype="FP32", shape=(-1,))), outputs=TWO.outputs),
        Signature(inputs=TWO.inputs, outputs=(OutputSpec(name="y", datatype="BYTES", shape=(-1,)),)),
        Signature(inputs=TWO.inputs, outputs=(OutputSpec(name="y", datatype="FP16", shape=(-1,)),)),
        Signature(inputs=(InputSpec(name="x", datatype="FP16", shape=(-1, 2)),), outputs=TWO.outputs),
        Signature(inputs=(InputSpec(name="x", datatype="UINT64", shape=(-1, 2)),), outputs=TWO.outputs),
        Signature(inputs=(InputSpec(name="x", datatype="FP32", shape=(-1, -1)),), outputs=TWO.outputs),
    ],
    ids=["two inputs", "texts", "FP16 out", "FP16 in", "UINT64", "free dimension"],
)
def test_not_every_models_requests_can_be_plain(given: Signature) -> None:
    assert flat_rows.plain_rows(serving(given)) is None
