"""What is compiled: a trained net, the rows that it is judged by, and how far it may be cut."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.contract.manifest import Tolerance
from app.contract.tensors import InputSpec, OutputSpec
from training.course import Course, Feed
from training.data.dataset import Dataset

Correct = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.bool_]]
"""(answers [rows, ...], targets [rows]) -> whether each row is right, [rows]."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a net is cut: the candidates that are made of it, and how each is trained again."""

    levels: tuple[float, ...] = (2.0, 4.0)
    """How many times cheaper the net is to become, one candidate for each; without the uncut net, which always is."""
    cost: Literal["ms", "macs"] = "ms"
    """What is to become cheaper: the time that the layers take in ONNX Runtime on this machine, or their
    multiply-accumulates, which are the same on every machine and say less."""
    importance: str = "taylor"
    grid: int = 16
    """Widths are multiples of this: kernels work on blocks of 16 channels (AVX-512) or 8 (AVX2)."""
    floor: float = 0.125
    """The least share of a layer's units that stays."""
    least: int = 8
    """And their least number."""
    recovery_epochs: int = 8
    recovery_rate: float | None = None
    """Peak learning rate of the recovery; None for that of the net's own training."""
    distillation: float = 0.0
    """Share of the loss that asks for the uncut net's answers rather than for the targets."""
    presets: tuple[str, ...] = ("portable", "vnni")
    """How the graphs are quantised, beside float32."""
    race_seconds: float = 5.0
    """About how long all forms are raced at each batch size."""

    @property
    def cut_config(self) -> dict[str, Any]:
        """What a cut depends on, as JSON can hold it."""
        return {
            "cost": self.cost,
            "importance": self.importance,
            "grid": self.grid,
            "floor": self.floor,
            "least": self.least,
        }

    @property
    def recovery_config(self) -> dict[str, Any]:
        """What a recovery depends on, as JSON can hold it."""
        return {name: getattr(self, name) for name in ("recovery_epochs", "recovery_rate", "distillation")}


@dataclass(frozen=True, kw_only=True, eq=False)
class Application:
    """What a network is for, whatever form it has, and the rows that it is judged by.

    It takes one tensor as `input` describes and gives one as `output` does; axis 0 is the batch. `calibration` holds
    rows that the network was trained on: activations, importances and the ranges of integers are read from them.
    `validation` is for every choice and proof on the way; `test` is for the published figures, and nothing is chosen
    by it. `samples` are the rows of the golden sample: the data's terms must allow their publication.
    """

    name: str
    task: str
    description: str
    input: InputSpec
    output: OutputSpec
    tolerance: Tolerance
    calibration: Dataset
    validation: Dataset
    test: Dataset
    samples: NDArray[Any]
    correct: Correct
    seeds: dict[str, int]

    @property
    def sha256(self) -> str:
        """Digest of all rows, each part by its own."""
        parts = (self.calibration, self.validation, self.test)
        return hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject(Application):
    """A trained net in eval mode with its application, and how it learns.

    `config` is what its training depends on, as JSON can hold it.
    """

    net: nn.Module
    feed: Feed
    course: Course
    config: dict[str, Any]
    new_net: Callable[[], nn.Module] | None = None
    """Makes an untrained net; None where only the trained one is known."""
