"""Prune: units are taken from where they are missed least for what they cost, until the net costs what it may."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, gcd, inf

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from training.compress.evaluating import require_runs
from training.compress.groups import PruningGroup, cut
from training.errors import PruneRefused

Cost = Callable[[Mapping[str, int]], float]
"""The cost of the net with these units left, by group name; see `layer_costs.net_cost`."""

Scores = Mapping[str, NDArray[np.float64]]
"""What each unit is worth, by group name; see `importance`."""


@dataclass(frozen=True)
class Pruned:
    """A net with fewer units: how many each group has left, which went, and what it cost before and costs now."""

    net: nn.Module
    widths: dict[str, int]
    removed: dict[str, list[int]]
    cost_before: float
    cost_after: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Which widths a search may choose: multiples of `grid`, not below `floor` of a group's units, nor below `least`.

    `grid` and `least` count channels of the layer that makes them, of which a unit may have several, as an attention
    head does. `grid` is the block of channels that the runtime computes in: 16 with AVX-512, 8 with AVX2. A group
    that is smaller than its lowest width stays as it is.
    """

    grid: int = 16
    floor: float = 0.25
    least: int = 16

    def widths(self, group: PruningGroup) -> list[int]:
        """The widths of a group in units: its own, then every one that may follow, falling."""
        channels = gcd(*(len(places) for producer in group.producers for places in producer.index)) or 1
        step = self.grid // gcd(self.grid, channels)
        lowest = max(self.floor * group.units, self.least / channels, 1)
        first, last = (group.units - 1) // step, ceil(lowest / step)
        return [group.units, *(blocks * step for blocks in range(first, last - 1, -1))]


def prune(
    net: nn.Module,
    example: Tensor,
    groups: Sequence[PruningGroup],
    scores: Scores,
    cost: Cost,
    target: float,
    limits: Limits | None = None,
) -> Pruned:
    """A copy of the net that costs at most `target`, in the unit of `cost`, without its least important units.

    The estimate is the cost's own: what the pruned net really takes is to be measured. Of units with equal scores the
    first go. Raises PruneRefused where the target cannot be reached within the limits, and RemovalRefused where the
    net does not take `example` any more.
    """
    widths = search(groups, scores, cost, target, limits or Limits())
    removed = least_important(groups, scores, widths)
    smaller = cut(net, groups, removed)
    require_runs(smaller, example)
    return Pruned(smaller, widths, removed, cost(full_widths(groups)), cost(widths))


def full_widths(groups: Sequence[PruningGroup]) -> dict[str, int]:
    """The widths of a net that nothing is taken from."""
    return {group.name: group.units for group in groups}


def least_important(groups: Sequence[PruningGroup], scores: Scores, widths: Mapping[str, int]) -> dict[str, list[int]]:
    """The units that go for a group to have its width, in their order; groups that lose none are left out.

    A group without a width keeps its units: where one was left of it, it is no group any more, and widths that were
    chosen then do not name it.
    """
    gone = {
        group.name: sorted(_by_worth(scores[group.name])[: group.units - widths.get(group.name, group.units)].tolist())
        for group in groups
    }
    return {name: units for name, units in gone.items() if units}


def search(groups: Sequence[PruningGroup], scores: Scores, cost: Cost, target: float, limits: Limits) -> dict[str, int]:
    """Widths at which the net costs at most `target`.

    Greedy: of all groups' next steps, the one that loses the least importance for the cost that it saves is taken, and
    again, until the target is reached. Raises PruneRefused where no step is left.
    """
    _require_scores(groups, scores)
    widths = full_widths(groups)
    steps = {group.name: _steps(scores[group.name], limits.widths(group)) for group in groups}
    now = reached = cost(widths)
    while not now <= target:
        ahead = {name: left[0] for name, left in steps.items() if left}
        if not ahead:
            raise PruneRefused(f"cost: expected at most {target:.4g}, got {reached:.4g} with every group at its floor")
        after = {name: cost(widths | {name: step.width}) for name, step in ahead.items()}
        name = min(ahead, key=lambda name: ahead[name].price(now - after[name]))
        widths[name], now = steps[name].pop(0).width, after[name]
        reached = min(reached, now)
    return widths


@dataclass(frozen=True)
class _Step:
    """A group goes down to a width, and loses units of this importance in all."""

    width: int
    lost: float

    def price(self, saved: float) -> tuple[float, float, float]:
        """Steps are ordered by it: importance lost for what is saved; a step that saves nothing comes last."""
        return (self.lost / saved if saved > 0 else inf, self.lost, -saved)


def _steps(scores: NDArray[np.float64], widths: Sequence[int]) -> list[_Step]:
    rising = scores[_by_worth(scores)]
    units = len(scores)
    return [_Step(low, float(rising[units - high : units - low].sum())) for high, low in pairwise(widths)]


def _by_worth(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.argsort(scores, kind="stable")


def _require_scores(groups: Sequence[PruningGroup], scores: Scores) -> None:
    for group in groups:
        of_group = scores.get(group.name)
        if of_group is None or of_group.shape != (group.units,) or not np.isfinite(of_group).all():
            raise PruneRefused(f"scores of {group.name}: expected {group.units} finite numbers, got {of_group}")
