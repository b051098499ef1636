"""Plain infer requests: together they are read and answered as the ordinary way reads and answers each by itself."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from app.contract.tensors import DataType, InputSpec, OutputSpec, Signature
from app.protocol import oip
from app.protocol.messages import Array, InferRequest, Outputs, ServedModel, Share, Timings
from app.protocol.plain import Plain
from app.protocol.tensor_rows import TensorRows, plain_rows
from tests.protocol.bodies import signature
from tests.protocol.test_round_trip import arrays, same
from tests.protocol.test_shares import cuts

NUMBERS = [datatype for datatype in DataType if datatype not in ("BYTES", "BOOL")]
ROWS = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3).map(lambda shape: (shape[0] + 2, *shape[1:]))


def asked(array: Array, datatype: str, **members: Any) -> tuple[bytes, int]:
    """A body with one raw tensor, and how many bytes of it are JSON."""
    raw = array.tobytes()
    tensor = {"name": "x", "shape": array.shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}} | members).encode()
    return text + raw, len(text)


def read_twice(model: ServedModel, body: bytes, length: int) -> tuple[InferRequest, Plain]:
    """A request as the ordinary way reads it, and the same once its JSON is known."""
    decoder = oip.Decoder("m", None)
    request = decoder(body, Timings(0.0), length)
    request.read_inputs(model.signature)
    request.served = model
    return request, decoder.plain(length).read(body)


def reader_of(model: ServedModel) -> TensorRows:
    reader = plain_rows(model)
    assert reader is not None
    return reader


def rows_of(model: ServedModel, plain: Plain) -> list[bytes]:
    return reader_of(model).read(plain.inputs)


def serving(given: Signature) -> ServedModel:
    return ServedModel("m", 3, given, "CPUExecutionProvider")


@pytest.mark.parametrize("datatype", NUMBERS, ids=str)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_each_is_read_and_answered_as_by_itself(datatype: DataType, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype, ROWS))
    model, outputs = serving(signature(datatype, (-1, *array.shape[1:]))), Outputs({"y": array})
    reader = reader_of(model)
    bodies, rows = reader.bodies(outputs), []
    parts = cuts(data, len(array))
    for start, stop in parts:
        request, plain = read_twice(model, *asked(array[start:stop], datatype))
        read = reader.read(plain.inputs)
        assert len(read) == stop - start
        rows += read
        ordinary = oip.encode(request, Share(outputs, start, stop))
        assert bodies.of(plain.asks, start, stop, 0.0, 0.0) == (ordinary.body, ordinary.json_length)
        assert bodies.media_type == ordinary.media_type
    expected = np.concatenate([array[start:stop] for start, stop in parts])
    assert same(reader.inputs(rows)["x"], expected)


TWO = Signature(
    inputs=(InputSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(
        OutputSpec(name="a", datatype="INT64", shape=(-1,)),
        OutputSpec(name="b", datatype="FP32", shape=(-1, 2, 2)),
    ),
)


@pytest.mark.parametrize("names", [["a"], ["b"], ["b", "a"], ["a", "b"]], ids=str)
def test_each_gets_the_outputs_it_asks_for(names: list[str]) -> None:
    model = serving(TWO)
    outputs = Outputs({"a": np.arange(3), "b": np.arange(12, dtype=np.float32).reshape(3, 2, 2)})
    wanted = [{"name": name} for name in names]
    request, plain = read_twice(model, *asked(np.ones((2, 2), np.float32), "FP32", outputs=wanted))
    ordinary = oip.encode(request, Share(outputs, 1, 3))
    assert reader_of(model).bodies(outputs).of(plain.asks, 1, 3, 0.0, 0.0) == (ordinary.body, ordinary.json_length)


ONE = np.ones((1, 2), np.float32)


@pytest.mark.parametrize(
    "members",
    [
        {"id": "7"},
        {"parameters": {}},
        {"parameters": {"binary_data_output": True, "priority": 3}},
        {"parameters": {"binary_data_output": True, "timeout": 1}},
        {"outputs": [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]},
    ],
    ids=str,
)
def test_what_asks_for_more_is_not_plain(members: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not plain"):
        read_twice(serving(TWO), *asked(ONE, "FP32", **members))


def test_what_has_not_come_before_is_not_plain() -> None:
    body, length = asked(ONE, "FP32")
    decoder = oip.Decoder("m", None)
    with pytest.raises(ValueError, match="not known"):
        decoder.plain(length).read(body)
    decoder(body, Timings(0.0), length)
    with pytest.raises(ValueError, match="not known"):
        decoder.plain(length).read(body.replace(b'"x"', b'"y"'))
    with pytest.raises(ValueError, match="not known"):
        decoder.plain(length).read(body[:-1])


def test_bytes_that_may_be_wrong_are_looked_at_in_each_body() -> None:
    model = serving(signature("BOOL", (-1, 2)))
    with pytest.raises(ValueError, match="not plain"):
        read_twice(model, *asked(np.ones((1, 2), np.bool_), "BOOL"))


def test_inputs_that_nobody_has_held_against_the_signature_are_not_plain() -> None:
    body, length = asked(ONE, "FP32")
    decoder = oip.Decoder("m", None)
    decoder(body, Timings(0.0), length)
    plain = decoder.plain(length).read(body)
    with pytest.raises(ValueError, match="not known to be right"):
        rows_of(serving(TWO), plain)


@pytest.mark.parametrize(
    ("array", "datatype", "members"),
    [
        (np.ones((1, 3), np.float32), "FP32", {}),
        (np.ones((0, 2), np.float32), "FP32", {}),
        (np.ones(2, np.float32), "FP32", {}),
        (np.ones((1, 2), np.int32), "INT32", {}),
        (ONE, "FP32", {"outputs": [{"name": "z"}]}),
    ],
    ids=["shape", "no rows", "rank", "datatype", "output"],
)
def test_what_the_model_would_refuse_is_not_plain(array: Array, datatype: str, members: dict[str, Any]) -> None:
    model = serving(TWO)
    _, plain = read_twice(model, *asked(array, datatype, **members))
    with pytest.raises(ValueError, match="not known to be right"):
        rows_of(model, plain)


def test_a_new_signature_is_held_against_the_inputs_anew() -> None:
    model = serving(TWO)
    _, plain = read_twice(model, *asked(ONE, "FP32"))
    assert rows_of(model, plain) == [ONE.tobytes()]
    layout, body = plain.inputs
    other = TWO.model_copy(update={"inputs": (InputSpec(name="x", datatype="FP32", shape=(-1, 3)),)})
    layout.read(body, other)
    with pytest.raises(ValueError, match="not known to be right"):
        rows_of(serving(other), plain)


@pytest.mark.parametrize(
    "given",
    [
        Signature(inputs=(*TWO.inputs, InputSpec(name="z", datatype="FP32", shape=(-1,))), outputs=TWO.outputs),
        Signature(inputs=TWO.inputs, outputs=(OutputSpec(name="y", datatype="BYTES", shape=(-1,)),)),
        Signature(inputs=(InputSpec(name="x", datatype="FP32", shape=(-1, -1)),), outputs=TWO.outputs),
    ],
    ids=["two inputs", "texts", "free dimension"],
)
def test_not_every_models_requests_can_be_plain(given: Signature) -> None:
    assert plain_rows(serving(given)) is None
