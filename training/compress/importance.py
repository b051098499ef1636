"""Importance: what each unit of a pruning group is worth to the net. Higher is more important.

Every criterion has the same signature, and leaves the net as it was: mode, weights, gradients and what is frozen. All
look at the net in eval mode. Their scores can be compared across groups; each says why.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from training.compress.cut import input_axis, output_axis
from training.compress.evaluating import evaluating
from training.compress.groups import Member, PruningGroup
from training.course import Loss
from training.data.dataset import Dataset
from training.errors import RemovalRefused

Scores = dict[str, NDArray[np.float64]]
"""By group name, one number a unit."""

Importance = Callable[[nn.Module, Sequence[PruningGroup], Dataset, Loss, int], Scores]
"""(net, groups, rows, loss, seed) -> scores. The rows must not be test rows; not every criterion uses all arguments."""

Arguments = tuple[Any, ...]
Named = dict[str, Any]

BATCH_ROWS = 256
FEW = (2, 3)
"""Rows of two runs that show which axis grows with them."""


def magnitude(net: nn.Module, groups: Sequence[PruningGroup], rows: Dataset, loss: Loss, seed: int) -> Scores:
    """L2 norm of the weights that make the unit, over all its producers (H. Li et al., arXiv:1608.08710).

    Divided by the group's mean: the scale of a layer's weights says nothing about another layer's.
    """
    scores = {}
    for group in groups:
        squares = sum(per_unit(_output_squares(net, member), member) for member in group.producers)
        scores[group.name] = _over_mean(np.sqrt(squares))
    return scores


def taylor(net: nn.Module, groups: Sequence[PruningGroup], rows: Dataset, loss: Loss, seed: int) -> Scores:
    """First-order estimate of the squared change of the loss without the unit, mean over the rows.

    P. Molchanov et al., arXiv:1906.10771, with a gate on the unit wherever it is read: (d loss / d gate)^2 of each
    row. The gates are what is differentiated, so frozen weights change nothing. All scores are squared losses, and
    are compared as they are. `loss` is the mean over its rows. Raises RemovalRefused for a reader that does not read
    row by row.
    """
    sums = {group.name: np.zeros(group.units) for group in groups}
    with evaluating(net), torch.inference_mode(False), torch.enable_grad():
        axes = row_axes(net, groups, rows, loss)
        for inputs, targets in batches(rows):
            with gated(net, groups, axes) as gates:
                batch_loss = loss(net, inputs, targets)
            slopes = _slopes(batch_loss, gates, len(inputs))
            for group in groups:
                change = sum(per_unit(slopes[member.layer], member) for member in group.readers)
                sums[group.name] += np.square(change).sum(axis=0)
    return {name: total / len(rows) for name, total in sums.items()}


def activation(net: nn.Module, groups: Sequence[PruningGroup], rows: Dataset, loss: Loss, seed: int) -> Scores:
    """Mean magnitude of the unit as its readers read it, times the L2 norm of the weights they read it with.

    After M. Sun et al., arXiv:2306.11695, who do so for single weights. Divided by the group's mean: how far the
    answers follow a layer's output is not in it.
    """
    sizes = read_means(net, groups, rows, torch.abs)
    scores = {}
    for group in groups:
        parts = (
            per_unit(sizes[member.layer] * np.sqrt(_input_squares(net, member)), member) for member in group.readers
        )
        scores[group.name] = _over_mean(sum(parts, np.zeros(group.units)))
    return scores


def apoz(net: nn.Module, groups: Sequence[PruningGroup], rows: Dataset, loss: Loss, seed: int) -> Scores:
    """1 - the share of zeros (APoZ: H. Hu et al., arXiv:1607.03250) in what the readers read of the unit.

    A share is 0 to 1 in every group, so it is compared as it is; it is 1 throughout where no ReLU stands before.
    """
    alive = read_means(net, groups, rows, lambda read: read != 0)
    scores = {}
    for group in groups:
        total, places = np.zeros(group.units), np.zeros(group.units)
        for member in group.readers:
            total += per_unit(alive[member.layer], member)
            places += [len(unit) for unit in member.index]
        scores[group.name] = total / np.maximum(places, 1)  # a unit that nobody reads is worth nothing
    return scores


def random(net: nn.Module, groups: Sequence[PruningGroup], rows: Dataset, loss: Loss, seed: int) -> Scores:
    """Uniform on [0, 1), from the seed: the baseline that a criterion has to beat."""
    chance = np.random.default_rng(seed)
    return {group.name: chance.random(group.units) for group in groups}


IMPORTANCES: dict[str, Importance] = {
    "magnitude": magnitude,
    "taylor": taylor,
    "activation": activation,
    "apoz": apoz,
    "random": random,
}


def per_unit(values: NDArray[np.float64], member: Member) -> NDArray[np.float64]:
    """Sums over each unit's places in a layer; [..., features] -> [..., units]."""
    places = np.array([place for unit in member.index for place in unit], dtype=np.intp)
    owners = np.repeat(np.arange(len(member.index)), [len(unit) for unit in member.index])
    sums = np.zeros((*values.shape[:-1], len(member.index)))
    np.add.at(sums.T, owners, values.T[places])
    return sums


