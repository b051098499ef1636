"""Nodes go back to float worst first, no more than needed, and a bound that cannot be kept is said to be so."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.training.graphs import images, residual, written
from training.compress import sensitivity
from training.compress.quantize import PRESETS, Quantizer, StaticPreset
from training.compress.sensitivity import blocks, quantize_within, rank
from training.errors import QuantisationRefused
from training.measure.answers import graph_answers, open_graph
from training.measure.coverage import coverage

PORTABLE = PRESETS["portable"]
CALIBRATION = images(24)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The residual graph with a channel that is always zero and that conv3 reads with huge weights: its answers are the
    same, but the steps of int8 are too wide for conv3's other weights."""
    model = residual()
    weights = {weight.name: weight for weight in model.graph.initializer}

    def change(name: str, place: tuple[int | slice, ...], value: float) -> None:
        array = numpy_helper.to_array(weights[name]).copy()
        array[place] = value
        weights[name].CopyFrom(numpy_helper.from_array(array, name))

    for layer in ("1", "2"):
        change(f"w{layer}", (0,), 0.0)
        change(f"b{layer}", (0,), -1.0)
    change("w3", (slice(None), 0), 500.0)
    return written(model, tmp_path_factory.mktemp("graphs") / "model.onnx")


def closeness(exact: Path) -> sensitivity.Judge:
    """Scores a graph by how near its answers lie to another's; 1 is equal."""
    rows = images(16, seed=5)
    expected = graph_answers(open_graph(exact), rows)

    def judge(path: Path) -> float:
        change = np.linalg.norm(graph_answers(open_graph(path), rows) - expected)
        return 1.0 - float(change / np.linalg.norm(expected))

    return judge


def test_the_block_that_int8_harms_ranks_first(fragile: Path) -> None:
    first, second, *_ = rank(fragile, Quantizer.calibrated(fragile, PORTABLE, CALIBRATION), CALIBRATION)
    assert "conv3" in first.nodes
    assert first.damage > 10 * second.damage


def test_only_the_block_that_does_harm_goes_back_to_float(fragile: Path, tmp_path: Path) -> None:
    judge = closeness(fragile)
    found = quantize_within(fragile, PORTABLE, CALIBRATION, judge, 0.9, tmp_path / "int8.onnx")
    assert found.kept_float == ("conv3", "relu3", "pool", "mean", "flat")
    assert found.score == judge(found.path) >= 0.9
    names = {weight.name for weight in onnx.load(found.path).graph.initializer}
    assert {"w1_quantized", "w2_quantized", "w3", "w4_quantized"} <= names
    assert coverage(found.path).int8 == 0.75


def test_what_is_good_at_once_is_left_alone(fragile: Path, tmp_path: Path) -> None:
    judged = []

    def judge(path: Path) -> float:
        judged.append(path)
        return 1.0

    found = quantize_within(fragile, PORTABLE, CALIBRATION, judge, 0.9, tmp_path / "int8.onnx")
    assert (found.kept_float, found.blocks, judged) == ((), (), [tmp_path / "int8.onnx"])


def test_a_bound_that_the_float_graph_misses_is_refused(fragile: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantisationRefused, match=r"float graph: expected a score of at least 0\.9, got 0\.5"):
        quantize_within(fragile, PORTABLE, CALIBRATION, lambda _: 0.5, 0.9, tmp_path / "int8.onnx")
    assert not list(tmp_path.iterdir())


def test_a_bound_that_only_the_float_graph_keeps_is_refused(fragile: Path, tmp_path: Path) -> None:
    judged = []

    def judge(path: Path) -> float:
        judged.append(path)
        return float(path == fragile)

    with pytest.raises(QuantisationRefused, match=r"portable: expected a score of at least 0\.9, got 0 with 1 of 4"):
        quantize_within(fragile, PORTABLE, CALIBRATION, judge, 0.9, tmp_path / "int8.onnx")
    assert len(judged) == 5, "int8, float, then one, two and three of four blocks in float"
    assert not list(tmp_path.iterdir())


def test_a_score_that_is_no_number_is_not_good(fragile: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantisationRefused, match=r"float graph: expected a score of at least 0\.9, got nan"):
        quantize_within(fragile, PORTABLE, CALIBRATION, lambda _: float("nan"), 0.9, tmp_path / "int8.onnx")


def test_nothing_is_judged_on_a_cpu_that_the_preset_does_not_run_on(fragile: Path, tmp_path: Path) -> None:
    elsewhere = StaticPreset(name="elsewhere", reduce_range=False, requires=("no_such_flag",))
    with pytest.raises(QuantisationRefused, match="elsewhere: expected a CPU with no_such_flag"):
        quantize_within(fragile, elsewhere, CALIBRATION, lambda _: 1.0, 0.9, tmp_path / "int8.onnx")


def test_blocks_hold_every_node_once_and_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {"t": "Transpose"}
    for number in range(7):
        nodes |= {f"c{number}": "Conv", f"r{number}": "Relu"}
    whole = list(blocks(nodes))
    assert whole[0] == ("t", "c0", "r0")
    assert whole[1:] == [(f"c{number}", f"r{number}") for number in range(1, 7)]
    monkeypatch.setattr(sensitivity, "MOST_BLOCKS", 3)
    few = list(blocks(nodes))
    assert [len(block) for block in few] == [7, 6, 2]
    assert [name for block in few for name in block] == list(nodes)
