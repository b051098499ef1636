"""Plain ONNX Runtime: what everybody's graph answers without a server, and whether the server answers the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from app.contract.tensors import DataType
from app.protocol.messages import DTYPES, Array

TOLERANCE = 1e-5
WORDS = ("", "a", "naïve ☃", 'with "quotes" and \\', "two\nlines", "x" * 300)


class Plain:
    """A session as `onnxruntime.InferenceSession(path)` makes it."""

    def __init__(self, graph: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.inputs = self._session.get_inputs()
        self.outputs = self._session.get_outputs()
        self.kinds = {node.name: DTYPES[DataType.from_onnx(node.type)] for node in self.outputs}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        answers = self._session.run(None, dict(inputs))
        return dict(zip((node.name for node in self.outputs), map(np.asarray, answers), strict=True))

    def made_up(self, rows: int, random: np.random.Generator) -> dict[str, Array]:
        """Inputs of so many rows as the graph's signature allows them: dimensions of one name have one size, other free
        ones any."""
        sizes: dict[Any, int] = {}
        return {node.name: _values(node, rows, sizes, random) for node in self.inputs}


def assert_same(got: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Fails unless the server gave every output: numbers within 1e-5 of plain ONNX Runtime's, the rest exactly."""
    assert list(got) == list(expected)
    for name, array in expected.items():
        answer = got[name]
        assert answer.dtype == array.dtype, name
        if array.size == 0:  # JSON's empty lists have lost the dimensions inside them
            assert answer.size == 0, name
            assert answer.shape == array.shape[: answer.ndim], name
        elif array.dtype.kind == "f":
            assert answer.shape == array.shape, name
            np.testing.assert_allclose(answer, array, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)
        else:
            np.testing.assert_array_equal(answer, array, err_msg=name, strict=True)


def _values(node: Any, rows: int, sizes: dict[Any, int], random: np.random.Generator) -> Array:
    shape = []
    for axis, dim in enumerate(node.shape):
        if isinstance(dim, int):
            shape.append(dim)
        else:
            free = rows if axis == 0 and not sizes else int(random.integers(1, 6))
            shape.append(sizes.setdefault(dim or (node.name, axis), free))
    datatype = DataType.from_onnx(node.type)
    if datatype is DataType.BYTES:
        return np.array(random.choice(WORDS, shape), object)
    if datatype in (DataType.FP16, DataType.FP32, DataType.FP64):
        return np.asarray(random.standard_normal(shape)).astype(DTYPES[datatype])
    return np.asarray(random.integers(0, 2, shape)).astype(DTYPES[datatype])
