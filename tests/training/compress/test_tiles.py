"""Convolutions for AMX tiles: the same answers to the bit, by another kernel; and nothing but the large ones."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from tests.training.graphs import images, residual, written
from training.compress import tiles
from training.compress.quantize import PRESETS, Quantizer, quantize
from training.errors import QuantisationRefused
from training.measure.answers import graph_answers, open_graph
from training.measure.host import missing

CALIBRATION = images(40)
WIDE = residual(channels=96)


def zero_points(model: ModelProto) -> dict[str, set[int]]:
    """The values of the zero points of the convolutions' int8 weights, by convolution."""
    makers = {name: node for node in model.graph.node for name in node.output}
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in makers]
    return {node.name: set(tensors[makers[node.input[1]].input[2]].tolist()) for node in convolutions}


def unfused_answers(path: Path, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the standard computes them, in floats, without any kernel for int8."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    answers: NDArray[np.float32] = session.run(None, {"image": rows})[0]
    return answers


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A graph by the preset vnni, and by amx."""
    plain = written(WIDE, tmp_path / "model.onnx")
    direct, tiled = (quantize(plain, PRESETS[name], CALIBRATION, tmp_path / f"{name}.onnx") for name in ("vnni", "amx"))
    return direct, tiled


def test_large_convolutions_get_weights_one_lower_which_are_the_same_numbers(pair: tuple[Path, Path]) -> None:
    direct, tiled = pair
    assert zero_points(onnx.load(direct)) == {"conv1": {0}, "conv2": {0}, "conv3": {0}}
    assert zero_points(onnx.load(tiled)) == {"conv1": {0}, "conv2": {-1}, "conv3": {-1}}
    rows = images(30, seed=9)
    assert (unfused_answers(tiled, rows) == unfused_answers(direct, rows)).all()


@pytest.mark.skipif(bool(missing(("avx512_vnni",))), reason="without VNNI both overflow, each in its own way")
def test_the_other_kernel_answers_alike_to_the_bit(pair: tuple[Path, Path]) -> None:
    direct, tiled = pair
    rows = images(30, seed=9)
    assert (graph_answers(open_graph(tiled), rows) == graph_answers(open_graph(direct), rows)).all()


def test_a_large_convolution_that_stays_float_is_left_alone(tmp_path: Path) -> None:
    plain = written(WIDE, tmp_path / "model.onnx")
    written_graph = Quantizer.calibrated(plain, PRESETS["amx"], CALIBRATION).write(tmp_path / "int8.onnx", ["conv2"])
    model = onnx.load(written_graph)
    assert zero_points(model) == {"conv1": {0}, "conv3": {-1}}
    kept, given = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}["w2"]
        for graph in (model, WIDE)
    )
    assert (kept == given).all()


def test_weights_that_convolutions_share_are_lowered_once(tmp_path: Path) -> None:
    shared = ModelProto()
    shared.CopyFrom(WIDE)
    next(node for node in shared.graph.node if node.name == "conv3").input[1] = "w2"
    plain = written(shared, tmp_path / "model.onnx")
    direct, tiled = (quantize(plain, PRESETS[name], CALIBRATION, tmp_path / f"{name}.onnx") for name in ("vnni", "amx"))
    assert zero_points(onnx.load(tiled)) == {"conv1": {0}, "conv2": {-1}, "conv3": {-1}}
    rows = images(30, seed=9)
    assert (unfused_answers(tiled, rows) == unfused_answers(direct, rows)).all()


def test_a_net_without_large_convolutions_has_nothing_to_gain(tmp_path: Path) -> None:
    with pytest.raises(QuantisationRefused, match="tiles: expected a convolution of at least 768 products, got none"):
        quantize(written(residual(), tmp_path / "model.onnx"), PRESETS["amx"], CALIBRATION, tmp_path / "int8.onnx")


@pytest.mark.parametrize(("channels", "count"), [(80, 0), (85, 0), (86, 2)])
def test_what_counts_is_the_products_of_an_output(channels: int, count: int) -> None:
    model = residual(channels=channels)
    if count:
        assert tiles.large(model) == {"conv2", "conv3"}
    else:
        with pytest.raises(QuantisationRefused):
            tiles.large(model)
