"""Pruning groups: which units of which layers stand or fall together, and a net without some of them.

Which layers hang together is read from Torch-Pruning's dependency graph (G. Fang et al., DepGraph: Towards Any
Structural Pruning, CVPR 2023, arXiv:2301.12900); nothing else of that package is used. Its maps from units to places
rest on what it knows of each operation, and it takes what it does not know for elementwise. So no group is offered
before a removal has been tried.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized
from torch_pruning import DependencyGraph
from torch_pruning.ops import OPTYPE

from training.compress.cut import (
    Weighted,
    cut_inputs,
    cut_norm,
    cut_outputs,
    input_axis,
    inputs,
    is_depthwise,
    norm_width,
    outputs,
)
from training.compress.evaluating import require_runs
from training.errors import RemovalRefused

SAME = 1e-4
"""Largest difference of a trial's answers, as a share of the largest answer. Rounding stays below a hundredth of it;
one place that is mistaken shifts all that follow."""

PASSES_ON = {
    OPTYPE.ELEMENTWISE,
    OPTYPE.CONCAT,
    OPTYPE.SPLIT,
    OPTYPE.RESHAPE,
    OPTYPE.UNBIND,
    OPTYPE.EXPAND,
    OPTYPE.SLICE,
}
"""Operations without weights of their own."""


@dataclass(frozen=True)
class Member:
    """A layer that holds a group's units.

    `index` has for each unit its places in the layer's output (of a producer or norm) or input (of a reader): one as a
    rule, several behind a Flatten, none where a unit does not come by.
    """

    layer: str
    index: tuple[tuple[int, ...], ...]

    def places(self, units: Iterable[int]) -> list[int]:
        """The places of these units, ascending."""
        return sorted(place for unit in units for place in self.index[unit])


@dataclass(frozen=True)
class PruningGroup:
    """Units of several layers that stand or fall together; its name is its first producer's.

    `producers` are the convolutions and dense layers whose outputs the units are, `norms` the BatchNorms and
    LayerNorms over them, `readers` the convolutions and dense layers whose inputs they are. A depthwise convolution
    hands each unit on, so it is a producer, and its inputs are cut with its outputs.
    """

    name: str
    units: int
    producers: tuple[Member, ...]
    norms: tuple[Member, ...]
    readers: tuple[Member, ...]


def find_groups(net: nn.Module, example: Tensor) -> tuple[PruningGroup, ...]:
    """The groups of a net that takes `example` [rows, ...], in the order of its layers; the net is left as it is.

    Never the units that are the net's own input or output. Left out too are groups with a layer that cannot be cut
    unit by unit (a grouped convolution, an Embedding, a parameter of the net itself), and groups that fail a trial
    removal, such as those that a `view` holds to a width.
    """
    found: list[PruningGroup] = []
    taken: set[tuple[str, int]] = set()
    with torch.inference_mode(False), torch.enable_grad():
        rows = example.clone()
        twin = _tracable(net)
        graph = _dependencies(twin, rows)
        names = {module: name for name, module in twin.named_modules()}
        for layer in names:
            if layer not in graph.module2node or not isinstance(layer, Weighted) or is_depthwise(layer):
                continue
            group = _group(graph, layer, names)
            if group is None or not taken.isdisjoint(_produced(group)) or not stands_a_trial(twin, rows, group):
                continue
            found.append(group)
            taken |= _produced(group)
    return tuple(found)


def remove(net: nn.Module, example: Tensor, units: Mapping[str, Collection[int]]) -> nn.Module:
    """A copy of the net without these units of the groups named; same class and mode, smaller layers.

    Raises RemovalRefused where there is no such group or unit, where none would be left, or where the copy does not
    take `example` any more.
    """
    smaller = cut(net, find_groups(net, example), units)
    require_runs(smaller, example)
    return smaller


def cut(net: nn.Module, groups: Iterable[PruningGroup], units: Mapping[str, Collection[int]]) -> nn.Module:
    """As `remove`, with groups that were found before, and without the run that proves the copy."""
    known = {group.name: group for group in groups}
    gone: dict[str, _Gone] = defaultdict(_Gone.none)
    for name, removed in units.items():
        _require_leaves_some(known, name, removed)
        for member in known[name].producers + known[name].norms:
            gone[member.layer].outputs.update(member.places(removed))
        for member in known[name].readers:
            gone[member.layer].inputs.update(member.places(removed))
    smaller = deepcopy(net)
    for layer, places in gone.items():
        _cut_layer(smaller.get_submodule(layer), places)
    return smaller


@dataclass
class _Gone:
    """Places that a layer loses."""

    outputs: set[int]
    inputs: set[int]

    @classmethod
    def none(cls) -> "_Gone":
        return cls(set(), set())


def _cut_layer(layer: nn.Module, gone: _Gone) -> None:
    if isinstance(layer, Weighted):
        if gone.outputs:
            cut_outputs(layer, _rest(outputs(layer), gone.outputs))
        if gone.inputs:
            cut_inputs(layer, _rest(inputs(layer), gone.inputs))
    elif gone.outputs:
        cut_norm(layer, _rest(norm_width(layer), gone.outputs))


def _rest(width: int, gone: Collection[int]) -> list[int]:
    return [place for place in range(width) if place not in gone]


def _require_leaves_some(known: Mapping[str, PruningGroup], name: str, removed: Collection[int]) -> None:
    if name not in known:
        raise RemovalRefused(f"{name}: expected a pruning group, one of {', '.join(known) or 'none'}")
    group = known[name]
    if wrong := sorted(set(removed) - set(range(group.units))):
        raise RemovalRefused(f"{name}: expected units of 0 to {group.units - 1}, got {wrong[0]}")
    if len(set(removed)) == group.units:
        raise RemovalRefused(f"{name}: expected at least one of {group.units} units to stay, got none")


def _tracable(net: nn.Module) -> nn.Module:
    """A copy whose graph autograd records: it skips frozen parameters, and Torch-Pruning reads nothing else."""
    twin = deepcopy(net).eval()
    for parameter in twin.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return twin


def _dependencies(net: nn.Module, example: Tensor) -> Any:
    # A bare tensor would be unpacked into its rows, and a net may well take one row. The product is a last operation
    # that is no layer: without one, a net's last layer looks like any other.
    return DependencyGraph().build_dependency(
        net, example_inputs=(example,), output_transform=lambda answers: answers * 1, verbose=False
    )


def _group(graph: Any, root: Weighted, names: Mapping[nn.Module, str]) -> PruningGroup | None:
    """The group of this layer's outputs, or None where some layer of it cannot be cut."""
    units = outputs(root)
    producers: list[Member] = []
    norms: list[Member] = []
    readers: list[Member] = []
    for item in graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, range(units)):
        layer = item.dep.target.module
        if item.dep.target.type in PASSES_ON:
            continue
        if not _can_be_cut(layer):
            return None
        index: list[list[int]] = [[] for _ in range(units)]
        for unit, place in zip(item.root_idxs, item.idxs, strict=True):
            index[unit].append(place)
        member = Member(names[layer], tuple(tuple(sorted(places)) for places in index))
        if not isinstance(layer, Weighted):
            norms.append(member)
        elif graph.is_out_channel_pruning_fn(item.dep.handler):
            producers.append(member)
        else:
            readers.append(member)
    return _in_order(names.values(), producers, norms, readers)


