"""Widths: a pruned net's checkpoint loads into a fresh net of its class."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.compress.nets import NETS, Mlp
from training import checkpoint
from training.compress.cut import add_bias
from training.compress.groups import find_groups, remove
from training.compress.widths import resize, widths
from training.errors import RemovalRefused


@pytest.mark.parametrize("name", NETS)
def test_a_pruned_checkpoint_gives_the_same_answers_in_a_fresh_net(name: str, tmp_path: Path) -> None:
    make, example = NETS[name]
    net = make()
    pruned = remove(net, example, {group.name: [0, 2] for group in find_groups(net, example)})
    checkpoint.save(pruned, {}, tmp_path)
    fresh = checkpoint.load(type(net)(), tmp_path)
    with torch.no_grad():
        assert torch.equal(fresh(example), pruned(example))
    assert widths(fresh) == widths(pruned)
    assert [type(module) for module in fresh.modules()] == [type(module) for module in net.modules()]


def test_a_bias_that_a_layer_gained_is_kept() -> None:
    net = NETS["separable"][0]()
    layer = net.get_submodule("0")
    assert isinstance(layer, nn.Conv2d)
    add_bias(layer).data.fill_(2.0)
    fresh = resize(NETS["separable"][0](), widths(net))
    fresh.load_state_dict(net.state_dict())
    assert fresh.get_parameter("0.bias").tolist() == [2.0] * 8


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"0": {"inputs": 6, "outputs": 13, "bias": True}}, "0: expected outputs of 1 to 12, got 13"),
        ({"0": {"inputs": 6, "outputs": 0, "bias": True}}, "0: expected outputs of 1 to 12, got 0"),
        ({"0": {"units": 6}}, "0: expected inputs, outputs, bias; got units"),
        ({"5": {"units": 6}}, "5: expected the same layers"),
    ],
)
def test_widths_of_another_net_are_refused(changed: dict[str, Any], finding: str) -> None:
    with pytest.raises(RemovalRefused, match=finding):
        resize(Mlp(), widths(Mlp()) | changed)


def test_a_bias_that_a_layer_lost_is_refused() -> None:
    with pytest.raises(RemovalRefused, match="0: expected a bias"):
        resize(Mlp(), widths(Mlp()) | {"0": {"inputs": 6, "outputs": 12, "bias": False}})
