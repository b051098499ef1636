"""Groups: found whole, removed right, and left out where they could not be."""

import gc
from collections.abc import Collection

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.training.compress.nets import NETS, Joined, Mlp, drawn, learnt
from training.compress.cut import input_axis, is_depthwise
from training.compress.groups import PruningGroup, cut, find_groups, remove
from training.errors import RemovalRefused

Shape = tuple[int, list[str], list[str], list[str]]

EXPECTED: dict[str, dict[str, Shape]] = {
    "digits": {
        "features.0": (32, ["features.0"], ["features.1"], ["features.3"]),
        "features.3": (64, ["features.3"], ["features.4"], ["features.7"]),
        "features.7": (64, ["features.7"], ["features.8"], ["classifier.0"]),
        "classifier.0": (128, ["classifier.0"], [], ["classifier.2"]),
    },
    "residual": {
        "body.0": (8, ["body.0"], ["body.1"], ["body.3"]),
        "body.3": (16, ["body.3", "body.7.body.3"], ["body.4", "body.7.body.4"], ["body.7.body.0", "body.8"]),
        "body.7.body.0": (16, ["body.7.body.0"], ["body.7.body.1"], ["body.7.body.3"]),
        "body.8": (32, ["body.8"], ["body.9"], ["body.12"]),
        "body.12": (64, ["body.12", "body.16.body.3"], ["body.13", "body.16.body.4"], ["body.16.body.0", "classifier"]),
        "body.16.body.0": (64, ["body.16.body.0"], ["body.16.body.1"], ["body.16.body.3"]),
    },
    "joined": {"left": (4, ["left"], ["norm"], ["reader"]), "right": (6, ["right"], ["norm"], ["reader"])},
    "mlp": {"0": (12, ["0"], [], ["2"]), "2": (8, ["2"], [], ["4"])},
    "separable": {"0": (8, ["0", "3"], ["1", "4"], ["6"]), "6": (6, ["6"], [], ["9"])},
    "stream": {
        "enter": (
            8,
            ["enter", "blocks.0.back", "blocks.1.back"],
            ["blocks.0.norm", "blocks.1.norm", "norm"],
            ["blocks.0.wide", "blocks.1.wide", "head"],
        ),
        "blocks.0.wide": (16, ["blocks.0.wide"], [], ["blocks.0.back"]),
        "blocks.1.wide": (12, ["blocks.1.wide"], [], ["blocks.1.back"]),
    },
}


@pytest.fixture(scope="module", params=NETS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def net(name: str) -> nn.Module:
    return NETS[name][0]()


@pytest.fixture
def example(name: str) -> Tensor:
    return NETS[name][1]


def shape(group: PruningGroup) -> Shape:
    made, norms, readers = ([member.layer for member in part] for part in (group.producers, group.norms, group.readers))
    return group.units, made, norms, readers


def ignoring(net: nn.Module, groups: Collection[PruningGroup], units: dict[str, list[int]]) -> None:
    """Takes the weights of these units out of all that read them."""
    for group in groups:
        for reader in group.readers:
            layer = net.get_submodule(reader.layer)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            for place in reader.places(units[group.name]):
                layer.weight.data.select(input_axis(layer), place).zero_()


def test_every_group_is_found_with_its_layers(name: str, net: nn.Module, example: Tensor) -> None:
    assert {group.name: shape(group) for group in find_groups(net, example)} == EXPECTED[name]


def test_without_some_units_the_answers_are_those_of_readers_that_ignore_them(
    name: str, net: nn.Module, example: Tensor
) -> None:
    # A LayerNorm averages over what is left, so its answers change for a good reason.
    groups = [
        group
        for group in find_groups(net, example)
        if not any(isinstance(net.get_submodule(norm.layer), nn.LayerNorm) for norm in group.norms)
    ]
    units = {group.name: [1, group.units - 1] for group in groups}
    smaller = remove(net, example, units)
    ignoring(net, groups, units)
    with torch.no_grad():
        torch.testing.assert_close(smaller(example), net(example), rtol=1e-4, atol=1e-4)
    assert sum(map(torch.numel, smaller.parameters())) < sum(map(torch.numel, net.parameters()))
    assert type(smaller) is type(net)


def test_all_but_one_unit_of_every_group_can_go(net: nn.Module, example: Tensor) -> None:
    groups = find_groups(net, example)
    smaller = remove(net, example, {group.name: range(1, group.units) for group in groups})
    for group in groups:
        for member in group.producers:
            layer = smaller.get_submodule(member.layer)
            assert isinstance(layer, nn.Conv2d | nn.Linear)
            assert layer.weight.shape[0] == 1
            assert (
                isinstance(layer, nn.Linear) or not is_depthwise(net.get_submodule(member.layer)) or layer.groups == 1
            )
    assert smaller(example).shape == net(example).shape


@pytest.mark.parametrize("training", [True, False])
def test_the_net_is_left_as_it_was(net: nn.Module, example: Tensor, training: bool) -> None:
    net.train(training)
    net.requires_grad_(False)
    next(net.parameters()).requires_grad_(True)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    groups = find_groups(net, example)
    smaller = remove(net, example, {groups[0].name: [0]})
    for one in (net, smaller):
        assert all(module.training == training for module in one.modules())
        assert [parameter.requires_grad for parameter in one.parameters()].count(True) == 1
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in one.modules())
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("quiet", [torch.no_grad, torch.inference_mode])
def test_frozen_parameters_and_no_gradients_hide_nothing(quiet: type[torch.no_grad]) -> None:
    make, example = NETS["residual"]
    expected = find_groups(make(), example)
    with quiet():
        assert find_groups(make().requires_grad_(False), example) == expected


