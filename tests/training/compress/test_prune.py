"""The search: on the grid, above the floors, at the target or a refusal; and exactly the lowest units go."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from torch import nn

from training.compress.groups import Member, PruningGroup, find_groups
from training.compress.layer_costs import macs, macs_of, net_cost
from training.compress.prune import Cost, Limits, full_widths, least_important, prune, search
from training.errors import PruneRefused

EXAMPLE = torch.zeros(2, 3, 4, 4)


def group(name: str, units: int, channels: int = 1) -> PruningGroup:
    """A group whose units have so many channels each."""
    index = tuple(tuple(range(unit * channels, (unit + 1) * channels)) for unit in range(units))
    return PruningGroup(name, units, (Member(name, index),), (), (Member("next", index),))


def chain(groups: tuple[PruningGroup, ...], prices: list[float]) -> Cost:
    """Layers one after another, each as dear as inputs times outputs times its price."""

    def cost(widths: Mapping[str, int]) -> float:
        sizes = [3, *(widths[group.name] for group in groups), 10]
        return sum(price * a * b for price, a, b in zip(prices, sizes[:-1], sizes[1:], strict=True))

    return cost


@some.composite
def problems(draw: some.DrawFn) -> tuple[tuple[PruningGroup, ...], dict[str, np.ndarray], Cost, Limits]:  # type: ignore[type-arg]
    groups = tuple(group(str(number), draw(some.integers(1, 90))) for number in range(draw(some.integers(1, 4))))
    few = some.integers(0, 3).map(float)  # many units are worth the same
    worth = draw(some.sampled_from([few, some.floats(0, 100)]))
    scores = {each.name: np.array([draw(worth) for _ in range(each.units)]) for each in groups}
    prices = [draw(some.floats(0.1, 10)) for _ in range(len(groups) + 1)]
    limits = Limits(
        grid=draw(some.sampled_from([1, 8, 16])),
        floor=draw(some.sampled_from([0.0, 0.25, 0.9])),
        least=draw(some.sampled_from([1, 16])),
    )
    return groups, scores, chain(groups, prices), limits


@given(problems(), some.floats(0.05, 1.1))
def test_the_target_is_met_within_the_limits_or_refused(problem, share: float) -> None:  # type: ignore[no-untyped-def]
    groups, scores, cost, limits = problem
    target = share * cost(full_widths(groups))
    lowest = {each.name: limits.widths(each)[-1] for each in groups}
    try:
        widths = search(groups, scores, cost, target, limits)
    except PruneRefused:
        assert cost(lowest) > target
        return
    assert cost(widths) <= target
    assert widths == search(groups, scores, cost, target, limits)
    for each in groups:
        width = widths[each.name]
        assert width == each.units or width % limits.grid == 0
        assert width >= min(each.units, max(1, limits.floor * each.units, limits.least))
        gone = least_important([each], scores, widths).get(each.name, [])
        kept = sorted(set(range(each.units)) - set(gone))
        assert len(gone) == each.units - width
        worth = scores[each.name]
        assert not gone or worth[gone].max() <= worth[kept].min()
        tied = [unit for unit in gone if worth[unit] == worth[kept].min()]
        assert all(unit < other for unit in tied for other in kept if worth[other] == worth[unit])


@given(problems(), some.floats(0.2, 1))
def test_no_step_more_than_needed(problem, share: float) -> None:  # type: ignore[no-untyped-def]
    """Some group could not have stopped one step earlier, or the search would have."""
    groups, scores, cost, limits = problem
    full = full_widths(groups)
    target = share * cost(full)
    try:
        widths = search(groups, scores, cost, target, limits)
    except PruneRefused:
        return
    earlier = []
    for each in groups:
        possible = limits.widths(each)
        place = possible.index(widths[each.name])
        if place:
            earlier.append(cost(widths | {each.name: possible[place - 1]}))
    assert not earlier or max(earlier) > target


@pytest.mark.parametrize(
    ("units", "channels", "limits", "widths"),
    [
        (64, 1, Limits(), [64, 48, 32, 16]),
        (50, 1, Limits(), [50, 48, 32, 16]),
        (50, 1, Limits(grid=8), [50, 48, 40, 32, 24, 16]),
        (256, 1, Limits(), [256, *range(240, 63, -16)]),
        (100, 1, Limits(floor=0.3), [100, 96, 80, 64, 48, 32]),
        (16, 1, Limits(), [16]),
        (10, 1, Limits(), [10]),
        (20, 1, Limits(), [20, 16]),
        (3, 1, Limits(grid=1, floor=0.0, least=0), [3, 2, 1]),
        (8, 64, Limits(), [8, 7, 6, 5, 4, 3, 2]),  # heads of an attention
        (8, 8, Limits(), [8, 6, 4, 2]),
        (4, 16, Limits(floor=0.0), [4, 3, 2, 1]),
    ],
)
def test_widths_of_a_group(units: int, channels: int, limits: Limits, widths: list[int]) -> None:
    assert limits.widths(group("g", units, channels)) == widths


def test_units_with_equal_scores_go_in_their_order_and_no_more_than_asked() -> None:
    groups = [group("g", 160)]
    equal = {"g": np.ones(160)}
    widths = search(groups, equal, lambda widths: widths["g"], 144, Limits())
    assert widths == {"g": 144}
    assert least_important(groups, equal, widths) == {"g": list(range(16))}


def test_a_group_without_a_width_keeps_its_units() -> None:
    groups = [group("g", 4), group("h", 4)]
    scores = {"g": np.arange(4.0), "h": np.arange(4.0)}
    assert least_important(groups, scores, {"h": 3}) == {"h": [0]}


def test_importance_is_weighed_against_what_it_costs() -> None:
    groups = group("cheap", 32), group("dear", 32)
    scores = {"cheap": np.full(32, 1.0), "dear": np.full(32, 2.0)}
    by_ten = search(groups, scores, lambda widths: widths["cheap"] + 10 * widths["dear"], 200, Limits())
    assert by_ten == {"cheap": 32, "dear": 16}
    alike = search(groups, scores, lambda widths: widths["cheap"] + widths["dear"], 48, Limits())
    assert alike == {"cheap": 16, "dear": 32}


def test_a_step_that_saves_nothing_does_not_stop_the_search() -> None:
    groups = [group("g", 64)]
    plateau = {64: 10.0, 48: 10.5, 32: 10.5, 16: 1.0}
    assert search(groups, {"g": np.ones(64)}, lambda widths: plateau[widths["g"]], 2, Limits()) == {"g": 16}


def test_a_target_out_of_reach_is_refused_with_what_can_be_reached() -> None:
    with pytest.raises(PruneRefused, match="cost: expected at most 5, got 16 with every group at its floor"):
        search([group("g", 64)], {"g": np.ones(64)}, lambda widths: widths["g"], 5, Limits())


@pytest.mark.parametrize(
    "scores", [{}, {"g": np.ones(63)}, {"g": np.array([1.0] * 63 + [np.nan])}, {"g": np.full(64, np.inf)}]
)
def test_scores_that_cannot_be_ranked_are_refused(scores: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    with pytest.raises(PruneRefused, match="scores of g: expected 64 finite numbers"):
        search([group("g", 64)], scores, lambda widths: widths["g"], 32, Limits())


def small_net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 48, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48 * 16, 5),
    ).eval()


def test_a_net_is_cut_to_half_its_macs() -> None:
    net = small_net()
    groups = find_groups(net, EXAMPLE)
    scores = {each.name: np.random.default_rng(1).random(each.units) for each in groups}
    cost = net_cost(net, EXAMPLE, groups, macs_of)
    before = {name: weight.clone() for name, weight in net.state_dict().items()}

    pruned = prune(net, EXAMPLE, groups, scores, cost, macs(net, EXAMPLE) / 2)

    assert pruned.cost_before == macs(net, EXAMPLE)
    assert pruned.cost_after == macs(pruned.net, EXAMPLE) <= macs(net, EXAMPLE) / 2
    assert pruned.net(EXAMPLE).shape == (2, 5)
    assert all(torch.equal(before[name], weight) for name, weight in net.state_dict().items()), "the net is a copy"
    smaller = dict(pruned.net.named_parameters())
    for name, layer in (("0", net[0]), ("3", net[3])):
        kept = np.sort(np.argsort(scores[name])[-pruned.widths[name] :])
        assert torch.equal(smaller[f"{name}.bias"], layer.bias[kept]), "exactly the lowest go, the rest in order"


def test_a_net_that_is_cheap_enough_loses_nothing() -> None:
    net = small_net()
    groups = find_groups(net, EXAMPLE)
    scores = {each.name: np.ones(each.units) for each in groups}
    pruned = prune(net, EXAMPLE, groups, scores, lambda widths: 1.0, 1.0)
    assert pruned.widths == {"0": 32, "3": 48}
    assert torch.equal(pruned.net(EXAMPLE), net(EXAMPLE))
