"""The ranges that a graph is quantised by: seen on every row, kept to the last bit."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.training.compress.test_quantize import CALIBRATION, PORTABLE
from tests.training.graphs import CHANNELS, images, residual, written
from training.compress import ranges
from training.compress.quantize import PRESETS, Quantizer, quantize
from training.compress.ranges import Batches
from training.errors import QuantisationRefused
from training.measure.answers import graph_answers, open_graph


def test_calibration_sees_every_row_and_can_start_again() -> None:
    reader = Batches("image", images(70))
    sizes = []
    for _ in range(2):
        while batch := reader.get_next():
            sizes.append(len(batch["image"]))
        assert reader.get_next() is None
        reader.rewind()
    assert sizes == [32, 32, 6, 32, 32, 6]


def test_they_are_the_smallest_and_largest_values_of_all_rows(tmp_path: Path) -> None:
    plain = written(residual(), tmp_path / "model.onnx")
    found = Quantizer.calibrated(plain, PORTABLE, CALIBRATION).ranges
    answers = graph_answers(open_graph(plain), CALIBRATION)
    (output,) = (output.name for output in open_graph(plain).get_outputs())
    assert found[output] == pytest.approx((answers.min(), answers.max()), rel=1e-6)


def most_held(rows: int) -> int:
    """Bytes of memory, at most, while the ranges of so many rows are found."""
    model, calibration = residual(), images(rows)
    tracemalloc.start()
    try:
        ranges.seen(model, PRESETS["portable"].operators, calibration)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_more_rows_need_no_more_memory() -> None:
    few, many = most_held(64), most_held(1024)
    activations_of_one_layer = (1024 - 64) * CHANNELS * 8 * 8 * 4
    assert many - few < activations_of_one_layer / 10


def test_a_graph_is_quantised_again_by_what_was_kept_whatever_rows_this_cpu_would_see(tmp_path: Path) -> None:
    plain = written(residual(), tmp_path / "model.onnx")
    published = quantize(plain, PORTABLE, CALIBRATION, tmp_path / "int8.onnx").read_bytes()
    found = Quantizer.calibrated(plain, PORTABLE, CALIBRATION).ranges
    ranges.write(found, tmp_path)
    assert ranges.read(tmp_path) == found
    assert Quantizer(plain, PORTABLE, ranges.read(tmp_path)).write(tmp_path / "again.onnx").read_bytes() == published
    # One bit in one range is another graph: this is what another CPU's rounding would do.
    name, (lowest, highest) = max(found.items(), key=lambda item: item[1][1])
    moved = {**found, name: (lowest, float(np.nextafter(np.float32(highest), np.float32(np.inf))))}
    assert Quantizer(plain, PORTABLE, moved).write(tmp_path / "moved.onnx").read_bytes() != published


def test_a_preset_that_finds_them_in_each_run_keeps_none(tmp_path: Path) -> None:
    plain = written(residual(), tmp_path / "model.onnx")
    assert Quantizer.calibrated(plain, PRESETS["dynamic"], CALIBRATION).ranges == {}


def test_a_folder_without_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuantisationRefused, match=r"ranges\.json: expected the ranges .* got no such file"):
        ranges.read(tmp_path)
