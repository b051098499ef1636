"""Quantised graphs: close to the float one, plain, the same to the byte; and what they cannot be is refused."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

import training
from tests.training.graphs import images, residual, written
from training.compress import graph
from training.compress import quantize as module
from training.compress.quantize import PRESETS, Quantizer, StaticPreset, find, over_few_channels, quantize
from training.errors import GraphRefused, QuantisationRefused, UnknownPreset
from training.measure.answers import graph_answers, open_graph
from training.measure.coverage import coverage
from training.measure.host import missing

CHECKOUT = Path(training.__file__).parent.parent
CALIBRATION = images(40)
PORTABLE = PRESETS["portable"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(residual(), tmp_path_factory.mktemp("graphs") / "model.onnx")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for every preset."""
    return written(residual(channels=96), tmp_path_factory.mktemp("graphs") / "model.onnx")


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(("colours", "floats"), [(1, 1), (3, 1), (4, 0)])
def test_a_convolution_over_the_colours_of_a_picture_stays_float(colours: int, floats: int, tmp_path: Path) -> None:
    plain, pictures = written(residual(colours), tmp_path / "model.onnx"), images(40, colours=colours)
    quantised = quantize(plain, PORTABLE, pictures, tmp_path / "int8.onnx")
    ops = coverage(quantised).ops
    assert (ops.get("Conv", 0), ops["QLinearConv"]) == (floats, 3 - floats)
    names = {weight.name for weight in onnx.load(quantised).graph.initializer}
    assert ("pixels_scale" in names) == (floats == 0), "a picture that goes into floats is not quantised"
    assert error(quantised, plain, images(30, seed=9, colours=colours)) < 0.1


def test_a_convolution_of_one_channel_in_each_group_reads_them_all() -> None:
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]> graph (float[batch, 8, 6, 6] x) => (float[batch, 8, 6, 6] y)
        { [deep] c = Conv <group = 8, pads = [1, 1, 1, 1]> (x, w)  [cut] y = Relu (c) }"""
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((8, 1, 3, 3), np.float32), "w"))
    assert over_few_channels(model) == frozenset()


def error(path: Path, exact: Path, rows: NDArray[np.generic]) -> float:
    """Largest difference of answers, as a share of the largest answer."""
    expected, got = (graph_answers(open_graph(file), rows) for file in (exact, path))
    return float(abs(got - expected).max() / abs(expected).max())


@pytest.mark.parametrize("name", ["portable", "dynamic"])
def test_unseen_rows_are_answered_nearly_alike(name: str, plain: Path, tmp_path: Path) -> None:
    quantised = quantize(plain, PRESETS[name], CALIBRATION, tmp_path / "int8.onnx")
    assert 1e-6 < error(quantised, plain, images(30, seed=9)) < 0.1


def test_a_static_graph_holds_its_weights_in_int8_with_a_scale_for_each_channel(plain: Path, tmp_path: Path) -> None:
    model = onnx.load(quantize(plain, PORTABLE, CALIBRATION, tmp_path / "int8.onnx"))
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    assert weights["w2_quantized"].dtype == np.int8
    assert weights["w2_scale"].shape == (16,)
    assert abs(weights["w2_quantized"].astype(int)).max() <= 64, "a reduced range is 7 bits"
    assert weights["r1_zero_point"].dtype == np.uint8
    assert "Relu" not in [node.op_type for node in model.graph.node], "the range of uint8 ends at zero instead"


@pytest.mark.parametrize("name", PRESETS)
def test_a_published_graph_is_plain_silent_and_free_in_its_batch(name: str, wide: Path, tmp_path: Path) -> None:
    quantised = quantize(wide, PRESETS[name], CALIBRATION, tmp_path / "int8.onnx")
    model = graph.load(quantised)
    assert {node.domain for node in graph.nodes(model.graph)} == {""}
    assert not list(graph.notes(model))
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    for rows in (1, 2, 3, 8):
        assert graph_answers(open_graph(quantised), images(rows)).shape == (rows, 10)
    for weight in model.graph.initializer:
        weight.ClearField("raw_data")  # three bytes of a weight may spell ".py" by chance
    for path in (str(CHECKOUT), tempfile.gettempdir(), "/home", ".py", 'File "'):
        assert path.encode() not in model.SerializeToString()


@pytest.mark.parametrize("name", PRESETS)
def test_equal_graphs_and_rows_give_equal_bytes_in_every_process(name: str, wide: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", CALIBRATION)
    here = quantize(wide, PRESETS[name], CALIBRATION, tmp_path / "here.onnx")
    code = f"""
