"""Ranges: between which values each tensor of a float graph lies, on the calibration rows.

The smallest and the largest value seen. Entropy and percentile ranges are not offered: they hold every histogram in
memory. A version keeps its ranges, because another CPU rounds the same sums otherwise: from rows it would find ranges
that differ in the last bit, and so another graph.
"""

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator
from onnxruntime.quantization.calibrate import TensorsData

from training.errors import QuantisationRefused

FILENAME = "ranges.json"
BATCH = 32

Ranges = Mapping[str, tuple[float, float]]
"""By tensor the smallest and the largest value, both float32."""


def seen(model: ModelProto, operators: Collection[str], calibration: NDArray[Any]) -> Ranges:
    """The ranges of every float tensor beside the operators, over all rows.

    Raises QuantisationRefused where a tensor takes a value that is not finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "float.onnx")
        onnx.save(model, path)
        calibrator = create_calibrator(
            path, list(operators), str(Path(folder, "ranges.onnx")), CalibrationMethod.MinMax
        )
        calibrator.collect_data(Batches(model.graph.input[0].name, calibration))
        found = {name: value.range_value for name, value in calibrator.compute_data().items()}
    for name, ends in found.items():
        if not np.isfinite(ends).all():
            raise QuantisationRefused(f"calibration: expected finite values of {name}, got {ends}")
    return {name: (lowest.item(), highest.item()) for name, (lowest, highest) in found.items()}


def as_tensors(ranges: Ranges) -> TensorsData:
    """The ranges as ONNX Runtime's quantiser wants them."""
    tensors = {
        name: (np.array(lowest, np.float32), np.array(highest, np.float32))
        for name, (lowest, highest) in ranges.items()
    }
    return TensorsData(CalibrationMethod.MinMax, tensors)


def write(ranges: Ranges, folder: Path) -> None:
    """Keeps the ranges in a folder, to the last bit."""
    (folder / FILENAME).write_text(json.dumps(ranges, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> Ranges:
    """The ranges that `write` has kept. Raises QuantisationRefused where there are none."""
    path = folder / FILENAME
    if not path.is_file():
        raise QuantisationRefused(f"{FILENAME}: expected the ranges that the graph was quantised by, got no such file")
    return {name: (lowest, highest) for name, (lowest, highest) in json.loads(path.read_text("utf-8")).items()}


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """Calibration rows in batches, from the first to the last; `rewind` starts again."""

    def __init__(self, name: str, rows: NDArray[Any]) -> None:
        self._name = name
        self._rows = rows
        self.rewind()

    def rewind(self) -> None:
        """Back to the first row. ONNX Runtime does not do so by itself: a second pass would see no row at all."""
        self._batches: Iterator[NDArray[Any]] = iter(
            self._rows[start : start + BATCH] for start in range(0, len(self._rows), BATCH)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch as the runtime wants it; None behind the last."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}
