"""Anatomy: what became of each unit of a net on its way to the version, and what it did before."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from training.compress.groups import Member, PruningGroup
from training.compress.heads import prunable
from training.report import Activity, Fate, Layer, states

SILENT = ("dead", "unread", "constant")


def anatomy(net: nn.Module, example: Tensor, clean: Mapping[str, Any], removed: Mapping[str, list[int]]) -> list[Layer]:
    """Every pruning group of the net as trained, under the name of its first producer.

    `clean` holds the facts of the lossless stage; `removed` the units that were pruned behind it, numbered as that
    stage left them.
    """
    return [layer(group, net, clean, removed.get(group.name, [])) for group in prunable(net, example)]


def layer(group: PruningGroup, net: nn.Module, clean: Mapping[str, Any], pruned: list[int]) -> Layer:
    """One group: how many units it had from step to step, and what each of them did."""
    silent = {unit for kind in SILENT for unit in clean[kind].get(group.name, [])}
    left = [unit for unit in range(group.units) if unit not in silent]
    gone = {left[number] for number in pruned}
    fates: list[Fate] = ["lossless" if u in silent else "pruned" if u in gone else "kept" for u in range(group.units)]
    reader = next((member for member in group.readers if member.layer in clean["activity"]), None)
    return Layer(
        name=group.name,
        kind=type(net.get_submodule(group.name)).__name__,
        units=group.units,
        after_lossless=len(left),
        after_pruning=len(left) - len(gone),
        activity=None if reader is None else activity(reader, clean["activity"][reader.layer], tuple(fates)),
    )


def activity(reader: Member, read: Mapping[str, list[float]], fates: tuple[Fate, ...]) -> Activity:
    """What the units did, as one of their readers read them; a unit that it reads at several places is all of them."""

    def of(figure: str, joined: Any) -> list[float]:
        return [float(joined([read[figure][place] for place in places] or [0.0])) for places in reader.index]

    zero_rate, mean, spread = of("zero_rate", np.mean), of("mean", np.mean), of("mean", np.var)
    variance = [within + between for within, between in zip(of("variance", np.mean), spread, strict=True)]
    return Activity(
        zero_rate=tuple(zero_rate),
        mean=tuple(mean),
        variance=tuple(variance),
        maximum=tuple(of("max", np.max)),
        state=states(zero_rate, variance),
        fate=fates,
    )
