"""Heads of attention as pruning groups: each is a slice of four layers, and goes as a whole."""

from torch import Tensor, nn

from training.compress.attention import Attention
from training.compress.groups import Member, PruningGroup, find_groups, stands_a_trial


def prunable(net: nn.Module, example: Tensor) -> tuple[PruningGroup, ...]:
    """Every group of the net that units can be taken from: those of its layers, and those of its heads.

    Left out are heads that fail a trial removal, such as those that each have a mask of their own.
    """
    heads = (group for group in head_groups(net) if stands_a_trial(net, example, group))
    return (*find_groups(net, example), *heads)


def head_groups(net: nn.Module) -> tuple[PruningGroup, ...]:
    """For each Attention of more than one head a group, whose units are its heads."""
    found = ((name, module) for name, module in net.named_modules() if isinstance(module, Attention))
    return tuple(_group(name, attention) for name, attention in found if attention.heads > 1)


def _group(name: str, attention: Attention) -> PruningGroup:
    width = attention.head_width
    places = tuple(tuple(range(head * width, (head + 1) * width)) for head in range(attention.heads))
    path = f"{name}." if name else ""
    made = tuple(Member(f"{path}{layer}", places) for layer in ("q", "k", "v"))
    return PruningGroup(made[0].layer, attention.heads, made, (), (Member(f"{path}out", places),))