def test_one_row_is_not_taken_apart() -> None:
    make, example = NETS["stream"]
    assert find_groups(make(), example[:1]) == find_groups(make(), example)


def test_two_nets_do_not_meet() -> None:
    (first, rows), (second, pictures) = NETS["mlp"], NETS["digits"]
    alone = find_groups(first(), rows)
    find_groups(second(), pictures)
    assert find_groups(first(), rows) == alone


class Watched(nn.Conv2d):
    """A layer whose copies can be counted."""


def watched() -> int:
    gc.collect()
    return sum(type(one) is Watched for one in gc.get_objects())


def test_nothing_keeps_a_layer_or_a_copy_of_it_once_the_groups_are_found() -> None:
    # Torch-Pruning's pruners note layers with groups of channels in a dict that all of them share, and that never ends.
    grouped, layers = Watched(8, 8, 1, groups=4), (Watched(3, 8, 1), Watched(8, 6, 1), Watched(6, 2, 1))
    net = learnt(nn.Sequential(layers[0], nn.ReLU(), grouped, layers[1], nn.ReLU(), layers[2]))
    groups = find_groups(net, drawn(3, 3, 4, 4))
    assert [group.name for group in groups] == ["3"]
    assert watched() == 4, "the copies that the search has tried are gone"
    del net, grouped, layers
    assert watched() == 0, "the groups hold names alone"


def test_a_flattened_unit_has_a_place_for_each_position() -> None:
    make, example = NETS["digits"]
    group = find_groups(make(), example)[2]
    assert group.readers[0].index[2] == tuple(range(32, 48))


def test_units_behind_others_keep_their_places() -> None:
    make, example = NETS["joined"]
    left, right = find_groups(make(), example)
    assert left.readers[0].index == ((0,), (1,), (2,), (3,))
    assert right.readers[0].index == right.norms[0].index == ((4,), (5,), (6,), (7,), (8,), (9,))


