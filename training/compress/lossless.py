"""Lossless: units that do nothing are taken out, and the answers are proven to stay.

A unit does nothing where all that read it read one and the same value on every row: zero, or a number that their
biases can hold instead; or where all that read it have weight zero for it.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from training.compress.cut import add_bias, input_axis
from training.compress.evaluating import net_answers
from training.compress.graph import TINY
from training.compress.groups import PruningGroup, cut, find_groups
from training.compress.profile import ActivationProfile, Activity, profile
from training.errors import ParityBroken
from training.measure.parity import require_same_answers

KINDS = ("dead", "unread", "constant")
ALIVE = "alive"

Units = dict[str, list[int]]
"""Units by the name of their pruning group."""

Kinds = dict[str, dict[int, str]]
"""By group, the kind of each unit that does nothing."""

Readings = Mapping[str, Sequence[str]]
"""For each layer, what it reads at each place: one of KINDS, or ALIVE."""


@dataclass(frozen=True, eq=False)
class Lossless:
    """A net without the units that did nothing; the units are numbered as in the net that came in.

    `dead` were read as zero on every row. For `unread`, every reader that read anything had weight zero. `constant`
    were read as one other number, which now lies in the readers' biases. `awake` were one of these on the calibration
    rows and not on the held-out ones: they stay, and beside the number that went they say how many of those other rows
    may wake. `denormals` counts weights that were made zero. `undone` holds the reason where the proof failed; the net
    is then the one that came in, and nothing counts as removed.
    """

    net: nn.Module
    dead: Units = field(default_factory=dict)
    unread: Units = field(default_factory=dict)
    constant: Units = field(default_factory=dict)
    awake: Units = field(default_factory=dict)
    denormals: int = 0
    undone: str | None = None


def remove_dead(net: nn.Module, calibration: NDArray[Any], held_out: NDArray[Any]) -> Lossless:
    """A copy of a net in eval mode without its dead, unread and constant units, and without denormal weights.

    Units are found on `calibration` [rows, ...]; those that move on `held_out` stay. Then the answers to `held_out`
    have to be those of the whole net, to rounding, or all of it is undone. A group keeps one unit at least. Under a
    LayerNorm nothing is removed: a silent unit counts in its average.
    """
    found = _emptied(net, calibration, held_out)
    try:
        require_same_answers(net_answers(net, held_out), net_answers(found.net, held_out), "without the dead units")
    except ParityBroken as broken:
        return Lossless(net, undone=str(broken))
    return found


def flush_denormals(net: nn.Module) -> int:
    """Makes every weight below TINY zero, in place, and says how many there were.

    Parameters and buffers, but not the statistics of a BatchNorm: they are divided by, and no input meets them.
    """
    tensors: dict[int, Tensor] = {id(parameter): parameter for parameter in net.parameters()}
    for module in net.modules():
        if not isinstance(module, _BatchNorm):
            tensors |= {id(buffer): buffer for buffer in module.buffers(recurse=False)}
    flushed = 0
    for tensor in tensors.values():
        if tensor.is_floating_point():
            tiny = (tensor.detach().abs() < TINY) & (tensor.detach() != 0)
            tensor.data[tiny] = 0
            flushed += int(tiny.sum())
    return flushed


def _emptied(net: nn.Module, calibration: NDArray[Any], held_out: NDArray[Any]) -> Lossless:
    smaller = deepcopy(net)
    denormals = flush_denormals(smaller)
    tally = _Tally()
    # Over again, because without the units that went, others may have nobody left who reads them.
    while True:
        groups = _without_layer_norm(smaller, find_groups(smaller, torch.from_numpy(calibration[:2])))
        on_calibration = profile(smaller, calibration)
        on_all = on_calibration.merge(profile(smaller, held_out))
        kinds = _silent(smaller, groups, on_all)
        tally.count(groups, kinds, asleep=_silent(smaller, groups, on_calibration))
        if not any(kinds.values()):
            return Lossless(smaller, tally.dead, tally.unread, tally.constant, tally.awake, denormals)
        _fold(smaller, groups, kinds, on_all)
        smaller = cut(smaller, groups, kinds)


class _Tally:
    """What was removed so far, in the numbers that the units had at first."""

    def __init__(self) -> None:
        self.dead: Units = {}
        self.unread: Units = {}
        self.constant: Units = {}
        self.awake: Units = {}
        self._numbers: Units = {}

    def count(self, groups: Sequence[PruningGroup], kinds: Kinds, asleep: Kinds) -> None:
        by_kind = dict(zip(KINDS, (self.dead, self.unread, self.constant), strict=True))
        for group in groups:
            numbers = self._numbers.setdefault(group.name, list(range(group.units)))
            going = kinds[group.name]
            for unit, kind in going.items():
                by_kind[kind].setdefault(group.name, []).append(numbers[unit])
            self.awake.pop(group.name, None)
            if woken := [numbers[unit] for unit in asleep[group.name] if unit not in going]:
                self.awake[group.name] = woken
            self._numbers[group.name] = [number for unit, number in enumerate(numbers) if unit not in going]


def _without_layer_norm(net: nn.Module, groups: Sequence[PruningGroup]) -> list[PruningGroup]:
    return [
        group
        for group in groups
        if not any(isinstance(net.get_submodule(norm.layer), nn.LayerNorm) for norm in group.norms)
    ]


def _silent(net: nn.Module, groups: Sequence[PruningGroup], seen: ActivationProfile) -> Kinds:
    """The units that do nothing; of a group in which none does anything, all but the first."""
    readers = {reader.layer for group in groups for reader in group.readers} & seen.layers.keys()
    readings = {name: _readings(net.get_submodule(name), seen.layers[name]) for name in readers}
    found: Kinds = {}
    for group in groups:
        kinds = ((unit, _kind(group, unit, readings)) for unit in range(group.units))
        silent = {unit: kind for unit, kind in kinds if kind != ALIVE}
        if len(silent) == group.units:
            del silent[0]
        found[group.name] = silent
    return found


def _kind(group: PruningGroup, unit: int, readings: Readings) -> str:
    read = {
        readings[reader.layer][place] if reader.layer in readings else ALIVE
        for reader in group.readers
        for place in reader.index[unit]
    }
    # The last of these that any reader has: dead for one and constant for another is constant.
    return max(read, key=(*KINDS, ALIVE).index, default="unread")


def _readings(layer: Any, activity: Activity) -> Sequence[str]:
    weights = layer.weight.detach()
    others = [axis for axis in range(weights.dim()) if axis != input_axis(layer)]
    unread = (weights != 0).sum(others).numpy() == 0
    kinds: list[str] = np.select(
        [activity.dead, unread, activity.constant & _reads_all_alike(layer)], KINDS, default=ALIVE
    ).tolist()
    return kinds


def _reads_all_alike(layer: nn.Module) -> bool:
    """Whether every output of the layer weighs a constant input as every other one does.

    Zeros around a picture are no constant unless it is zero, and a transposed convolution does less at the border.
    """
    if not isinstance(layer, _ConvNd):
        return True
    unpadded = layer.padding == "valid" or not any(layer.padding)
    return not layer.transposed and (unpadded or layer.padding_mode != "zeros")


def _fold(net: nn.Module, groups: Sequence[PruningGroup], kinds: Kinds, seen: ActivationProfile) -> None:
    """Adds to each reader's bias, in place, what the constants that are about to go bring it."""
    for group in groups:
        for reader in group.readers:
            constant = [unit for unit, kind in kinds[group.name].items() if kind == "constant"]
            if places := reader.places(constant):
                _fold_into(net.get_submodule(reader.layer), places, seen.layers[reader.layer])


def _fold_into(layer: Any, places: Sequence[int], activity: Activity) -> None:
    # A unit that counts as constant may be unread here, and vary: its weights are zero.
    brought = [place for place in places if activity.constant[place] and activity.max[place] != 0]
    if not brought:
        return
    weights = layer.weight.detach().double()
    others = [axis for axis in range(weights.dim()) if axis not in (0, input_axis(layer))]
    for_each = weights.sum(others) if others else weights
    constants = torch.from_numpy(activity.max[brought])
    bias = add_bias(layer) if layer.bias is None else layer.bias
    bias.data += (for_each[:, brought] @ constants).to(bias.dtype)
