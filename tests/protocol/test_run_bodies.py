"""The bodies of a run's answers, made together: each is what the ordinary way writes for the request by itself."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.tensors import DataType, OutputSpec, Signature
from app.errors import NotRepresentable
from app.protocol import native
from app.protocol.messages import Array, Outputs, ServedModel, Share, Timings
from tests.protocol.bodies import JSON_DATATYPES, native_request, signature
from tests.protocol.test_round_trip import arrays
from tests.protocol.test_shares import ROWS, cuts

TIMINGS = Timings(received=1.0, decoded=1.25, started=1.5, computed=3.0)
QUEUE, TOTAL = 250.0, 2000.0
"""The same, as bodies have them, in milliseconds."""


def of(outputs: dict[str, Array], **labels: tuple[str, ...]) -> ServedModel:
    specs = tuple(
        OutputSpec(name=name, datatype=DataType.FP32, shape=(-1, *array.shape[1:]), labels=labels.get(name))
        for name, array in outputs.items()
    )
    return ServedModel("m", 3, Signature(inputs=signature().inputs, outputs=specs), "CPUExecutionProvider")


def run_of(outputs: dict[str, Array]) -> Outputs:
    return Outputs(outputs, started=TIMINGS.started, computed=TIMINGS.computed)


def singly(model: ServedModel, outputs: Outputs, start: int, stop: int) -> Any:
    request = native_request({"inputs": []})
    request.served, request.timings = model, TIMINGS
    return json.loads(native.encode(request, Share(outputs, start, stop)).body)


def together(model: ServedModel, outputs: Outputs, start: int, stop: int) -> Any:
    return body_of(native.RunBodies(model, outputs), start, stop)


def body_of(bodies: native.RunBodies, start: int, stop: int) -> Any:
    body, _ = bodies.of(None, start, stop, QUEUE, TOTAL)
    return json.loads(body)


@pytest.mark.parametrize("datatype", [datatype for datatype in JSON_DATATYPES if datatype != "BYTES"])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_each_is_what_the_ordinary_way_writes(datatype: DataType, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype, ROWS))
    run, model = run_of({"y": array}), of({"y": array})
    try:
        bodies = native.RunBodies(model, run)
    except NotRepresentable:
        assert not array.size or not np.isfinite(array).all()
        return
    for start, stop in cuts(data, len(array)):
        assert body_of(bodies, start, stop) == singly(model, run, start, stop)


def test_several_outputs_with_names_of_all_kinds_and_predictions() -> None:
    outputs: dict[str, Array] = {
        'a "%b" 100 %': np.arange(8, dtype=np.float32).reshape(4, 2),
        "scores": np.array([[1, 2, 0], [3, 1, 2], [0, 0, 1], [9, 9, 9]], np.float32),
        "flat": np.arange(4, dtype=np.int64),
    }
    model = of(outputs, scores=("x", "%d", "z"))
    for start, stop in ((0, 1), (1, 3), (3, 4), (0, 4)):
        body = together(model, run_of(outputs), start, stop)
        assert body == singly(model, run_of(outputs), start, stop)
        assert len(body["predictions"]) == stop - start


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1], [np.nan]], np.float32),
        np.array([[1], [-np.inf]], np.float64),
        np.zeros((2, 0), np.float32),
        np.array([["a"], ["b"]], object),
        np.zeros((2, 1), "V2"),
    ],
    ids=["NaN", "infinite", "empty", "strings", "BF16"],
)
def test_what_does_not_fall_into_rows_of_json_is_refused(array: Array) -> None:
    with pytest.raises(NotRepresentable):
        native.RunBodies(of({"y": array}), run_of({"y": array}))


def test_an_output_of_another_rank_than_it_declares_is_refused() -> None:
    model = of({"y": np.ones((2, 3), np.float32)})
    with pytest.raises(NotRepresentable):
        native.RunBodies(model, run_of({"y": np.ones((2, 3, 1), np.float32)}))