def _in_order(
    names: Iterable[str], producers: list[Member], norms: list[Member], readers: list[Member]
) -> PruningGroup | None:
    if not readers:
        return None
    order = {name: number for number, name in enumerate(names)}
    made, over, read = (tuple(sorted(part, key=lambda m: order[m.layer])) for part in (producers, norms, readers))
    return PruningGroup(made[0].layer, len(made[0].index), made, over, read)


def _can_be_cut(layer: Any) -> bool:
    if not isinstance(layer, nn.Module) or is_parametrized(layer):
        return False
    if isinstance(layer, _ConvNd):
        return layer.groups == 1 or is_depthwise(layer)
    return isinstance(layer, nn.Linear | _BatchNorm) or (
        isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1
    )


def _produced(group: PruningGroup) -> set[tuple[str, int]]:
    return {(member.layer, place) for member in group.producers for place in member.places(range(group.units))}


def stands_a_trial(net: nn.Module, example: Tensor, group: PruningGroup) -> bool:
    """Whether the net without some units answers as if their readers had not looked at them.

    A LayerNorm averages over the units that are left, so under one the answers change. There the net has to run
    without some units, and to answer the same with all of them in another order.
    """
    units = _some(group.units)
    if not units:
        return False
    averaged = any(isinstance(net.get_submodule(norm.layer), nn.LayerNorm) for norm in group.norms)
    try:
        got = require_runs(cut(net, [group], {group.name: units}), example)
        expected = require_runs(net if averaged else _ignoring(net, group, units), example)
        if averaged and got.shape == expected.shape:
            got = require_runs(_reversed(net, group), example)
    except (RemovalRefused, IndexError):
        return False
    return got.shape == expected.shape and bool((got - expected).abs().max() <= SAME * expected.abs().max())


def _some(units: int) -> Sequence[int]:
    """Every other unit, so that an odd number is left: an even one might still fit a `view` of several heads."""
    some = range(0, units, 2)
    return some if (units - len(some)) % 2 else some[:-1]


def _ignoring(net: nn.Module, group: PruningGroup, units: Iterable[int]) -> nn.Module:
    """A copy of the net whose readers have weight zero for these units."""
    blind = deepcopy(net)
    for reader in group.readers:
        layer: Any = blind.get_submodule(reader.layer)
        places = torch.tensor(reader.places(units), dtype=torch.long, device=layer.weight.device)
        layer.weight.data.index_fill_(input_axis(layer), places, 0.0)
    return blind


def _reversed(net: nn.Module, group: PruningGroup) -> nn.Module:
    """A copy of the net with the group's units the other way round, in every layer that holds them."""
    turned = deepcopy(net)
    for member in group.producers + group.norms:
        layer = turned.get_submodule(member.layer)
        if isinstance(layer, Weighted):
            cut_outputs(layer, _turned(outputs(layer), member))
        else:
            cut_norm(layer, _turned(norm_width(layer), member))
    for member in group.readers:
        reader: Any = turned.get_submodule(member.layer)
        cut_inputs(reader, _turned(inputs(reader), member))
    return turned


def _turned(width: int, member: Member) -> list[int]:
    order = list(range(width))
    for places, others in zip(member.index, reversed(member.index), strict=True):
        for place, other in zip(places, others, strict=False):
            order[place] = other
    return order
