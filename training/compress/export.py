"""Export: the net as one ONNX file, and the gates that it has to pass."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import nn
from torch.export import Dim

from app.contract.tensors import InputSpec, OutputSpec, TensorSpec
from training.errors import ExportRefused

FILENAME = "model.onnx"
OPSET = 20
NOTES = ("doc_string", "metadata_props")
"""Fields in which exporters leave file paths, source lines and stack traces."""


def export(net: nn.Module, input: InputSpec, output: OutputSpec, folder: Path) -> Path:
    """Writes model.onnx, weights inside, with a free batch axis and nothing about the machine that made it.

    The same weights give the same bytes. Raises ExportRefused where the graph is not what the specs declare.
    """
    model = to_onnx(net, input, output)
    strip(model)
    require_exported(model, input, output)
    path = folder / FILENAME
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def to_onnx(net: nn.Module, input: InputSpec, output: OutputSpec) -> ModelProto:
    """The net in ONNX, as PyTorch's exporter leaves it."""
    # Two rows, because the exporter takes a size of 1 for a constant.
    example = torch.from_numpy(np.zeros((2, *input.shape[1:]), dtype=input.datatype.numpy))
    with _quiet_exporter():
        program = torch.onnx.export(
            net,
            (example,),
            input_names=[input.name],
            output_names=[output.name],
            dynamic_shapes=({0: Dim("batch")},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
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


def strip(model: ModelProto) -> None:
    """Removes every note from the model, at any depth."""
    for message, field in list(notes(model)):
        message.ClearField(field)


def notes(message: Any) -> Iterator[tuple[Any, str]]:
    """(message, field) of every note in a protobuf message and in those inside it."""
    for field, value in message.ListFields():
        if field.name in NOTES:
            yield message, field.name
        elif field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from notes(part)


def require_exported(model: ModelProto, input: InputSpec, output: OutputSpec) -> None:
    """Holds a graph against its specs: valid ONNX, opset, signature, no BatchNorm, no notes. Raises ExportRefused."""
    onnx.checker.check_model(model, full_check=True)
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    if opsets != {"": OPSET}:
        raise ExportRefused(f"opset: expected {OPSET} of ONNX alone, got {opsets}")
    require_tensors(model.graph.input, input)
    require_tensors(model.graph.output, output)
    if any(node.op_type == "BatchNormalization" for node in model.graph.node):
        raise ExportRefused("nodes: expected every BatchNormalization to be folded, got one that is left")
    if left := {field for _, field in notes(model)}:
        raise ExportRefused(f"notes: expected none, got {', '.join(sorted(left))}")


def require_tensors(declared: Any, spec: TensorSpec) -> None:
    """Raises ExportRefused unless the graph declares this one tensor, with free dimensions where the spec has -1."""
    got = [(value.name, value.type.tensor_type.elem_type, _shape(value)) for value in declared]
    expected = (spec.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.datatype.numpy)), spec.shape)
    if got != [expected]:
        raise ExportRefused(f"{spec.name}: expected (name, ONNX type, shape) {expected}, got {got}")


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.type.tensor_type.shape.dim)
