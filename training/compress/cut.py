"""Cut: one layer, in place, down to some of its outputs or of its inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

Weighted = _ConvNd | nn.Linear
"""Layers with one weight for each pair of an output and an input."""


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each output channel reads the one input channel of the same number, and no other."""
    return isinstance(layer, _ConvNd) and 1 < layer.groups == layer.in_channels == layer.out_channels


def output_axis(layer: Weighted) -> int:
    """The axis of the layer's weight along which its outputs lie."""
    return int(isinstance(layer, _ConvNd) and layer.transposed and not is_depthwise(layer))


def input_axis(layer: Weighted) -> int:
    """The axis of the layer's weight along which its inputs lie; of a depthwise convolution they are its outputs."""
    return output_axis(layer) if is_depthwise(layer) else 1 - output_axis(layer)


def outputs(layer: Weighted) -> int:
    """How many channels or features the layer writes."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def inputs(layer: Weighted) -> int:
    """How many channels or features the layer reads."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def cut_outputs(layer: Weighted, kept: Sequence[int]) -> None:
    """Keeps these outputs, in this order; a depthwise convolution loses the same inputs."""
    _select(layer, "weight", output_axis(layer), kept)
    _select(layer, "bias", 0, kept)
    if isinstance(layer, nn.Linear):
        layer.out_features = len(kept)
        return
    if is_depthwise(layer):
        layer.in_channels = layer.groups = len(kept)
    layer.out_channels = len(kept)


def cut_inputs(layer: Weighted, kept: Sequence[int]) -> None:
    """Keeps these inputs, in this order."""
    _select(layer, "weight", input_axis(layer), kept)
    if isinstance(layer, nn.Linear):
        layer.in_features = len(kept)
    else:
        layer.in_channels = len(kept)


def cut_norm(norm: nn.Module, kept: Sequence[int]) -> None:
    """Keeps these channels of a BatchNorm, or these features of a LayerNorm over the last axis."""
    for name in ("weight", "bias", "running_mean", "running_var"):
        _select(norm, name, 0, kept)
    if isinstance(norm, _BatchNorm):
        norm.num_features = len(kept)
    elif isinstance(norm, nn.LayerNorm):
        norm.normalized_shape = (len(kept),)


def norm_width(norm: nn.Module) -> int:
    """How many channels a BatchNorm, or features a LayerNorm over the last axis, has."""
    return norm.num_features if isinstance(norm, _BatchNorm) else int(norm.normalized_shape[0])  # type: ignore[index]


def add_bias(layer: Weighted) -> nn.Parameter:
    """Gives a layer without bias one of zeros."""
    layer.bias = nn.Parameter(torch.zeros(outputs(layer), dtype=layer.weight.dtype, device=layer.weight.device))
    return layer.bias


def _select(layer: nn.Module, name: str, axis: int, kept: Sequence[int]) -> None:
    tensor: Tensor | None = getattr(layer, name, None)
    if tensor is None:
        return
    selected = (
        tensor.detach().index_select(axis, torch.tensor(kept, dtype=torch.long, device=tensor.device)).contiguous()
    )
    if isinstance(tensor, nn.Parameter):
        setattr(layer, name, nn.Parameter(selected, requires_grad=tensor.requires_grad))
    else:
        setattr(layer, name, selected)
