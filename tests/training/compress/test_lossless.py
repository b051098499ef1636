"""Lossless: exactly the units that were put to sleep go, and no answer moves."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from tests.training.compress.nets import NETS, PICTURES, drawn, learnt
from training.compress import lossless as module
from training.compress.evaluating import net_answers
from training.compress.groups import cut, find_groups
from training.compress.lossless import Lossless, flush_denormals, remove_dead

Rows = NDArray[np.float32]


def rows_of(name: str, rows: int) -> tuple[nn.Module, Rows, Rows]:
    """A net, rows to find its dead units on, and as many others."""
    make, example = NETS[name]
    net = make()
    if name == "residual":
        return net, PICTURES[:2].numpy(), PICTURES[2:].numpy()
    both = drawn(2 * rows, *example.shape[1:])
    if name == "digits":
        both = both.abs() * 8
        net.get_parameter("classifier.0.bias").data += 4.0  # drawn pictures are too much alike to wake every unit
    return net, both[:rows].numpy(), both[rows:].numpy()


def norm_says(net: nn.Module, layer: str, unit: int, value: float) -> None:
    """A channel of a BatchNorm always writes this value; behind a ReLU a negative one is dead."""
    net.get_parameter(f"{layer}.weight").data[unit] = 0.0
    net.get_parameter(f"{layer}.bias").data[unit] = value


def says(net: nn.Module, layer: str, unit: int, value: float) -> None:
    """The same of a convolution or dense layer."""
    norm_says(net, layer, unit, value)


def require_same(net: nn.Module, found: Lossless, rows: Rows) -> None:
    before, after = net_answers(net, rows), net_answers(found.net, rows)
    assert found.undone is None
    assert np.abs(after - before).max() <= 1e-5 * max(1.0, np.abs(before).max())
    assert not found.net.training


@pytest.mark.parametrize("name", NETS)
def test_nothing_goes_where_all_units_live(name: str) -> None:
    net, calibration, held_out = rows_of(name, 64)
    found = remove_dead(net, calibration, held_out)
    assert (found.dead, found.unread, found.constant, found.denormals) == ({}, {}, {}, 0)
    assert np.array_equal(net_answers(found.net, held_out), net_answers(net, held_out))


def test_planted_units_of_the_digits_net_go_and_no_others() -> None:
    net, calibration, held_out = rows_of("digits", 64)
    norm_says(net, "features.1", 3, -1.0)
    norm_says(net, "features.1", 31, -0.1)
    norm_says(net, "features.4", 0, -5.0)
    norm_says(net, "features.8", 7, 0.9)
    norm_says(net, "features.8", 8, -0.9)
    says(net, "classifier.0", 100, -1.0)
    says(net, "classifier.0", 101, 2.5)
    net.get_parameter("classifier.0.bias").data[102] = -1e6  # its weights stay
    found = remove_dead(net, calibration, held_out)
    assert found.dead == {"features.0": [3, 31], "features.3": [0], "features.7": [8], "classifier.0": [100, 102]}
    assert found.constant == {"features.7": [7], "classifier.0": [101]}
    assert found.unread == found.awake == {}
    assert found.net.get_parameter("classifier.0.weight").shape == (125, 62 * 16)
    require_same(net, found, held_out)


def test_a_constant_that_is_dropped_and_not_folded_changes_the_answers() -> None:
    net, calibration, held_out = rows_of("digits", 16)
    norm_says(net, "features.8", 7, 0.9)
    require_same(net, remove_dead(net, calibration, held_out), held_out)
    groups = find_groups(net, torch.from_numpy(calibration[:2]))
    dropped = net_answers(cut(net, groups, {"features.7": [7]}), held_out)
    assert np.abs(dropped - net_answers(net, held_out)).max() > 0.01


def test_a_constant_before_zero_padding_stays() -> None:
    net, calibration, held_out = rows_of("digits", 16)
    norm_says(net, "features.1", 3, 1.0)
    found = remove_dead(net, calibration, held_out)
    assert found.constant == found.dead == {}
    require_same(net, found, held_out)


@pytest.mark.parametrize(
    ("reader", "goes"),
    [
        (nn.Conv2d(4, 3, 3, padding=1), False),
        (nn.Conv2d(4, 3, 3, padding="same"), False),
        (nn.Conv2d(4, 3, 3, padding=(0, 1)), False),
        (nn.ConvTranspose2d(4, 3, 3), False),
        (nn.Conv2d(4, 3, 3), True),
        (nn.Conv2d(4, 3, 3, padding="valid"), True),
        (nn.Conv2d(4, 3, 3, stride=2, dilation=2), True),
        (nn.Conv2d(4, 3, 3, padding=1, padding_mode="replicate", bias=False), True),
        (nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), True),
        (nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular"), True),
    ],
    ids=str,
)
def test_a_constant_goes_where_a_bias_can_hold_it(reader: nn.Module, goes: bool) -> None:
    net = learnt(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), reader))
    says(net, "0", 1, 3.0)
    rows = drawn(20, 3, 7, 7).numpy()
    found = remove_dead(net, rows[:10], rows[10:])
    assert found.constant == ({"0": [1]} if goes else {})
    require_same(net, found, rows)


def test_units_on_both_ways_of_a_residual_net_go_when_both_are_silent() -> None:
    net, calibration, held_out = rows_of("residual", 2)
    norm_says(net, "body.7.body.1", 5, -1.0)  # inside a branch
    norm_says(net, "body.4", 2, -1.0)  # on the stream, and in the branch that is added to it
    norm_says(net, "body.7.body.4", 2, -1.0)
    norm_says(net, "body.4", 3, -1.0)  # on the stream alone: the branch still writes
    norm_says(net, "body.13", 9, 0.5)  # constant; of its two readers one pads with zeros, and has no weight for it
    norm_says(net, "body.16.body.4", 9, 0.25)
    net.get_parameter("body.16.body.0.weight").data[:, 9] = 0.0
    norm_says(net, "body.13", 10, 0.5)  # the same, where that one has
    norm_says(net, "body.16.body.4", 10, 0.25)
    found = remove_dead(net, calibration, held_out)
    assert found.dead == {"body.7.body.0": [5], "body.3": [2]}
    assert found.constant == {"body.12": [9]}
    require_same(net, found, held_out)


def test_what_a_batch_norm_makes_of_a_dead_channel_is_folded() -> None:
    net, calibration, held_out = rows_of("joined", 32)
    says(net, "left", 1, 0.3)
    says(net, "right", 4, -0.3)
    found = remove_dead(net, calibration, held_out)
    assert found.constant == {"left": [1], "right": [4]}
    require_same(net, found, held_out)


def test_a_depthwise_convolution_is_gone_through() -> None:
    net, calibration, held_out = rows_of("separable", 32)
    norm_says(net, "4", 6, 0.8)
    norm_says(net, "1", 2, -1.0)  # dead before the depthwise convolution, its bias behind
    found = remove_dead(net, calibration, held_out)
    assert {**found.dead, **found.constant}.keys() == {"0"}
    assert sorted(unit for units in (found.dead, found.constant) for unit in units.get("0", [])) == [2, 6]
    require_same(net, found, held_out)


def test_hidden_units_between_layer_norms_go_and_those_under_one_stay() -> None:
    net, calibration, held_out = rows_of("stream", 32)
    says(net, "blocks.0.wide", 4, 0.7)
    says(net, "blocks.1.wide", 5, 0.0)
    for layer in ("enter", "blocks.0.back", "blocks.1.back"):
        says(net, layer, 3, 0.0)
    norm_says(net, "norm", 3, 0.0)
    found = remove_dead(net, calibration, held_out)
    assert (found.dead, found.constant) == ({"blocks.1.wide": [5]}, {"blocks.0.wide": [4]})
    require_same(net, found, held_out)


def test_a_unit_that_wakes_on_the_held_out_rows_stays() -> None:
    net, calibration, held_out = rows_of("mlp", 32)
    says(net, "0", 2, 0.0)
    net.get_parameter("0.weight").data[2, 0] = 1.0
    calibration[:, 0] = -abs(calibration[:, 0])
    held_out[:, 0] = -abs(held_out[:, 0])
    assert remove_dead(net, calibration, held_out).dead == {"0": [2]}
    held_out[-1, 0] = 1.0
    found = remove_dead(net, calibration, held_out)
    assert (found.dead, found.awake) == ({}, {"0": [2]})
    require_same(net, found, held_out)


def test_a_constant_of_another_value_on_the_held_out_rows_stays() -> None:
    net = learnt(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    says(net, "0", 1, 0.0)
    net.get_parameter("0.weight").data[1, 1] = 1.0
    calibration, held_out = drawn(16, 2).numpy(), drawn(16, 2).numpy()
    calibration[:, 1], held_out[:, 1] = 1.0, 2.0
    found = remove_dead(net, calibration, held_out)
    assert (found.constant, found.awake) == ({}, {"0": [1]})


def test_units_that_nobody_reads_go_and_then_those_that_only_they_read() -> None:
    net, calibration, held_out = rows_of("mlp", 32)
    net.get_parameter("4.weight").data[:, 6] = 0.0
    others = [unit for unit in range(8) if unit != 6]
    net.get_parameter("2.weight").data[others, 11] = 0.0
    says(net, "0", 4, -1.0)
    found = remove_dead(net, calibration, held_out)
    assert (found.dead, found.unread) == ({"0": [4]}, {"2": [6], "0": [11]})
    require_same(net, found, held_out)


def test_a_group_keeps_one_unit_when_all_are_dead() -> None:
    net, calibration, held_out = rows_of("mlp", 16)
    net.get_parameter("0.bias").data.fill_(-1e6)
    found = remove_dead(net, calibration, held_out)
    assert found.dead["0"] == list(range(1, 12))
    assert found.net.get_parameter("0.weight").shape == (1, 6)
    require_same(net, found, held_out)


def test_a_net_with_a_grouped_convolution_is_looked_at_around_it() -> None:
    net = learnt(
        nn.Sequential(
            nn.Conv2d(3, 4, 1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1, groups=2),
            nn.Conv2d(4, 6, 1),
            nn.ReLU(),
            nn.Conv2d(6, 2, 1),
        )
    )
    says(net, "0", 1, -1.0)
    says(net, "3", 5, -1.0)
    rows = drawn(20, 3, 4, 4).numpy()
    found = remove_dead(net, rows[:10], rows[10:])
    assert found.dead == {"3": [5]}
    require_same(net, found, rows)


def forget(*_: object) -> None:
    """A fold that does not happen."""


@pytest.mark.parametrize("spoil", [forget, lambda net, *_: next(net.parameters()).data.fill_(float("nan"))])
def test_a_removal_that_changes_answers_is_undone(monkeypatch: pytest.MonkeyPatch, spoil: Callable[..., None]) -> None:
    net, calibration, held_out = rows_of("digits", 16)
    norm_says(net, "features.8", 7, 0.9)
    monkeypatch.setattr(module, "_fold", spoil)
    found = remove_dead(net, calibration, held_out)
    assert found.net is net
    assert found.undone is not None
    assert "expected a difference of at most 1e-05" in found.undone
    assert (found.dead, found.constant, found.unread, found.denormals) == ({}, {}, {}, 0)


def test_denormal_weights_are_flushed_and_counted() -> None:
    net, calibration, held_out = rows_of("digits", 16)
    weights, norm = net.get_parameter("classifier.0.weight"), net.get_buffer("features.1.running_var")
    weights.data[0, :4] = torch.tensor([1e-38, -1e-39, 1e-31, 1e-29])
    norm[0] = 1e-38
    found = remove_dead(net, calibration, held_out)
    assert found.denormals == 3
    assert torch.equal(found.net.get_parameter("classifier.0.weight")[0, :4], torch.tensor([0, 0, 0, 1e-29]))
    assert found.net.get_buffer("features.1.running_var")[0] == norm[0]
    assert weights[0, 2] == 1e-31, "the net is a copy"
    assert flush_denormals(found.net) == 0


def test_the_net_that_came_in_is_left_as_it_was() -> None:
    net, calibration, held_out = rows_of("digits", 16)
    norm_says(net, "features.8", 7, 0.9)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    remove_dead(net, calibration, held_out)
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())
