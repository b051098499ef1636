"""Export: the net as one ONNX file, and the gates that it has to pass."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import ModelProto
from torch import nn
from torch.export import Dim

from app.contract.tensors import InputSpec, OutputSpec, TensorSpec
from training.compress import graph, lossless, prepare
from training.compress.fuse import batch_norms
from training.errors import ExportRefused

OPSET = 20
"""Attention needs no later one: it is exported as its products and its softmax."""

BATCHES = (1, 2, 3, 8, 17)
"""Of real runs: one row may take another path than several, and no size may be that of the example."""
SIZES = (32, 64)
"""Of free axes other than the batch, in the example and in real runs."""


def export(net: nn.Module, input: InputSpec, output: OutputSpec, folder: Path, sizes: tuple[int, int] = SIZES) -> Path:
    """Writes model.onnx, weights inside, with free axes where the specs have -1 and nothing about its maker's machine.

    Weights that a recovery or a fold has made tiny are zero in it, for some CPUs take 30 times as long over them.

    Free axes are "batch", then "dim1" and so on by their place in the input. Where there are others than the batch,
    real runs try `sizes`, which must be right for the net (lengths, or sides of a picture). The same weights give the
    same bytes. Raises ExportRefused where the graph is not what the specs declare, GraphRefused for weights of more
    than 2 GB.
    """
    graph.require_one_file(sum(tensor.nbytes for tensor in chain(net.parameters(), net.buffers())))
    net = deepcopy(net)
    lossless.flush_denormals(net)
    model = to_onnx(net, input, output, sizes)
    prepare.flush_denormals(model)  # once more, for the exporter folds what was left to fold
    graph.strip(model)
    require_exported(model, input, output, len(batch_norms(net)))
    require_runs(model, input, output, sizes)
    return graph.save(model, folder / graph.FILENAME)


def to_onnx(net: nn.Module, input: InputSpec, output: OutputSpec, sizes: tuple[int, int] = SIZES) -> ModelProto:
    """The net in ONNX, as PyTorch's exporter leaves it. Raises ExportRefused where that cannot read the net."""
    # Two rows, because the exporter takes a size of 1 for a constant.
    example = torch.from_numpy(_zeros(input, 2, sizes))
    free = {axis: Dim(f"dim{axis}" if axis else "batch") for axis, size in enumerate(input.shape) if size == -1}
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                net,
                (example,),
                input_names=[input.name],
                output_names=[output.name],
                dynamic_shapes=(free,),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        cause = error.__cause__ or error  # it says what is wrong, the error itself only in which step
        reason = str(cause).partition("\n")[0]
        raise ExportRefused(f"net: expected one that PyTorch exports, got {type(cause).__name__}: {reason}") from error
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # it warns that torchvision is missing, which nothing here needs
    try:
        with warnings.catch_warnings():
            # PyTorch 2.13 copies its own deprecated class during an export; no call of ours can avoid it.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        registration.setLevel(level)


def require_exported(model: ModelProto, input: InputSpec, output: OutputSpec, batch_norms: int = 0) -> None:
    """Holds a graph against its specs: valid ONNX, opset, signature, no notes, and no more BatchNorms than the net has
    left. Raises ExportRefused."""
    onnx.checker.check_model(model, full_check=True)
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    if opsets != {"": OPSET}:
        raise ExportRefused(f"opset: expected {OPSET} of ONNX alone, got {opsets}")
    require_tensors(model.graph.input, input)
    require_tensors(model.graph.output, output)
    left = graph.batch_norms(model)
    if left > batch_norms:
        raise ExportRefused(
            f"nodes: expected at most {batch_norms} BatchNormalization, for the others fold, got {left}"
        )
    if kept := {field for _, field in graph.notes(model)}:
        raise ExportRefused(f"notes: expected none, got {', '.join(sorted(kept))}")


def require_tensors(declared: Any, spec: TensorSpec) -> None:
    """Raises ExportRefused unless the graph declares this one tensor, with free dimensions where the spec has -1."""
    got = [(value.name, value.type.tensor_type.elem_type, _shape(value)) for value in declared]
    expected = (spec.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.datatype.numpy)), spec.shape)
    if got != [expected]:
        raise ExportRefused(f"{spec.name}: expected (name, ONNX type, shape) {expected}, got {got}")


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim)


def require_runs(model: ModelProto, input: InputSpec, output: OutputSpec, sizes: tuple[int, int] = SIZES) -> None:
    """Runs a graph at several sizes of its free axes, which it may declare and not have. Raises ExportRefused.

    Zeros go in, for they are right for any net, also as the number of a word; what comes out must have as many rows.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what a run raises is told below
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for rows in BATCHES:
        for others in (sizes, sizes[::-1])[: 1 + (-1 in input.shape[1:])]:
            rows_in = _zeros(input, rows, others)
            try:
                (answers,) = session.run(None, {input.name: rows_in})
            except Exception as error:  # ORT raises several unrelated classes; each means that it cannot run this size
                raise ExportRefused(f"{input.name}: expected a run at {list(rows_in.shape)}, got: {error}") from error
            if not output.matches(answers.shape) or len(answers) != rows:
                raise ExportRefused(
                    f"{output.name}: expected {rows} rows of {list(output.shape)} for {list(rows_in.shape)}, got "
                    f"{list(answers.shape)}"
                )


def _zeros(spec: TensorSpec, rows: int, sizes: tuple[int, int]) -> np.ndarray[Any, Any]:
    """An input whose free axes have unequal sizes, for the exporter may take equal ones for one."""
    others = [sizes[place % 2] if size == -1 else size for place, size in enumerate(spec.shape[1:])]
    return np.zeros((rows, *others), dtype=spec.datatype.numpy)
