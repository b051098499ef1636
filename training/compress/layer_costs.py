"""What a net of given widths costs: the sum over its layers, in milliseconds of ONNX Runtime or in MACs.

Multiply-accumulates are not milliseconds: ONNX Runtime computes in blocks of 8 or 16 channels, so that 50 channels
take as long as 64. So each layer is timed by itself, at the widths that a search asks for.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from training.compress.evaluating import evaluating, first_argument
from training.compress.groups import Member, PruningGroup


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """A convolution or a dense layer, with all that its time depends on besides the batch.

    `operator` is ONNX's: Conv, ConvTranspose or Gemm. `positions` is how many vectors of a row a dense layer is applied
    to. The rest is a convolution's: the input's spatial `size`, and ONNX's attributes; `pads` has all starts, then all
    ends.
    """

    operator: str
    inputs: int
    outputs: int
    positions: int = 1
    size: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    blocks: int = 1
    """A convolution's groups: each output reads inputs / blocks."""

    def resized(self, inputs: int, outputs: int) -> "LayerShape":
        """The same layer with other widths; a depthwise convolution stays one, with as many inputs as outputs."""
        if self.blocks > 1 and self.blocks == self.inputs == self.outputs:
            return replace(self, inputs=outputs, outputs=outputs, blocks=outputs)
        return replace(self, inputs=inputs, outputs=outputs)


Measure = Callable[[LayerShape], float]
"""What one call of a layer costs, in whatever unit the budget has."""

Widths = Mapping[str, int]
"""Units left, by group name."""


def macs_of(shape: LayerShape) -> float:
    """Multiply-accumulates of a layer for one row. A `Measure`."""
    return float(shape.inputs // shape.blocks * shape.outputs * prod(shape.kernel) * _places(shape))


def _places(shape: LayerShape) -> int:
    """How often a layer's kernel is applied to one row."""
    if shape.operator == "ConvTranspose":
        return prod(shape.size)
    places = shape.positions
    for axis, (size, kernel) in enumerate(zip(shape.size, shape.kernel, strict=True)):
        padded = size + shape.pads[axis] + shape.pads[axis + len(shape.size)]
        places *= (padded - shape.dilations[axis] * (kernel - 1) - 1) // shape.strides[axis] + 1
    return places


def macs(net: nn.Module, example: Tensor) -> float:
    """Multiply-accumulates of all convolutions and dense layers for one row. `example` has at least one."""
    return sum(macs_of(shape) for _, shape in layers(net, example))


def net_cost(
    net: nn.Module, example: Tensor, groups: Sequence[PruningGroup], measure: Measure
) -> Callable[[Widths], float]:
    """The cost of the net as a function of its groups' widths. A group that is not named has all its units.

    Counted are convolutions and dense layers, once for every time that a forward pass calls them; what lies between
    them (pooling, additions, the products of an attention) is not. Where the units of a group take up different
    numbers of a layer's places, those that go are taken for average ones.
    """
    called = layers(net, example)
    makes = _shares(groups, lambda group: group.producers)
    reads = _shares(groups, lambda group: group.readers)

    def cost(widths: Widths) -> float:
        gone = {group.name: group.units - widths.get(group.name, group.units) for group in groups}

        def left(features: int, shares: Mapping[str, float]) -> int:
            return features - round(sum(share * gone[name] for name, share in shares.items()))

        return sum(
            measure(shape.resized(left(shape.inputs, reads.get(layer, {})), left(shape.outputs, makes.get(layer, {}))))
            for layer, shape in called
        )

    return cost


def _shares(
    groups: Sequence[PruningGroup], side: Callable[[PruningGroup], tuple[Member, ...]]
) -> dict[str, dict[str, float]]:
    """For each layer, how many of its features a unit of each group is."""
    shares: dict[str, dict[str, float]] = {}
    for group in groups:
        for member in side(group):
            features = sum(len(places) for places in member.index)
            of_layer = shares.setdefault(member.layer, {})
            of_layer[group.name] = of_layer.get(group.name, 0.0) + features / group.units
    return shares


def layers(net: nn.Module, example: Tensor) -> list[tuple[str, LayerShape]]:
    """(name, shape) of every convolution and dense layer, in the order in which a forward pass calls them."""
    called: list[tuple[str, LayerShape]] = []
    with ExitStack() as hooks:
        for name, module in net.named_modules():
            if isinstance(module, _ConvNd | nn.Linear):

                def hook(module: Any, read: tuple[Any, ...], named: dict[str, Any], name: str = name) -> None:
                    called.append((name, _shape(module, first_argument(read, named), len(example))))

                hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        with evaluating(net), torch.no_grad():
            net(example)
    return called


def _shape(module: Any, read: Tensor, rows: int) -> LayerShape:
    if isinstance(module, nn.Linear):
        positions = read.numel() // module.in_features // rows
        return LayerShape(operator="Gemm", inputs=module.in_features, outputs=module.out_features, positions=positions)
    return LayerShape(
        operator="ConvTranspose" if module.transposed else "Conv",
        inputs=module.in_channels,
        outputs=module.out_channels,
        size=tuple(read.shape[2:]),
        kernel=module.kernel_size,
        strides=module.stride,
        pads=_pads(module),
        dilations=module.dilation,
        blocks=module.groups,
    )


def _pads(module: _ConvNd) -> tuple[int, ...]:
    if module.padding == "valid":
        return (0,) * 2 * len(module.kernel_size)
    if module.padding == "same":
        both = [dilation * (kernel - 1) for dilation, kernel in zip(module.dilation, module.kernel_size, strict=True)]
        return (*(total // 2 for total in both), *(total - total // 2 for total in both))
    return (*module.padding, *module.padding)
