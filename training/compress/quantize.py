"""Quantise: int8 weights and int8 activations in a plain ONNX graph; the runtime fuses them when it loads the graph.

B. Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018, arXiv:1712.05877.
"""

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import QDQQuantizer, QuantType, quantize_dynamic

from training.compress import graph, ranges, tiles
from training.compress.ranges import Ranges
from training.errors import QuantisationRefused, UnknownPreset

LEAST_OPSET = 13
"""The first in which QuantizeLinear has a scale for each channel."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that multiply; the others are quantised so that int8 values pass through without a detour by floats."""

FEW_CHANNELS = 4
"""A convolution that reads fewer, as the first one over a picture does, stays float. In int8 the runtime first unfolds
what it reads into columns, which takes longer here than the products save (docs/decisions/0012-compile.md)."""

FOLLOWING = frozenset({"Relu", "Clip"})
"""Operators that the runtime runs as part of the convolution before them."""

PASSING = frozenset({"Relu", "Clip", "MaxPool", "Flatten", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators through which the runtime moves a quantisation from their output to their input."""

MADE_BY_QUANTISING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
"""Tells ONNX Runtime that the graph is prepared. Otherwise it advises to optimise it first, which would bind it to
this CPU; `graph.save` removes the mark."""


@dataclass(frozen=True, kw_only=True)
class StaticPreset:
    """Ranges fixed by calibration, U8S8: uint8 activations, int8 weights with a scale for each channel.

    `reduce_range` keeps weights to 7 bits. CPUs without VNNI add pairs of products in 16 bits, which 8-bit weights
    overflow silently; `requires` names the CPU flags (as /proc/cpuinfo has them) without which answers are wrong, or
    the preset is pointless. `tiles` asks for training/compress/tiles.py.
    """

    name: str
    reduce_range: bool
    requires: tuple[str, ...] = ()
    tiles: bool = False
    batchable: bool = True
    operators: tuple[str, ...] = (
        *("Conv", "ConvTranspose", "Gemm", "MatMul"),
        *("Add", "Concat", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"),
        *("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"),
    )


@dataclass(frozen=True, kw_only=True)
class DynamicPreset:
    """int8 weights, and activations whose range is found anew in each run.

    That range is the whole batch's, so a row's answer depends on its neighbours: not batchable. Convolutions stay
    float: in the runtime their dynamic form is no faster.
    """

    name: str
    requires: tuple[str, ...] = ()
    batchable: bool = False
    operators: tuple[str, ...] = ("Gemm", "MatMul")


Preset = StaticPreset | DynamicPreset

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        StaticPreset(name="portable", reduce_range=True),
        StaticPreset(name="vnni", reduce_range=False, requires=("avx512_vnni",)),
        StaticPreset(name="amx", reduce_range=False, requires=("amx_int8", "avx512_vnni"), tiles=True),
        DynamicPreset(name="dynamic"),
    )
}


def find(name: str) -> Preset:
    """The preset of this name. Raises UnknownPreset, which lists those that exist."""
    try:
        return PRESETS[name]
    except KeyError:
        raise UnknownPreset(f"expected one of: {', '.join(sorted(PRESETS))}; got {name!r}") from None


def quantize(
    path: Path, preset: Preset, calibration: NDArray[Any], destination: Path, keep_float: Collection[str] = ()
) -> Path:
    """Writes the quantised graph to `destination`; the same graph and rows give the same bytes.

    `calibration`: [rows, ...] as the graph's one input wants them, from the training split; `keep_float` names nodes
    as `Quantizer.nodes` lists them. Raises QuantisationRefused where there is nothing to quantise, or it cannot be
    right; GraphRefused for a graph that is not as it was exported.
    """
    return Quantizer.calibrated(path, preset, calibration).write(destination, keep_float)


class Quantizer:
    """One float graph, one preset and the ranges of the graph's tensors: quantises as often as wanted.

    `model` is the float graph; `nodes` maps the name of each node that can be quantised to its operator, in order, with
    a static preset all but the convolutions over few channels; `ranges` are looked at by static presets alone.
    """

    def __init__(self, path: Path, preset: Preset, ranges: Ranges) -> None:
        self.preset = preset
        self.ranges = ranges
        self.model = graph.load(path)
        require_float(self.model)
        name_nodes(self.model)
        self._over_few = over_few_channels(self.model) if isinstance(preset, StaticPreset) else frozenset[str]()
        self.nodes = {
            node.name: node.op_type
            for node in self.model.graph.node
            if node.op_type in preset.operators and node.name not in self._over_few
        }
        if not WEIGHTED & set(self.nodes.values()):
            raise QuantisationRefused(f"{path.name}: expected one of {', '.join(sorted(WEIGHTED))}, got none")
        self._tiled = tiles.large(self.model) if isinstance(preset, StaticPreset) and preset.tiles else ()

    @classmethod
    def calibrated(cls, path: Path, preset: Preset, calibration: NDArray[Any]) -> Self:
        """One with the ranges that the calibration rows show; none for a preset that finds them in each run."""
        quantizer = cls(path, preset, {})
        require_rows(quantizer.model, calibration)
        if isinstance(preset, StaticPreset):
            quantizer.ranges = ranges.seen(quantizer.model, preset.operators, calibration)
        return quantizer

    def write(self, destination: Path, keep_float: Collection[str] = ()) -> Path:
        """Writes the quantised graph, some of its nodes left as they are. Raises QuantisationRefused for an unknown
        node, or where none with weights is left."""
        if unknown := set(keep_float) - self.nodes.keys():
            raise QuantisationRefused(f"keep_float: expected nodes of the graph, got {', '.join(sorted(unknown))}")
        if not any(kind in WEIGHTED for name, kind in self.nodes.items() if name not in keep_float):
            raise QuantisationRefused("keep_float: expected some node with weights to be quantised, got none")
        return graph.save(self._quantised(sorted({*keep_float, *self._over_few})), destination)

    def _quantised(self, keep_float: list[str]) -> ModelProto:
        source = ModelProto()
        source.CopyFrom(self.model)
        if isinstance(self.preset, DynamicPreset):
            return dynamic(source, self.preset, keep_float)
        quantizer = QDQQuantizer(
            source,
            per_channel=True,
            reduce_range=self.preset.reduce_range,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges.as_tensors(self.ranges),
            nodes_to_quantize=[],
            nodes_to_exclude=keep_float,
            op_types_to_quantize=list(self.preset.operators),
            extra_options={},
        )
        with refusing():
            quantizer.quantize_model()
        quantizer.model.topological_sort()
        quantised: ModelProto = quantizer.model.model
        hold_floats(quantised)
        tiles.tile(quantised, self._tiled)
        return quantised


@contextmanager
def refusing() -> Iterator[None]:
    """Inside, whatever ONNX Runtime's quantiser raises becomes a QuantisationRefused that says so."""
    try:
        yield
    except Exception as error:  # it stumbles over some plain graphs, such as a transposed convolution in groups
        raise QuantisationRefused(
            f"graph: expected one that ONNX Runtime can quantise, got {type(error).__name__}: {error}"
        ) from error


def over_few_channels(model: ModelProto) -> frozenset[str]:
    """The names of the convolutions that read fewer than FEW_CHANNELS, and of what the runtime runs with them."""
    weights = {weight.name: weight.dims for weight in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    found = set()
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in weights:
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            if weights[node.input[1]][1] * groups < FEW_CHANNELS:
                found.add(node.name)
        elif node.op_type in FOLLOWING and (maker := makers.get(node.input[0])) and maker.name in found:
            found.add(node.name)
    return frozenset(found)


def hold_floats(model: ModelProto) -> None:
    """Sees to it that a layer with float weights stays float when the graph is loaded.

    ONNX Runtime (WeightBiasQuantization, since 1.21) takes a Conv or Gemm between int8 neighbours, perhaps with a Relu
    or Clip behind, for one that was forgotten, and quantises its weights itself: to 8 bits, one scale for all channels.
    It brings the int8 up to the layer through operators that pass values on, and no further than any other: so a sum
    of one stands there, a copy of no other effect.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    weights = {weight.name for weight in model.graph.initializer}
    for quantized in [node for node in model.graph.node if node.op_type == "QuantizeLinear"]:
        maker = makers.get(quantized.input[0])
        while maker is not None and maker.op_type in PASSING:
            maker = makers.get(maker.input[0])
        if maker is not None and maker.op_type in WEIGHTED and maker.input[1] in weights:
            held = f"{quantized.input[0]}_float"
            copy = onnx.helper.make_node("Sum", [quantized.input[0]], [held], name=held)
            model.graph.node.insert(list(model.graph.node).index(quantized), copy)
            quantized.input[0] = held


def dynamic(model: ModelProto, preset: DynamicPreset, keep_float: list[str]) -> ModelProto:
    """The graph with int8 weights. They are kept to 7 bits, for the CPU flags are unknown when a graph is written."""
    onnx.helper.set_model_props(model, PREPARED)
    # Each Gemm becomes a MatMul of this name before the nodes are chosen.
    excluded = [*keep_float, *(f"{name}_MatMul" for name in keep_float)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "dynamic.onnx")
        with refusing():
            quantize_dynamic(
                model,
                path,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
            )
        quantised: ModelProto = onnx.load(path)
    return quantised


def require_float(model: ModelProto) -> None:
    """Raises GraphRefused or QuantisationRefused unless the graph is as it was exported, and float."""
    graph.require_plain(model)
    if done := MADE_BY_QUANTISING & {node.op_type for node in graph.nodes(model.graph)}:
        raise QuantisationRefused(f"nodes: expected a float graph, got {', '.join(sorted(done))}")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < LEAST_OPSET:
        raise QuantisationRefused(f"opset: expected at least {LEAST_OPSET}, got {opset}; export the net again")


def require_rows(model: ModelProto, calibration: NDArray[Any]) -> None:
    """Raises QuantisationRefused unless the rows fit the graph's one input."""
    if len(model.graph.input) != 1:
        raise QuantisationRefused(f"inputs: expected one, got {len(model.graph.input)}")
    declared = model.graph.input[0].type.tensor_type
    dims = [dim.dim_value or -1 for dim in declared.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type)
    fits = calibration.ndim == len(dims) and all(
        dim in (-1, size) for dim, size in zip(dims[1:], calibration.shape[1:], strict=True)
    )
    if not (fits and len(calibration) and calibration.dtype == dtype):
        raise QuantisationRefused(
            f"calibration: expected rows of {dtype} {dims}, got {calibration.dtype} {list(calibration.shape)}"
        )


def name_nodes(model: ModelProto) -> None:
    """Gives a name of its own to each node that has none, or another's."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
        taken.add(node.name)