def read_means(net: nn.Module, groups: Sequence[PruningGroup], rows: Dataset, of: Callable[[Tensor], Tensor]) -> Scores:
    """For every reader, by layer name, the mean of `of` what it reads, over rows and positions; [features]."""
    sums: Scores = {}
    seen: dict[str, int] = {}

    def note(layer: str, module: nn.Module, read: Tensor) -> Tensor:
        features = of(read.detach()).movedim(_features_axis(module), -1).flatten(0, -2)
        sums[layer] = sums.get(layer, 0.0) + features.double().sum(0).numpy()
        seen[layer] = seen.get(layer, 0) + len(features)
        return read

    with evaluating(net), torch.no_grad(), reading(net, groups, note):
        for inputs, _ in batches(rows):
            net(inputs)
    return {layer: total / seen[layer] for layer, total in sums.items()}


def row_axes(net: nn.Module, groups: Sequence[PruningGroup], rows: Dataset, loss: Loss) -> dict[str, list[int]]:
    """By layer name, for each call of a reader, the axis along which the rows lie: the first that grows with them.

    It is not the first of all in a net whose attention has the positions first, as PyTorch's has unless it is told
    otherwise. Raises RemovalRefused where no axis grows.
    """
    seen: list[dict[str, list[torch.Size]]] = []

    def note(layer: str, module: nn.Module, read: Tensor) -> Tensor:
        seen[-1].setdefault(layer, []).append(read.shape)
        return read

    with torch.no_grad(), reading(net, groups, note):
        for few in FEW:
            seen.append({})
            same = [0] * few
            loss(net, torch.from_numpy(rows.inputs[same]), torch.from_numpy(rows.targets[same]))
    fewer, more = seen
    return {
        layer: [_growing(layer, net.get_submodule(layer), *pair) for pair in zip(shapes, more[layer], strict=True)]
        for layer, shapes in fewer.items()
    }


def _growing(layer: str, module: nn.Module, fewer: torch.Size, more: torch.Size) -> int:
    features = _features_axis(module) % len(fewer)
    for axis, (size, larger) in enumerate(zip(fewer, more, strict=True)):
        if axis != features and size * FEW[1] == larger * FEW[0]:
            return axis
    raise RemovalRefused(f"{layer}: expected to read row by row, got {list(fewer)} of {FEW[0]} rows")


@contextmanager
def gated(
    net: nn.Module, groups: Sequence[PruningGroup], axes: Mapping[str, list[int]]
) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, each reader's input is multiplied by a gate of ones, [rows, features]; yields them by layer name.

    `axes` says where the rows lie, see `row_axes`.
    """
    gates: dict[str, list[Tensor]] = {}

    def gate(layer: str, module: nn.Module, read: Tensor) -> Tensor:
        called = gates.setdefault(layer, [])
        rows, features = axes[layer][len(called)], _features_axis(module) % read.ndim
        ones = torch.ones(read.shape[rows], read.shape[features], dtype=read.dtype, requires_grad=True)
        called.append(ones)
        shape = [size if place in (rows, features) else 1 for place, size in enumerate(read.shape)]
        return read * (ones if rows < features else ones.T).reshape(shape)

    with reading(net, groups, gate):
        yield gates


def _slopes(loss: Tensor, gates: dict[str, list[Tensor]], rows: int) -> Scores:
    """By layer name, each row's derivative of its own loss by the gates; [rows, features]."""
    flat = [gate for called in gates.values() for gate in called]
    # A reader that the loss does not depend on has slope 0, which is its worth.
    slopes = iter(torch.autograd.grad(loss * rows, flat, allow_unused=True, materialize_grads=True) if flat else ())
    of_layers: Scores = {}
    for layer, called in gates.items():
        # A net may fold positions into the rows (windows of a picture, say); rows come first there, so they unfold.
        parts = [next(slopes) for _ in called]
        of_layers[layer] = np.sum([part.reshape(rows, -1, part.shape[1]).sum(1).double().numpy() for part in parts], 0)
    return of_layers


@contextmanager
def reading(
    net: nn.Module, groups: Sequence[PruningGroup], at: Callable[[str, nn.Module, Tensor], Tensor]
) -> Iterator[None]:
    """Inside, `at(layer, module, input)` is called before every reader, which reads what it returns.

    The input is the first argument, by its place or by its name.
    """
    with ExitStack() as hooks:
        for layer in {member.layer: None for group in groups for member in group.readers}:

            def hook(module: nn.Module, read: Arguments, named: Named, layer: str = layer) -> tuple[Arguments, Named]:
                if read:
                    return (at(layer, module, read[0]), *read[1:]), named
                first = next(iter(named))
                return read, {**named, first: at(layer, module, named[first])}

            hooks.callback(net.get_submodule(layer).register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


def batches(rows: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, targets) in their order."""
    for start in range(0, len(rows), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        yield torch.from_numpy(rows.inputs[part]), torch.from_numpy(rows.targets[part])


def _features_axis(module: nn.Module) -> int:
    return 1 if isinstance(module, _ConvNd) else -1


def _output_squares(net: nn.Module, member: Member) -> NDArray[np.float64]:
    """Squared L2 norm of the weights that make each output of a layer."""
    layer: Any = net.get_submodule(member.layer)
    return _squares(layer.weight, output_axis(layer))


def _input_squares(net: nn.Module, member: Member) -> NDArray[np.float64]:
    """Squared L2 norm of the weights that read each input of a layer."""
    layer: Any = net.get_submodule(member.layer)
    return _squares(layer.weight, input_axis(layer))


def _squares(weight: Tensor, axis: int) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = weight.detach().double().square().movedim(axis, 0).flatten(1).sum(1).numpy()
    return squares


def _over_mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = scores.mean()
    return scores / mean if mean > 0 else scores
