"""The criteria: right by hand or by trial, the same with frozen weights, and without a trace in the net."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.compress.nets import cross_entropy
from training.compress import importance
from training.compress.groups import Member, PruningGroup, find_groups
from training.compress.importance import IMPORTANCES, Scores, activation, apoz, magnitude, per_unit, random, taylor
from training.data.dataset import Dataset
from training.errors import RemovalRefused

CHANCE = np.random.default_rng(3)
IMAGES = Dataset(CHANCE.standard_normal((20, 2, 4, 4), np.float32), CHANCE.integers(0, 3, 20))
VECTORS = Dataset(CHANCE.standard_normal((20, 3), np.float32), CHANCE.integers(0, 3, 20))


def mean_output(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A loss that follows what the last layer reads exactly, so that its first order is all of it."""
    mean: Tensor = net(inputs).flatten(1).sum(1).mean()
    return mean


def picture_net() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(5, 3),
    ).eval()


class ReadTwice(nn.Module):
    """Units with two readers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.first, self.left, self.right = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        found = self.first(x).relu()
        answers: Tensor = self.left(found) + self.right(found)
        return answers


def found_in(net: nn.Module, rows: Dataset) -> tuple[PruningGroup, ...]:
    groups = find_groups(net, torch.from_numpy(rows.inputs[:2]))
    assert groups
    return groups


def scored(name: str, net: nn.Module, rows: Dataset = IMAGES) -> Scores:
    return IMPORTANCES[name](net, found_in(net, rows), rows, cross_entropy, 7)


def without(net: nn.Module, group: PruningGroup, unit: int) -> nn.Module:
    """A copy whose readers do not look at the unit."""
    blind = deepcopy(net)
    for reader in group.readers:
        layer: Any = blind.get_submodule(reader.layer)
        layer.weight.data[:, list(reader.index[unit])] = 0.0
    return blind


def change_by_trial(net: nn.Module, group: PruningGroup, rows: Dataset) -> list[float]:
    """For each unit, the mean over the rows of the squared change of a row's output without it."""
    inputs = torch.from_numpy(rows.inputs)
    with torch.no_grad():
        as_it_is = net(inputs).flatten(1).sum(1)
        changed = [without(net, group, unit)(inputs).flatten(1).sum(1) for unit in range(group.units)]
    return [float((row - as_it_is).square().mean()) for row in changed]


@pytest.mark.parametrize("name", IMPORTANCES)
def test_one_finite_number_a_unit(name: str) -> None:
    scores = scored(name, picture_net())
    assert {group: (values.shape, values.dtype) for group, values in scores.items()} == {
        "0": ((6,), np.float64),
        "4": ((5,), np.float64),
    }
    for values in scores.values():
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert len(np.unique(values)) > 2


def test_magnitude_is_the_norm_of_the_weights_over_the_mean_of_the_group() -> None:
    net = picture_net()
    norms = net[0].weight.detach().double().flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(scored("magnitude", net)["0"], norms / norms.mean())


def test_magnitude_does_not_follow_the_scale_of_a_layer() -> None:
    net = picture_net()
    before = scored("magnitude", net)
    net[0].weight.data *= 100
    np.testing.assert_allclose(scored("magnitude", net)["0"], before["0"], rtol=1e-6)


@pytest.mark.parametrize(("net", "group"), [(ReadTwice().eval(), 0), (ReadTwice().eval().requires_grad_(False), 0)])
def test_taylor_is_the_change_by_trial_where_the_loss_is_linear(net: nn.Module, group: int) -> None:
    groups = found_in(net, VECTORS)
    scores = taylor(net, groups, VECTORS, mean_output, 0)[groups[group].name]
    np.testing.assert_allclose(scores, change_by_trial(net, groups[group], VECTORS), rtol=1e-4, atol=1e-9)


