"""A stranger's graph keeps its answers, and loses its BatchNorms where that is right."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

from tests.training.graphs import residual, written
from training.compress.graph import TINY
from training.compress.prepare import fold_batch_norms, prepare
from training.errors import GraphRefused
from training.measure.answers import graph_answers, open_graph

HEAD = """<ir_version: 10, opset_import: ["" : 20]> graph (float[batch, 3, 6, 6] x) => (float[batch, 4, k, l] y) {"""
NORM = "BatchNormalization <epsilon = 0.01> (c, gamma, beta, mean, variance)"
ROWS: NDArray[np.float32] = np.random.default_rng(1).random((5, 3, 6, 6), dtype=np.float32)


def normalised(operators: str) -> ModelProto:
    model = parser.parse_model(f"{HEAD} {operators} }}")
    chance = np.random.default_rng(2)
    shapes = {"w": (4, 3, 3, 3), "b": (4,), "gamma": (4,), "beta": (4,), "mean": (4,), "variance": (4,)}
    read = {name for node in model.graph.node for name in node.input}
    for name, shape in shapes.items():
        if name in read:
            array = chance.random(shape, dtype=np.float32) + np.float32(0.5)
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


@pytest.mark.parametrize("convolution", ["Conv (x, w)", "Conv (x, w, b)"], ids=["without bias", "with bias"])
def test_the_answers_stay_and_the_batch_norm_goes(convolution: str, tmp_path: Path) -> None:
    path = written(normalised(f"c = {convolution} y = {NORM}"), tmp_path / "model.onnx")
    prepared = prepare(path, tmp_path / "prepared.onnx")
    model = onnx.load(prepared)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert len(model.graph.initializer) == 2, "what the BatchNorm held is gone"
    expected, got = (graph_answers(open_graph(file), ROWS) for file in (path, prepared))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "operators",
    [
        f"c = Conv (x, w)  n = {NORM}  y = Add (c, n)",
        f"c = Conv (x, w)  d = Conv (x, w)  n = {NORM}  y = Add (d, n)",
        f"z = Conv (x, w)  c = Relu (z)  y = {NORM}",
    ],
    ids=["its raw output is read", "its weights are read", "something stands between"],
)
def test_a_batch_norm_that_cannot_be_folded_is_left_to_the_runtime(operators: str, tmp_path: Path) -> None:
    path = written(normalised(operators), tmp_path / "model.onnx")
    assert fold_batch_norms(onnx.load(path)) == 0
    prepared = prepare(path, tmp_path / "prepared.onnx")
    expected, got = (graph_answers(open_graph(file), ROWS) for file in (path, prepared))
    np.testing.assert_array_equal(got, expected)


def test_weights_that_are_tiny_or_that_the_fold_makes_so_are_zero_and_other_constants_stay(tmp_path: Path) -> None:
    model = normalised(f"z = Conv (x, w)  m = Mul (z, least)  c = Conv (m, v, b)  y = {NORM}")
    chance = np.random.default_rng(3)
    arrays = {"v": chance.random((4, 4, 1, 1), dtype=np.float32), "least": np.array([1e-38], np.float32)}
    for weight in model.graph.initializer:
        arrays.setdefault(weight.name, numpy_helper.to_array(weight).copy())
    arrays["w"][0, 0, 0] = [1e-38, -1e-31, 1e-29]
    arrays["gamma"][2] = 1e-35
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    prepared = onnx.load(prepare(written(model, tmp_path / "model.onnx"), tmp_path / "prepared.onnx"))
    left = {weight.name: numpy_helper.to_array(weight) for weight in prepared.graph.initializer}
    assert left["w"][0, 0, 0].tolist() == [0, 0, np.float32(1e-29)]
    assert left["v"][2].tolist() == [[[0]]] * 4
    assert left["least"] == np.float32(1e-38)
    assert not any(((array != 0) & (abs(array) < TINY)).any() for name, array in left.items() if name != "least")


def test_notes_go_and_the_rest_stays(tmp_path: Path) -> None:
    model = residual()
    clean = model.SerializeToString(deterministic=True)
    model.graph.node[3].doc_string = 'File "/home/anna/net.py", line 3'
    prepared = prepare(written(model, tmp_path / "model.onnx"), tmp_path / "prepared.onnx")
    assert prepared.read_bytes() == clean


def test_a_graph_that_was_optimised_elsewhere_is_refused(tmp_path: Path) -> None:
    model = residual()
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.node[4].domain, model.graph.node[4].op_type = "com.microsoft", "FusedConv"
    with pytest.raises(GraphRefused, match="FusedConv"):
        prepare(written(model, tmp_path / "model.onnx"), tmp_path / "prepared.onnx")
