"""What a recipe is: everything about an application that the generic steps need to know."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor, nn
from torch.optim import AdamW, Optimizer

from app.contract.manifest import Tolerance
from app.contract.tensors import InputSpec, OutputSpec
from training.course import Course, RowFeed
from training.data.dataset import Dataset, Split
from training.plan import Plan
from training.subject import Subject, sources_of
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

    calibration_rows: int
    """Training rows from which activations, importances and the ranges of integers are read."""
    samples: Callable[[Split], NDArray[Any]]
    """The rows of the golden sample: real ones only where the data's terms allow their publication."""
    plan: Plan
    folds: int | None = None
    """Folds of the cross-validation; None where the test split is large enough to do without."""
    repeats: int = 1

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

    def subject(self, split: Split, seed: int) -> Subject:
        """What is compiled: an untrained net, which is to learn from this split."""
        return Subject(
            name=self.name,
            task=self.task,
            description=self.description,
            input=self.input,
            output=self.output,
            tolerance=self.tolerance,
            net=self.new_net(seed),
            feed=self.feed(split.train),
            course=self.course(seed),
            calibration=split.train.take(np.arange(min(self.calibration_rows, len(split.train)))),
            validation=split.validation,
            test=split.test,
            samples=self.samples(split),
            correct=self.correct,
            seeds=asdict(self.seeds),
            config={**self.config, "seed": seed, "rows": split.train.sha256},
            sources=sources_of(self.net, self.loss, self.augment, self.correct),
            new_net=partial(self.new_net, seed),
        )

    @property
    def command(self) -> str:
        """The command that repeats the run: what decides its result, and no path of the machine that ran it."""
        return f"bonsai-train run {self.name} --epochs {self.epochs}"

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
