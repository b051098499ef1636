"""Prepare: a stranger's .onnx file as the steps behind want it, without the network that it came from."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from training.compress import graph
from training.compress.quantize import WEIGHTED


def prepare(path: Path, destination: Path) -> Path:
    """Writes the graph as one file, its BatchNorms folded into the convolutions before them, its notes gone, and zeros
    in place of tiny weights.

    Nothing is converted: operators and opset stay. A BatchNorm that does not stand right behind a convolution of its
    own is left to the runtime. Raises GraphRefused for what is no valid ONNX graph, or was optimised for one CPU.
    """
    model = graph.load(path)
    fold_batch_norms(model)
    flush_denormals(model)
    return graph.save(model, destination)


def fold_batch_norms(model: ModelProto) -> int:
    """Folds every BatchNormalization that follows a Conv of its own into it; returns how many.

    The same arithmetic as `fuse.fold`, on the graph's constants.
    """
    constants = _constants(model)
    readers = Counter(name for node in graph.nodes(model.graph) for name in node.input)
    readers.update(output.name for output in model.graph.output)
    makers = {name: node for node in model.graph.node for name in node.output}
    folded = 0
    for norm in [node for node in model.graph.node if node.op_type == "BatchNormalization"]:
        convolution = makers.get(norm.input[0])
        if convolution is not None and _can_be_folded(norm, convolution, constants, readers):
            _fold(model, norm, convolution, constants)
            folded += 1
    _drop_unread(model)
    return folded


def flush_denormals(model: ModelProto) -> None:
    """Makes every weight and bias below TINY zero, in place, as `lossless.flush_denormals` does those of a net.

    Other constants stay: what is added so that nobody divides by zero may be as small.
    """
    constants = _constants(model)
    read = {name for node in graph.nodes(model.graph) if node.op_type in WEIGHTED for name in node.input}
    for name in read & constants.keys():
        array = constants[name]
        if array.dtype.kind == "f" and (tiny := (array != 0) & (abs(array) < graph.TINY)).any():
            _set(model, name, np.where(tiny, array.dtype.type(0), array))


def _constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    """Weights by name, without those that a caller may replace because they are inputs too."""
    inputs = {value.name for value in model.graph.input}
    return {
        weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer if weight.name not in inputs
    }


def _can_be_folded(
    norm: NodeProto, convolution: NodeProto, constants: dict[str, NDArray[Any]], readers: Counter[str]
) -> bool:
    if convolution.op_type != "Conv" or len(norm.output) != 1 or readers[norm.input[0]] != 1:
        return False
    weights = convolution.input[1:]
    return (
        all(name in constants for name in (*weights, *norm.input[1:]))
        # Another reader of the same weights wants them as they are.
        and all(readers[name] == 1 for name in weights)
        and not any(attribute.name == "training_mode" and attribute.i for attribute in norm.attribute)
    )


def _fold(model: ModelProto, norm: NodeProto, convolution: NodeProto, constants: dict[str, NDArray[Any]]) -> None:
    gamma, beta, mean, variance = (constants[name] for name in norm.input[1:])
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), 1e-5)
    scale = gamma / np.sqrt(variance + np.float32(epsilon))
    weight = constants[convolution.input[1]]
    bias = constants[convolution.input[2]] if len(convolution.input) > 2 else np.zeros_like(mean)
    folded = {
        convolution.input[1]: weight * scale.reshape(-1, *[1] * (weight.ndim - 1)),
        f"{norm.output[0]}.bias": (bias - mean) * scale + beta,
    }
    for name, array in folded.items():
        _set(model, name, array.astype(weight.dtype))
    convolution.input[:] = [convolution.input[0], *folded]
    convolution.output[0] = norm.output[0]
    model.graph.node.remove(norm)


def _set(model: ModelProto, name: str, array: NDArray[Any]) -> None:
    weights = {weight.name: weight for weight in model.graph.initializer}
    weight = weights.get(name) or model.graph.initializer.add()
    weight.CopyFrom(numpy_helper.from_array(array, name))


def _drop_unread(model: ModelProto) -> None:
    """Removes the constants that nothing reads any more, and what was noted of the tensors that are gone."""
    read = {name for node in graph.nodes(model.graph) for name in node.input}
    read.update(output.name for output in model.graph.output)
    inputs = {value.name for value in model.graph.input}
    for field, keep in ((model.graph.initializer, read | inputs), (model.graph.value_info, read)):
        for unread in [entry for entry in field if entry.name not in keep]:
            field.remove(unread)
