"""What a training is given: the rows in their order, and how to learn from them."""

from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from training.data.dataset import Dataset

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(net, inputs, targets) -> the loss of a batch, one number; the net is in training mode."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a net is trained: on what loss, by which optimiser, for how long, from which seed."""

    loss: Loss
    optimizer: Callable[..., Optimizer]
    """Takes the parameters, `lr` and `weight_decay`."""
    peak_learning_rate: float
    weight_decay: float
    epochs: int
    seed: int


class Feed(Protocol):
    """The batches of an epoch."""

    def __len__(self) -> int:
        """How many batches an epoch has."""
        ...

    def epoch(self, chance: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """(inputs, targets) of each batch of one epoch, in an order drawn from `chance`."""
        ...


@dataclass(frozen=True, eq=False)
class RowFeed:
    """Rows in memory, shuffled, cut into batches, each batch varied by `augment`."""

    rows: Dataset
    batch_rows: int
    augment: Callable[[Tensor, Generator], Tensor]

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_rows)

    def epoch(self, chance: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = torch.from_numpy(self.rows.inputs), torch.from_numpy(self.rows.targets)
        for batch in torch.split(torch.randperm(len(self.rows), generator=chance), self.batch_rows):
            yield self.augment(inputs[batch], chance), targets[batch]


class Loader(Iterable[tuple[Tensor, Tensor]], Sized, Protocol):
    """What of a torch DataLoader is used: it is iterated once an epoch, and knows its number of batches."""


@dataclass(frozen=True, eq=False)
class LoaderFeed:
    """A loader of the caller's own.

    Its order comes from PyTorch's global seed, or from a generator of its own or of its sampler, which is seeded anew
    for each epoch: so a training that was stopped goes on in the order that it would have had.
    """

    loader: Loader

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, chance: Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for generator in self._generators():
            generator.manual_seed(int(torch.randint(2**62, (), generator=chance)))
        return iter(self.loader)

    def _generators(self) -> list[Generator]:
        """Each once: a loader that shuffles hands its own on to its sampler."""
        owners = (self.loader, getattr(self.loader, "sampler", None))
        owned = (getattr(owner, "generator", None) for owner in owners)
        return list(dict.fromkeys(generator for generator in owned if isinstance(generator, Generator)))
