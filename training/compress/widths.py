"""Widths: the sizes of a net's layers as JSON, and a fresh net cut to them, so that a pruned checkpoint loads."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from training.compress.cut import Weighted, add_bias, cut_inputs, cut_norm, cut_outputs, inputs, norm_width, outputs
from training.errors import RemovalRefused


def widths(net: nn.Module) -> dict[str, Any]:
    """The sizes of every layer that a removal may change, by its name; whole numbers and truth values only.

    Convolutions and dense layers: `inputs`, `outputs`, and whether they have a `bias`, which one may gain. Norms:
    `units`.
    """
    return {name: sizes for name, module in net.named_modules() if (sizes := _sizes(module))}


def resize(net: nn.Module, widths: Mapping[str, Any]) -> nn.Module:
    """A copy of a net whose layers have these widths; of its weights the first stay, at each axis.

    Raises RemovalRefused where a layer is missing on either side, or would have to grow.
    """
    smaller = deepcopy(net)
    layers = {name: module for name, module in smaller.named_modules() if _sizes(module)}
    if unmatched := sorted(layers.keys() ^ widths.keys()):
        raise RemovalRefused(f"{unmatched[0]}: expected the same layers in the net and in its widths")
    for name, layer in layers.items():
        _require_no_growth(name, _sizes(layer), widths[name])
        _resize(layer, widths[name])
    return smaller


def _sizes(module: nn.Module) -> dict[str, Any]:
    if isinstance(module, _ConvNd | nn.Linear):
        return {"inputs": inputs(module), "outputs": outputs(module), "bias": module.bias is not None}
    if isinstance(module, _BatchNorm) or (isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1):
        return {"units": norm_width(module)}
    return {}


def _require_no_growth(name: str, has: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if has.keys() != wanted.keys():
        raise RemovalRefused(f"{name}: expected {', '.join(has)}; got {', '.join(wanted)}")
    for size in has.keys() - {"bias"}:
        if not 1 <= wanted[size] <= has[size]:
            raise RemovalRefused(f"{name}: expected {size} of 1 to {has[size]}, got {wanted[size]}")
    if has.get("bias", False) and not wanted["bias"]:
        raise RemovalRefused(f"{name}: expected a bias, which no removal takes away, got none")


def _resize(layer: nn.Module, wanted: Mapping[str, Any]) -> None:
    if not isinstance(layer, Weighted):
        cut_norm(layer, range(wanted["units"]))
    else:
        if outputs(layer) != wanted["outputs"]:
            cut_outputs(layer, range(wanted["outputs"]))
        if inputs(layer) != wanted["inputs"]:
            cut_inputs(layer, range(wanted["inputs"]))
        if wanted["bias"] and layer.bias is None:
            add_bias(layer)
