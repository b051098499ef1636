"""Costs by width: held against the shapes that PyTorch makes, and against nets that were really cut."""

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from torch import Tensor, nn

from training.compress.groups import find_groups, remove
from training.compress.layer_costs import LayerShape, layers, macs, macs_of, net_cost


def test_macs_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1, stride=2), nn.Flatten())
    net.append(nn.Linear(4 * 16, 10))
    assert macs(net, torch.zeros(2, 3, 8, 8)) == 64 * 8 * 27 + 16 * 4 * 8 + 640


def test_a_dense_layer_counts_for_every_position() -> None:
    ((name, shape),) = layers(nn.Sequential(nn.Linear(5, 7)), torch.zeros(3, 4, 5))
    assert (name, shape) == ("0", LayerShape(operator="Gemm", inputs=5, outputs=7, positions=4))
    assert macs_of(shape) == 4 * 35


# PyTorch says once a process that such a kernel may cost a copy; what is counted is the same.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@settings(deadline=None, max_examples=30)
@given(data=some.data(), kind=some.sampled_from([nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d]))
def test_macs_follow_the_shape_that_pytorch_makes(data: some.DataObject, kind: Any) -> None:
    kernel, stride, dilation, blocks = (data.draw(some.integers(1, 3), label=word) for word in "ksdb")
    transposed = kind is nn.ConvTranspose2d
    paddings = some.integers(0, 2) if transposed or stride > 1 else some.sampled_from([0, 1, "same", "valid"])
    padding = data.draw(paddings)
    layer = kind(2 * blocks, 3 * blocks, kernel, stride=stride, padding=padding, dilation=dilation, groups=blocks)
    size = (9,) if kind is nn.Conv1d else (9, 6)
    read = torch.zeros(2, 2 * blocks, *size)
    try:
        made = layer(read)
    except RuntimeError:
        assume(False)
    ((_, shape),) = layers(nn.Sequential(layer), read)
    by_output = made[0].numel() * 2 * kernel ** len(size)  # each output reads two inputs under the kernel
    by_input = read[0].numel() * 3 * kernel ** len(size)
    assert macs_of(shape) == (by_input if transposed else by_output)


class Net(nn.Module):
    """A straight way beside two convolutions, a depthwise one, a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 3, padding=1))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.wide = nn.Conv2d(8, 16, 1)
        self.classifier = nn.Linear(16 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        x = self.depthwise(x + self.body(x)).relu()
        answers: Tensor = self.classifier(self.wide(x).relu().flatten(1))
        return answers


@pytest.mark.parametrize("gone", [{}, {"first": 3}, {"body.0": 5}, {"wide": 7}, {"first": 2, "body.0": 1, "wide": 15}])
def test_the_cost_of_widths_is_that_of_the_net_with_those_widths(gone: dict[str, int]) -> None:
    net, example = Net(), torch.zeros(1, 3, 4, 4)
    groups = find_groups(net, example)
    units = {group.name: group.units for group in groups}
    assert units == {"first": 8, "body.0": 12, "wide": 16}
    cost = net_cost(net, example, groups, macs_of)
    smaller = remove(net, example, {name: range(count) for name, count in gone.items()})
    assert cost({name: units[name] - count for name, count in gone.items()}) == macs(smaller, example)
    assert cost({}) == macs(net, example)


def test_the_measure_sees_each_layer_at_its_width() -> None:
    net, example = Net(), torch.zeros(1, 3, 4, 4)
    seen: list[LayerShape] = []

    def measure(shape: LayerShape) -> float:
        seen.append(shape)
        return 1.0

    assert net_cost(net, example, find_groups(net, example), measure)({"first": 4}) == 6.0
    assert [(shape.inputs, shape.outputs, shape.blocks) for shape in seen] == [
        (3, 4, 1),
        (4, 12, 1),
        (12, 4, 1),
        (4, 4, 4),
        (4, 16, 1),
        (256, 10, 1),
    ]


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.layer(self.layer(x))
        return answers


def test_a_layer_that_is_called_twice_costs_twice() -> None:
    assert macs(CalledTwice(), torch.zeros(1, 4)) == 32


def test_the_net_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    macs(net, torch.ones(2, 3, 4, 4))
    assert all(module.training for module in net.modules())
    assert net[1].num_batches_tracked == 0
    assert not any(module._forward_pre_hooks for module in net.modules())
