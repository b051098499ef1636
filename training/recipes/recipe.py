"""What a recipe is: everything about an application that the generic steps need to know."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.optim import AdamW, Optimizer

from app.contract.manifest import Tolerance
from app.contract.tensors import InputSpec, OutputSpec
from training.course import Course, RowFeed
from training.data.dataset import Dataset, Split
from training.trainer import reproducible


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Where chance starts: the split, the training, and the folds of the cross-validation."""

    split: int
    training: int
    cross_validation: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One application: its data, net, loss and metric, and how it is trained.

    `net` makes an untrained net: one tensor as `input` describes goes in, one as `output` describes comes out, and
    all preprocessing lies inside. `augment` varies a batch of training rows, drawing only from the generator that it
    is given. `correct` says for each row whether its output is right for its target.
    """

    name: str
    task: str
    description: str
    input: InputSpec
    output: OutputSpec
    tolerance: Tolerance

    load: Callable[[], Split]
    net: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    augment: Callable[[Tensor, Generator], Tensor]
    correct: Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.bool_]]

    seeds: Seeds
    epochs: int
    batch_rows: int
    peak_learning_rate: float
    weight_decay: float
    optimizer: Callable[..., Optimizer] = AdamW
    folds: int
    repeats: int

    def new_net(self, seed: int) -> nn.Module:
        """An untrained net, its weights drawn from the seed."""
        with reproducible(seed):
            return self.net()

    def feed(self, rows: Dataset) -> RowFeed:
        """The rows, as the net learns from them."""
        return RowFeed(rows, self.batch_rows, self.augment)

    def course(self, seed: int) -> Course:
        """How an untrained net learns."""
        return Course(
            loss=lambda net, inputs, targets: self.loss(net(inputs), targets),
            optimizer=self.optimizer,
            peak_learning_rate=self.peak_learning_rate,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            seed=seed,
        )

    @property
    def epochs_in_all(self) -> int:
        """Epochs of a whole run: the published net's own and those of every fold."""
        return self.epochs * (1 + self.folds * self.repeats)

    @property
    def config(self) -> dict[str, Any]:
        """The numbers that a checkpoint depends on, as JSON can hold them."""
        return {
            "recipe": self.name,
            "epochs": self.epochs,
            "batch_rows": self.batch_rows,
            "peak_learning_rate": self.peak_learning_rate,
            "weight_decay": self.weight_decay,
            "seeds": asdict(self.seeds),
        }