def test_taylor_counts_all_places_of_a_unit_behind_a_flatten() -> None:
    net = nn.Sequential(*picture_net()[:4], nn.Linear(6 * 16, 3)).eval()
    (group,) = found_in(net, IMAGES)
    scores = taylor(net, [group], IMAGES, mean_output, 0)["0"]
    np.testing.assert_allclose(scores, change_by_trial(net, group, IMAGES), rtol=1e-4, atol=1e-9)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net = picture_net()
    at_once = {name: scored(name, net) for name in IMPORTANCES}
    monkeypatch.setattr(importance, "BATCH_ROWS", 7)  # 20 rows: the last batch is short
    for name, whole in at_once.items():
        for group, values in scored(name, net).items():
            np.testing.assert_allclose(values, whole[group], rtol=1e-4, atol=1e-12, err_msg=name)


class Windows(nn.Module):
    """A net that folds the four vectors of a row into axis 0."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.last(self.first(x.flatten(0, 1)).relu()).unflatten(0, (len(x), -1)).mean(1)
        return answers


def test_positions_folded_into_the_rows_are_one_row() -> None:
    net = Windows().eval()
    rows = Dataset(CHANCE.standard_normal((6, 4, 3), np.float32), np.zeros(6, np.int64))
    each = tuple((unit,) for unit in range(5))
    group = PruningGroup("first", 5, (Member("first", each),), (), (Member("last", each),))
    scores = taylor(net, [group], rows, mean_output, 0)["first"]
    np.testing.assert_allclose(scores, change_by_trial(net, group, rows), rtol=1e-4, atol=1e-9)


class PositionsFirst(nn.Module):
    """A net whose layers read [positions, rows, features]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.last(self.first(x.transpose(0, 1)).relu()).mean(0)
        return answers


@pytest.mark.parametrize("positions", [4, 6, 12])
def test_rows_lie_along_the_axis_that_grows_with_them(positions: int) -> None:
    net = PositionsFirst().eval()
    rows = Dataset(CHANCE.standard_normal((6, positions, 3), np.float32), np.zeros(6, np.int64))
    (group,) = found_in(net, rows)
    scores = taylor(net, [group], rows, mean_output, 0)["first"]
    np.testing.assert_allclose(scores, change_by_trial(net, group, rows), rtol=1e-4, atol=1e-9)


