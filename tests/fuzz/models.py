"""The model repository that is fuzzed: small graphs of every kind of input that there is."""

import os
import shutil
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from app.contract.tensors import InputSpec, OutputSpec
from tests import graphs
from tests.publishing import publish

COMMITTED = Path(__file__).parent.parent.parent / "models" / "digits"
LABELLED = OutputSpec(name="y", datatype="FP32", shape=(-1, 3), labels=("a", "b", "c"), activation="softmax")
PADDED = InputSpec(name="ids", datatype="INT64", shape=(-1, -1), pad_value=0)

COPIES: dict[str, tuple[int, graphs.Shape]] = {
    "words": (TensorProto.STRING, ("N", 2)),
    "halves": (TensorProto.FLOAT16, ("N", 2)),
    "brains": (TensorProto.BFLOAT16, ("N", 2)),
    "flags": (TensorProto.BOOL, ("N", 3)),
    "bytes": (TensorProto.INT8, ("N", 2, 2)),
    "large": (TensorProto.UINT64, ("N", "T")),
    "doubles": (TensorProto.DOUBLE, ("N",)),
}
"""Models that give x back as y."""
EXACT = frozenset({*COPIES, "simple", "sums"})
"""Models whose answers are the same to the bit, however they are run."""
DEFAULT = "linear"
NAMES = frozenset({*EXACT, DEFAULT, "digits", "outer"})


def row_sums(path: Path) -> Path:
    """ids INT64 [N, T] -> y [N]: zeros at the end of a row change nothing."""
    nodes = [helper.make_node("ReduceSum", ["ids", "axes"], ["y"], keepdims=0)]
    inputs, outputs = (
        [graphs.tensor("ids", ["N", "T"], TensorProto.INT64)],
        [graphs.tensor("y", ["N"], TensorProto.INT64)],
    )
    return graphs.save(path, nodes, inputs, outputs, axes=np.array([1], np.int64))


def make(folder: Path, cache: Path) -> Path:
    """Writes the repository into an empty folder."""
    shutil.copytree(COMMITTED / "1", folder / "digits" / "1")  # one version: pinned or not, a request means it
    linear = graphs.linear(folder.parent / "made" / "linear.onnx")
    publish(folder / DEFAULT / "1", linear, cache, outputs=(LABELLED,))
    sums = row_sums(folder.parent / "made" / "sums.onnx")
    publish(folder / "sums" / "1", sums, cache, graphs.POOLED, inputs=(PADDED,))
    graphs.sum_and_difference(folder / "simple" / "model.onnx")
    graphs.outer_sum(folder / "outer" / "model.onnx")
    for name, (kind, shape) in COPIES.items():
        graphs.identity(folder / name / "model.onnx", kind, shape)
    (folder / "deployments.toml").write_text(f'default_model = "{DEFAULT}"\n[defaults]\ninstances = 1\nthreads = 1\n')
    for path in [folder, *folder.rglob("*")]:  # the server waits for what was written just now to be written whole
        os.utime(path, (0, 0))
    return folder
