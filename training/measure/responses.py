"""What a net's layers respond to: the filters of its first convolution, and its activations for one sample."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

DEPTHS = 4
COLOURS = 3


@dataclass(frozen=True)
class Responses:
    """Pictures as numbers from 0 to 1.

    filters: [filters, height, width, 1 or 3], None where the first convolution reads neither gray nor colour.
    sample: [height, width, 1 or 3].
    maps: by layer, from the first to the last, [channels, height, width]; 1 is the layer's strongest response.
    """

    filters: NDArray[np.float64] | None
    sample: NDArray[np.float64]
    maps: dict[str, NDArray[np.float64]]


def respond(net: nn.Module, sample: NDArray[Any]) -> Responses | None:
    """The responses of a net in eval mode to one sample, an input of it without the axis of the batch.

    None for a net without convolutions, and for a sample that is no picture.
    """
    layers = {name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    picture = as_picture(sample)
    if not layers or picture is None:
        return None
    first, *_ = layers.values()
    return Responses(first_filters(first.weight), picture, maps(net, spread([*layers], DEPTHS), sample))


def maps(net: nn.Module, layers: Sequence[str], sample: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """What each layer gives for one sample, from 0 to 1; [channels, height, width] by layer.

    Negative answers count as none, as they do behind a ReLU. The net should be a fused one: in front of a BatchNorm,
    zero has no meaning yet.
    """
    found: dict[str, Tensor] = {}
    with ExitStack() as hooks, torch.inference_mode():
        for layer in layers:
            hooks.enter_context(
                net.get_submodule(layer).register_forward_hook(
                    lambda _module, _inputs, answer, layer=layer: found.__setitem__(
                        layer, answer[0].float().clamp(min=0)
                    )
                )
            )
        net(torch.from_numpy(np.ascontiguousarray(sample[None])))
    return {layer: _unit(found[layer].double().cpu().numpy()) for layer in layers if found[layer].ndim == 3}


def first_filters(weight: Tensor) -> NDArray[np.float64] | None:
    """Weights [filters, channels, height, width] as pictures, each with its own contrast; zero is the middle gray."""
    if weight.shape[1] not in (1, COLOURS):
        return None
    pictures = weight.detach().double().cpu().permute(0, 2, 3, 1).numpy()
    strongest = np.abs(pictures).max(axis=(1, 2, 3), keepdims=True)
    found: NDArray[np.float64] = 0.5 + 0.5 * pictures / np.where(strongest > 0, strongest, 1.0)
    return found


def as_picture(sample: NDArray[Any]) -> NDArray[np.float64] | None:
    """[height, width], with gray or RGB as a first or last axis -> [height, width, 1 or 3]; None for anything else."""
    if sample.ndim == 2:
        return _unit(sample[..., None])
    if sample.ndim == 3 and sample.shape[-1] in (1, COLOURS):
        return _unit(sample)
    if sample.ndim == 3 and sample.shape[0] in (1, COLOURS):
        return _unit(np.moveaxis(sample, 0, -1))
    return None


def spread(layers: Sequence[str], count: int) -> list[str]:
    """At most `count` of the layers, the first and the last among them, as evenly as can be."""
    places = np.linspace(0, len(layers) - 1, min(count, len(layers))).round().astype(int)
    return [layers[place] for place in places]


def _unit(values: NDArray[Any]) -> NDArray[np.float64]:
    values = values.astype(np.float64)
    low, high = min(values.min(), 0.0), values.max()
    return np.zeros_like(values) if high <= low else (values - low) / (high - low)
