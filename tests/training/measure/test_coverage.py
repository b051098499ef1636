"""The graph that runs is read: what was fused, and how much of it is int8."""

from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser
from onnxruntime.quantization import QuantType, quantize_static

from tests.training.graphs import images, residual, written
from training.compress.quantize import PRESETS, quantize
from training.compress.ranges import Batches
from training.errors import GraphRefused
from training.measure.coverage import coverage

CALIBRATION = images(24)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(residual(), tmp_path_factory.mktemp("graphs") / "model.onnx")


def test_a_float_graph_runs_fused_and_not_in_int8(plain: Path) -> None:
    found = coverage(plain)
    assert found.int8 == 0.0
    assert found.nodes_before == 15
    assert found.nodes_after == sum(found.ops.values())
    assert "Relu" not in found.ops
    assert found.fused["Conv+Relu"] == 3
    assert set(found.fused) <= {"Conv+Relu", "Conv+Add+Relu"}


def test_a_batch_norm_that_was_left_is_folded_by_the_runtime(tmp_path: Path) -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        graph (float[batch, 16, 4, 4] x) => (float[batch, 16, 4, 4] y)
        { c = Conv (x, w)  n = BatchNormalization (c, one, one, one, one)  y = Relu (n) }"""
    )
    weights = {node.name: node for node in residual().graph.initializer}
    kernel = numpy_helper.to_array(weights["w2"])[:, :, 1:2, 1:2]
    model.graph.initializer.append(numpy_helper.from_array(kernel.copy(), "w"))
    model.graph.initializer.append(numpy_helper.from_array(kernel[:, 0, 0, 0] ** 2 + 1, "one"))
    found = coverage(written(model, tmp_path / "model.onnx"))
    assert found.nodes_before == 3
    assert "BatchNormalization" not in found.ops
    assert found.fused == {"Conv+Relu": 1}


def test_a_quantised_graph_runs_in_int8(plain: Path, tmp_path: Path) -> None:
    found = coverage(quantize(plain, PRESETS["portable"], CALIBRATION, tmp_path / "int8.onnx"))
    assert found.int8 == 1.0
    assert found.ops["QLinearConv"] == 3
    assert not {"Conv", "Gemm", "Relu", "Add"} & set(found.ops)


@pytest.mark.parametrize(
    "kept", [["conv1", "relu1"], ["conv2", "relu2"], ["conv2"], ["conv3", "relu3"], ["dense"]], ids=" ".join
)
def test_what_is_kept_float_runs_in_float_also_between_int8_neighbours(
    kept: list[str], plain: Path, tmp_path: Path
) -> None:
    found = coverage(quantize(plain, PRESETS["portable"], CALIBRATION, tmp_path / "int8.onnx", kept))
    assert found.int8 == 0.75
    assert found.fused == ({} if kept == ["dense"] else {"Conv+Relu": 1})


def test_the_runtime_would_quantise_it_by_itself(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.compress.quantize.hold_floats", lambda _: None)
    undone = quantize(plain, PRESETS["portable"], CALIBRATION, tmp_path / "int8.onnx", ["conv2", "relu2"])
    assert coverage(undone).int8 == 1.0, "ONNX Runtime leaves floats alone: drop hold_floats?"


def test_dynamic_int8_is_the_dense_layer_alone(plain: Path, tmp_path: Path) -> None:
    found = coverage(quantize(plain, PRESETS["dynamic"], CALIBRATION, tmp_path / "int8.onnx"))
    assert found.int8 == 0.25


def test_a_graph_that_was_optimised_before_it_was_quantised_shows_it(plain: Path, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "extended.onnx")
    ort.InferenceSession(plain, options, providers=["CPUExecutionProvider"])
    assert "FusedConv" in [node.op_type for node in onnx.load(tmp_path / "extended.onnx").graph.node]

    with pytest.raises(GraphRefused, match=r"com\.microsoft\.FusedConv"):
        quantize(tmp_path / "extended.onnx", PRESETS["portable"], CALIBRATION, tmp_path / "refused.onnx")
    quantize_static(
        tmp_path / "extended.onnx",
        tmp_path / "int8.onnx",
        Batches("image", CALIBRATION),
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Add", "MaxPool", "Gemm"],
        nodes_to_exclude=["dense"],
    )
    assert coverage(tmp_path / "int8.onnx").int8 == 0.0