class Channels(nn.Module):
    """A net that takes the rows for positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(3, 5, 1), nn.Conv1d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.last(self.first(x.permute(1, 2, 0)).relu()).mean(0).T
        return answers


def test_rows_may_lie_behind_the_features() -> None:
    net = Channels().eval()
    rows = Dataset(CHANCE.standard_normal((6, 4, 3), np.float32), np.zeros(6, np.int64))
    (group,) = found_in(net, rows)
    scores = taylor(net, [group], rows, mean_output, 0)["first"]
    np.testing.assert_allclose(scores, change_by_trial(net, group, rows), rtol=1e-4, atol=1e-9)


class Shared(nn.Module):
    """A net whose rows are all scaled by what it makes of a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 1)
        self.register_buffer("table", torch.ones(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = x * self.last(self.first(self.table).relu()).mean()
        return answers


def test_what_is_not_read_row_by_row_is_refused() -> None:
    each = tuple((unit,) for unit in range(5))
    group = PruningGroup("first", 5, (Member("first", each),), (), (Member("last", each),))
    with pytest.raises(RemovalRefused, match=r"last: expected to read row by row, got \[4, 5\] of 2 rows"):
        taylor(Shared().eval(), [group], VECTORS, mean_output, 0)


class ByName(nn.Module):
    """A net that calls its layers by name."""

    def __init__(self, net: nn.Sequential) -> None:
        super().__init__()
        self.first, self.last = net[4], net[7]

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.last(input=self.first(input=x).relu())
        return answers


@pytest.mark.parametrize("name", IMPORTANCES)
def test_a_layer_that_is_called_by_name_is_read_as_any_other(name: str) -> None:
    named = ByName(picture_net()).eval()
    plain = nn.Sequential(named.first, nn.ReLU(), named.last)
    rows = Dataset(CHANCE.standard_normal((20, 6 * 16), np.float32), CHANCE.integers(0, 3, 20))
    np.testing.assert_allclose(scored(name, named, rows)["first"], scored(name, plain, rows)["0"])


def test_activation_is_what_is_read_times_the_weights_that_read_it() -> None:
    net = picture_net()
    with torch.no_grad():
        read = net[:4](torch.from_numpy(IMAGES.inputs)).double().abs().mean(0)
    worth = (read * net[4].weight.double().norm(dim=0)).reshape(6, 16).sum(1).detach().numpy()
    np.testing.assert_allclose(scored("activation", net)["0"], worth / worth.mean(), rtol=1e-6)


def test_apoz_is_the_share_of_what_is_not_zero() -> None:
    net = picture_net()
    with torch.no_grad():
        read = net[:3](torch.from_numpy(IMAGES.inputs))
    np.testing.assert_allclose(scored("apoz", net)["0"], (read != 0).double().mean((0, 2, 3)).numpy())


@pytest.mark.parametrize("criterion", [taylor, activation, apoz])
def test_a_dead_unit_is_worth_nothing(criterion: Callable[..., Scores]) -> None:
    net = picture_net()
    net[4].bias.data[2] = -1e6
    scores = criterion(net, found_in(net, IMAGES), IMAGES, cross_entropy, 0)["4"]
    assert scores[2] == 0
    assert (np.delete(scores, 2) > 0).any()


def test_random_follows_the_seed() -> None:
    net = picture_net()
    groups = found_in(net, IMAGES)
    first, again, other = (random(net, groups, IMAGES, cross_entropy, seed) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != other[name]).all()


@pytest.mark.parametrize("name", IMPORTANCES)
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_frozen_weights_and_a_context_without_gradients_change_nothing(name: str, context: Callable[[], Any]) -> None:
    net = picture_net()
    groups = found_in(net, IMAGES)
    expected = IMPORTANCES[name](net, groups, IMAGES, cross_entropy, 7)
    net.requires_grad_(False)
    with context():
        got = IMPORTANCES[name](net, groups, IMAGES, cross_entropy, 7)
    for group, values in expected.items():
        assert values.any()
        np.testing.assert_allclose(got[group], values, rtol=1e-6)


@pytest.mark.parametrize("name", IMPORTANCES)
def test_the_net_is_left_as_it_was(name: str) -> None:
    net = picture_net().train()
    net[1].eval()
    net[4].weight.requires_grad_(False)
    net[0].weight.grad = torch.full_like(net[0].weight, 3.0)
    groups = found_in(net, IMAGES)
    before = deepcopy(net)
    IMPORTANCES[name](net, groups, IMAGES, cross_entropy, 7)
    assert [module.training for module in net.modules()] == [module.training for module in before.modules()]
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.state_dict().items())
    for now, then in zip(net.parameters(), before.parameters(), strict=True):
        assert now.requires_grad == then.requires_grad
    assert [name for name, weight in net.named_parameters() if weight.grad is not None] == ["0.weight"]
    assert (net[0].weight.grad == 3).all()
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_a_loss_that_fails_leaves_no_hook_and_no_mode() -> None:
    net = picture_net().train()

    def broken(net: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        taylor(net, found_in(net, IMAGES), IMAGES, broken, 0)
    assert net[0].training
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_a_unit_may_have_no_place_or_several() -> None:
    member = Member("layer", ((), (0, 2), (1,), ()))
    np.testing.assert_array_equal(per_unit(np.array([1.0, 2.0, 4.0]), member), [0, 5, 2, 0])
    np.testing.assert_array_equal(per_unit(np.array([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]]), member)[1], [0, 2, 1, 0])


def test_magnitude_of_a_layer_of_zeros_is_zero() -> None:
    net = picture_net()
    net[0].weight.data.zero_()
    assert not magnitude(net, found_in(net, IMAGES), IMAGES, cross_entropy, 0)["0"].any()
    assert np.isfinite(activation(net, found_in(net, IMAGES), IMAGES, cross_entropy, 0)["0"]).all()


@pytest.mark.parametrize("name", IMPORTANCES)
def test_a_net_without_groups_has_no_scores(name: str) -> None:
    assert IMPORTANCES[name](nn.Sequential(nn.Flatten(), nn.Linear(32, 3)), [], IMAGES, cross_entropy, 0) == {}
