"""Heads as pruning groups: scored, cut and saved as any other units."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.compress.nets import cross_entropy
from training.compress.attention import Attention
from training.compress.groups import cut, find_groups
from training.compress.heads import head_groups, prunable
from training.compress.importance import IMPORTANCES
from training.compress.prune import Limits
from training.compress.widths import resize, widths
from training.data.dataset import Dataset
from training.errors import RemovalRefused

LENGTH, WIDTH, HEADS = 5, 8, 4


class Classifier(nn.Module):
    """Two layers of attention over rows of numbers, and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Attention(WIDTH, HEADS, 2), Attention(WIDTH, HEADS, 2)
        self.last = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(x)
        x = x + self.second(x)
        logits: Tensor = self.last(x.mean(1))
        return logits


@pytest.fixture
def net() -> Classifier:
    torch.manual_seed(7)
    return Classifier().eval()


@pytest.fixture
def rows() -> Dataset:
    chance = np.random.default_rng(1)
    return Dataset(chance.normal(size=(10, LENGTH, WIDTH)).astype(np.float32), chance.integers(0, 2, 10))


def silenced(net: nn.Module, name: str, heads: list[int]) -> nn.Module:
    """A copy of the net whose `out` does not read these heads."""
    twin = deepcopy(net)
    module = twin.get_submodule(name)
    assert isinstance(module, Attention)
    for head in heads:
        module.out.weight.data[:, head * module.head_width : (head + 1) * module.head_width] = 0.0
    return twin


def test_a_removed_head_is_one_that_nobody_reads(net: Classifier, rows: Dataset) -> None:
    x = torch.from_numpy(rows.inputs)
    smaller = cut(net, head_groups(net), {"first.q": [0, 2], "second.q": [3]})
    expected = silenced(silenced(net, "first", [0, 2]), "second", [3])
    torch.testing.assert_close(smaller(x), expected(x), rtol=0, atol=1e-6)
    first = smaller.get_submodule("first")
    assert isinstance(first, Attention)
    assert (first.heads, first.q.out_features, first.v.weight.shape, first.out.in_features) == (2, 4, (4, 8), 4)
    again = cut(smaller, head_groups(smaller), {"first.q": [1]})
    torch.testing.assert_close(again(x), silenced(expected, "first", [3])(x), rtol=0, atol=1e-6)
    assert (net.first.heads, net.second.heads) == (HEADS, HEADS)


def test_one_head_stays(net: Classifier) -> None:
    with pytest.raises(RemovalRefused, match="expected at least one of 4 units to stay"):
        cut(net, head_groups(net), {"first.q": range(HEADS)})
    single = cut(net, head_groups(net), {"first.q": [0, 1, 2]})
    assert [group.name for group in head_groups(single)] == ["second.q"]


def test_no_head_is_a_plain_copy(net: Classifier, rows: Dataset) -> None:
    x = torch.from_numpy(rows.inputs)
    assert torch.equal(cut(net, head_groups(net), {"first.q": []})(x), net(x))


def test_a_smaller_net_learns_on(net: Classifier, rows: Dataset) -> None:
    smaller = cut(net, head_groups(net), {"first.q": [0]}).train()
    cross_entropy(smaller, torch.from_numpy(rows.inputs), torch.from_numpy(rows.targets)).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in smaller.parameters())


@pytest.mark.parametrize("criterion", ["taylor", "activation"])
def test_a_head_that_nobody_reads_scores_nothing(net: Classifier, rows: Dataset, criterion: str) -> None:
    blind = silenced(net, "first", [2])
    scores = IMPORTANCES[criterion](blind, head_groups(blind), rows, cross_entropy, 0)["first.q"]
    assert scores[2] == 0
    assert (scores[[0, 1, 3]] > 0).all()


def test_heads_are_not_offered_twice(net: Classifier, rows: Dataset) -> None:
    example = torch.from_numpy(rows.inputs)
    ordinary = {member.layer for group in find_groups(net, example) for member in group.producers}
    assert not ordinary & {f"{name}.{layer}" for name in ("first", "second") for layer in ("q", "k", "v")}
    assert {group.name for group in prunable(net, example)} >= {"first.q", "second.q"}


class Biased(nn.Module):
    """Attention whose heads each have a mask of their own, and a wide layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention(WIDTH, HEADS, 2)
        self.wide, self.last = nn.Linear(WIDTH, 16), nn.Linear(16, 2)
        self.register_buffer("mask", torch.randn(1, HEADS, LENGTH, LENGTH))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.wide(self.attention(x, self.mask)).relu().mean(1))
        return logits


def test_heads_that_the_net_does_not_run_without_are_not_offered(rows: Dataset) -> None:
    example = torch.from_numpy(rows.inputs)
    net = Biased().eval()
    assert [group.name for group in head_groups(net)] == ["attention.q"]
    assert "wide" in {group.name for group in prunable(net, example)}
    assert "attention.q" not in {group.name for group in prunable(net, example)}


def test_widths_of_heads_count_channels(net: Classifier) -> None:
    group = head_groups(net)[0]
    assert Limits(grid=2, floor=0.25, least=2).widths(group) == [4, 3, 2, 1]
    assert Limits(grid=4, floor=0.25, least=2).widths(group) == [4, 2]


def test_a_net_with_fewer_heads_loads(net: Classifier, rows: Dataset) -> None:
    smaller = cut(net, head_groups(net), {"first.q": [1, 3]})
    again = resize(Classifier(), widths(smaller)).eval()
    again.load_state_dict(smaller.state_dict())
    x = torch.from_numpy(rows.inputs)
    assert torch.equal(again(x), smaller(x))