import numpy as np
from pathlib import Path
from training.compress.quantize import PRESETS, quantize
folder = Path({str(tmp_path)!r})
quantize(Path({str(wide)!r}), PRESETS[{name!r}], np.load(folder / "rows.npy"), folder / "there.onnx")
"""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}  # sets are walked in another order
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
    assert here.read_bytes() == (tmp_path / "there.onnx").read_bytes()


def test_the_folder_of_the_graph_is_not_written_to(plain: Path, tmp_path: Path) -> None:
    quantize(plain, PORTABLE, CALIBRATION, tmp_path / "int8.onnx")
    assert [file.name for file in plain.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(("name", "kept"), [("portable", "conv2"), ("dynamic", "second")])
def test_a_node_that_is_kept_float_has_its_float_weights(name: str, kept: str, tmp_path: Path) -> None:
    model = residual()
    model.graph.node[-1].output[0] = "hidden"
    model.graph.initializer.append(numpy_helper.from_array(np.eye(10, dtype=np.float32), "w5"))
    model.graph.node.append(onnx.helper.make_node("Gemm", ["hidden", "w5"], ["logits"], name="second"))
    plain = written(model, tmp_path / "model.onnx")
    weight = {node.name: node.input[1] for node in model.graph.node if len(node.input) > 1}[kept]

    def weights(keep_float: tuple[str, ...]) -> set[str]:
        written = quantize(plain, PRESETS[name], CALIBRATION, tmp_path / "int8.onnx", keep_float)
        return {entry.name for entry in onnx.load(written).graph.initializer}

    assert weight not in weights(())
    assert weight in weights((kept,))


def test_the_last_calibration_row_counts(plain: Path, tmp_path: Path) -> None:
    dark = np.full_like(CALIBRATION, 119)
    bright = dark.copy()
    bright[-1] = 255
    files = [quantize(plain, PORTABLE, rows, tmp_path / f"{rows.max()}.onnx") for rows in (dark, bright)]
    scales = [
        {weight.name: numpy_helper.to_array(weight) for weight in onnx.load(file).graph.initializer}["pixels_scale"]
        for file in files
    ]
    assert scales[1] == pytest.approx((135 + 1) / 64 / 255)
    assert scales[0] < scales[1] / 10


def test_one_row_alone_is_answered_as_among_others_unless_the_preset_says_that_it_is_not(
    plain: Path, tmp_path: Path
) -> None:
    rows = images(8)
    rows[1:] //= 8
    alone = {}
    for name in ("portable", "dynamic"):
        session = open_graph(quantize(plain, PRESETS[name], CALIBRATION, tmp_path / f"{name}.onnx"))
        together = graph_answers(session, rows)
        alone[name] = bool(
            (together[1:] == np.concatenate([graph_answers(session, row[None]) for row in rows[1:]])).all()
        )
    assert alone == {name: PRESETS[name].batchable for name in alone} == {"portable": True, "dynamic": False}


def saturating(folder: Path) -> Path:
    """A convolution whose products, of large activations and large weights, overflow 16 bits in pairs."""
    model = parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]>
        graph (float[batch, 16, 4, 4] x) => (float[batch, 16, 4, 4] y) { [conv] y = Conv (x, w) }"""
    )
    weight = np.random.default_rng(3).uniform(0.8, 1.0, (16, 16, 1, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return written(model, folder / "model.onnx")


@pytest.mark.skipif(not missing(("avx512_vnni",)) or not missing(("avx_vnni",)), reason="VNNI adds up in 32 bits")
@pytest.mark.skipif(bool(missing(("avx2",))), reason="another CPU has other kernels")
def test_full_range_weights_saturate_on_a_cpu_without_vnni_and_reduced_ones_do_not(tmp_path: Path) -> None:
    plain = saturating(tmp_path)
    rows = np.random.default_rng(4).uniform(0.8, 1.0, (20, 16, 4, 4)).astype(np.float32)
    portable, full = (quantize(plain, PRESETS[name], rows, tmp_path / f"{name}.onnx") for name in ("portable", "vnni"))
    assert error(portable, plain, rows) < 0.02
    assert error(full, plain, rows) > 0.2


def test_presets_say_what_they_require() -> None:
    assert {name: preset.requires for name, preset in PRESETS.items()} == {
        "portable": (),
        "vnni": ("avx512_vnni",),
        "amx": ("amx_int8", "avx512_vnni"),
        "dynamic": (),
    }
    assert find("vnni") == replace(StaticPreset(name="vnni", reduce_range=False), requires=("avx512_vnni",))
    with pytest.raises(UnknownPreset, match="expected one of: amx, dynamic, portable, vnni; got 'int8'"):
        find("int8")


def older(model: ModelProto) -> None:
    model.opset_import[0].version = 11


def fused(model: ModelProto) -> None:
    model.opset_import.add(domain="com.microsoft", version=1)
    model.graph.node[4].domain, model.graph.node[4].op_type = "com.microsoft", "FusedConv"


def weightless(model: ModelProto) -> None:
    del model.graph.node[4:]
    model.graph.node.append(onnx.helper.make_node("Flatten", ["pixels"], ["logits"]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 256


@pytest.mark.parametrize(
    ("spoil", "refusal", "finding"),
    [
        (older, QuantisationRefused, "opset: expected at least 13, got 11"),
        (fused, GraphRefused, "FusedConv"),
        (weightless, QuantisationRefused, "expected one of Conv, ConvTranspose, Gemm, MatMul, got none"),
    ],
)
def test_a_graph_that_cannot_be_quantised_is_refused(
    spoil: Callable[[ModelProto], None], refusal: type[Exception], finding: str, tmp_path: Path
) -> None:
    model = residual()
    spoil(model)
    with pytest.raises(refusal, match=finding):
        quantize(written(model, tmp_path / "model.onnx"), PORTABLE, CALIBRATION, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


TRANSPOSED = """<ir_version: 10, opset_import: ["" : 20]>
graph (float[batch, 4, 5] x) => (float[batch, 4, 7] y) { [grouped] y = ConvTranspose <group = 2> (x, w, b) }"""
DENSE = """<ir_version: 10, opset_import: ["" : 20]>
graph (float[batch, 4] x) => (float[batch, 3] y) { [dense] y = Gemm (x, w, b) }"""


@pytest.mark.parametrize(
    ("text", "weight", "bias", "finding"),
    [
        (TRANSPOSED, (4, 2, 3), (4,), "ValueError: operands could not be broadcast"),
        (DENSE, (4, 3), (1, 3), "ValueError: The truth value of an array"),
    ],
    ids=["a transposed convolution in groups", "a bias of two axes"],
)
def test_a_graph_that_the_quantiser_stumbles_over_is_refused(
    text: str, weight: tuple[int, ...], bias: tuple[int, ...], finding: str, tmp_path: Path
) -> None:
    model = parser.parse_model(text)
    chance = np.random.default_rng(5)
    for name, shape in {"w": weight, "b": bias}.items():
        model.graph.initializer.append(numpy_helper.from_array(chance.random(shape, np.float32), name))
    dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    rows = chance.random((20, *dims), np.float32)
    plain = written(model, tmp_path / "model.onnx")
    with pytest.raises(QuantisationRefused, match=f"expected one that ONNX Runtime can quantise, got {finding}"):
        quantize(plain, PORTABLE, rows, tmp_path / "int8.onnx")
    assert not (tmp_path / "int8.onnx").exists()


def test_what_the_dynamic_quantiser_stumbles_over_is_refused(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise KeyError("w4")

    monkeypatch.setattr(module, "quantize_dynamic", stumble)
    with pytest.raises(QuantisationRefused, match="expected one that ONNX Runtime can quantise, got KeyError: 'w4'"):
        quantize(plain, PRESETS["dynamic"], CALIBRATION, tmp_path / "int8.onnx")


def test_a_quantised_graph_is_not_quantised_again(plain: Path, tmp_path: Path) -> None:
    once = quantize(plain, PORTABLE, CALIBRATION, tmp_path / "int8.onnx")
    with pytest.raises(QuantisationRefused, match="expected a float graph, got DequantizeLinear, QuantizeLinear"):
        quantize(once, PORTABLE, CALIBRATION, tmp_path / "twice.onnx")


@pytest.mark.parametrize(
    "rows", [CALIBRATION[:0], CALIBRATION.astype(np.float32), CALIBRATION[:, :4], CALIBRATION[0]], ids=lambda r: r.shape
)
def test_rows_that_do_not_fit_are_refused(rows: NDArray[np.generic], plain: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantisationRefused, match=r"calibration: expected rows of uint8 \[-1, 8, 8, 4\], got"):
        quantize(plain, PORTABLE, rows, tmp_path / "int8.onnx")


def test_rows_that_lead_to_no_number_are_refused(tmp_path: Path) -> None:
    rows = np.full((2, 16, 4, 4), np.inf, dtype=np.float32)
    with pytest.raises(QuantisationRefused, match="calibration: expected finite values"):
        quantize(saturating(tmp_path), PORTABLE, rows, tmp_path / "int8.onnx")


def test_nodes_that_are_not_there_and_all_of_them_cannot_be_kept_float(plain: Path, tmp_path: Path) -> None:
    quantizer = Quantizer.calibrated(plain, PORTABLE, CALIBRATION)
    with pytest.raises(QuantisationRefused, match="expected nodes of the graph, got conv9"):
        quantizer.write(tmp_path / "int8.onnx", ["conv9"])
    with pytest.raises(QuantisationRefused, match="expected some node with weights to be quantised, got none"):
        quantizer.write(tmp_path / "int8.onnx", list(quantizer.nodes))


def test_nodes_without_a_name_get_one_each(tmp_path: Path) -> None:
    model = residual()
    for node in model.graph.node:
        node.name = "" if node.op_type == "Conv" else "same"
    quantizer = Quantizer.calibrated(written(model, tmp_path / "model.onnx"), PORTABLE, CALIBRATION)
    assert len(quantizer.nodes) == 12
    first, *_ = (name for name, kind in quantizer.nodes.items() if kind == "Conv")
    kept = onnx.load(quantizer.write(tmp_path / "int8.onnx", [first]))
    assert {"w1", "w2_quantized", "w3_quantized"} <= {weight.name for weight in kept.graph.initializer}