class ChannelsLast(nn.Module):
    """Flattens with the channels innermost, which the dependency graph takes for outermost."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.reader = nn.Linear(4 * 36, 3)

    def forward(self, image: Tensor) -> Tensor:
        answers: Tensor = self.reader(self.convolution(image).relu().permute(0, 2, 3, 1).flatten(1))
        return answers


class ChannelsLastNormed(ChannelsLast):
    """The same under a LayerNorm, where a removal changes the answers for a good reason too."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)

    def forward(self, image: Tensor) -> Tensor:
        normed = self.norm(self.convolution(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).relu()
        answers: Tensor = self.reader(normed.permute(0, 2, 3, 1).flatten(1))
        return answers


class TwoHeads(nn.Module):
    """Cuts its features into two heads by a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(6, 8)
        self.back = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.back(self.wide(x).view(-1, 2, 4).softmax(-1).flatten(1))
        return answers


class OnItsInput(nn.Module):
    """Adds to what comes in, so that the width of its layer is not its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.reader = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.reader(x + self.inner(x))
        return answers


class Sees(nn.Module):
    """Sums up features that no layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.reader = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.inner(x)
        answers: Tensor = self.reader(inner) + inner.sum(1, keepdim=True)
        return answers


class Positions(nn.Module):
    """Adds a parameter of the net's own to the units."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.position = nn.Parameter(torch.ones(6))
        self.reader = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.reader(self.inner(x) + self.position)
        return answers


@pytest.mark.parametrize(
    ("net", "example"),
    [
        (ChannelsLast(), drawn(3, 3, 6, 6)),
        (ChannelsLastNormed(), drawn(3, 3, 6, 6)),
        (TwoHeads(), drawn(3, 6)),
        (OnItsInput(), drawn(3, 6)),
        (Sees(), drawn(3, 6)),
        (Positions(), drawn(3, 6)),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=4)), drawn(3, 3, 4, 4)),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)), drawn(3, 3, 4, 4)),
        (nn.Sequential(weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3)), drawn(3, 6)),
        (nn.Sequential(nn.Linear(6, 1), nn.Linear(1, 3)), drawn(3, 6)),
        (nn.Linear(6, 3), drawn(3, 6)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_cannot_be_cut_is_not_offered(net: nn.Module, example: Tensor) -> None:
    assert find_groups(net, example) == ()


class Doubled(nn.Module):
    """One unit of `narrow` stands in two places of `whole`, which comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = nn.Linear(6, 8)
        self.narrow = nn.Linear(6, 4)
        self.reader = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.narrow(x)
        answers: Tensor = self.reader(torch.cat((narrow, narrow), 1) + self.whole(x))
        return answers


def test_a_unit_that_stands_twice_goes_from_both_places_or_is_not_offered() -> None:
    net, example = Doubled().eval(), drawn(3, 6)
    for group in find_groups(net, example):
        assert group.units == 4
        assert {len(places) for member in group.readers for places in member.index} == {2}


def test_a_transposed_convolution_is_cut_along_its_own_axes() -> None:
    net = learnt(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 5, 2), nn.Conv2d(5, 2, 1)))
    example = drawn(3, 3, 4, 4)
    groups = find_groups(net, example)
    assert [group.units for group in groups] == [4, 5]
    smaller = remove(net, example, {"0": [0], "2": [1, 2]})
    assert smaller.get_parameter("2.weight").shape[:2] == (3, 3)


@pytest.mark.parametrize(
    ("units", "finding"),
    [
        ({"0": range(12)}, "0: expected at least one of 12 units to stay"),
        ({"0": [12]}, "0: expected units of 0 to 11, got 12"),
        ({"4": [0]}, "4: expected a pruning group, one of 0, 2"),
    ],
)
def test_a_wrong_removal_is_refused(units: dict[str, Collection[int]], finding: str) -> None:
    make, example = NETS["mlp"]
    with pytest.raises(RemovalRefused, match=finding):
        remove(make(), example, units)


def test_the_layer_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    make, example = NETS["mlp"]

    def half_done(net: nn.Module, groups: object, units: object) -> nn.Module:
        smaller = make()
        smaller.get_submodule("0").weight = nn.Parameter(torch.zeros(5, 6))  # type: ignore[assignment]
        smaller.get_submodule("0").bias = None  # type: ignore[assignment]
        return smaller

    monkeypatch.setattr("training.compress.groups.cut", half_done)
    monkeypatch.setattr("training.compress.groups.find_groups", lambda net, example: ())
    with pytest.raises(RemovalRefused, match="2: expected to run at its new width"):
        remove(make(), example, {"0": [1]})


def test_nothing_to_remove_is_a_copy() -> None:
    net = learnt(Mlp())
    same = cut(net, (), {})
    assert same is not net
    assert torch.equal(same(drawn(2, 6)), net(drawn(2, 6)))


def test_units_of_one_layer_in_two_groups_go_together() -> None:
    net, example = learnt(Joined()), drawn(3, 3, 6, 6)
    smaller = remove(net, example, {"left": [0, 3], "right": [5]})
    assert (
        smaller.get_parameter("norm.weight").tolist()
        == net.get_parameter("norm.weight")[[1, 2, 4, 5, 6, 7, 8]].tolist()
    )
    assert smaller.get_parameter("reader.weight").shape == (5, 7, 1, 1)
