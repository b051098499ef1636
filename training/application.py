"""What a network is for, whatever form it has, and the rows that it is judged by."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import NAME_PATTERN, Tolerance
from app.contract.tensors import InputSpec, OutputSpec
from training.data.dataset import Dataset
from training.errors import SubjectRefused

Correct = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.bool_]]
"""(answers [rows, ...], targets [rows]) -> whether each row is right, [rows]."""

SAMPLES = 16
"""Rows of the golden sample of a network of the user's own."""
TOLERANCE = Tolerance(rtol=1e-3, atol=1e-3)
"""float32 kernels of different CPUs differ by about 1e-5 of a large answer; a graph that is wrong, by far more."""


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
    sources: tuple[ModuleType, ...] = ()
    """The code that says what the network is, how it learns and what is right, as far as it is the owner's."""

    @property
    def sha256(self) -> str:
        """Digest of all rows, each part by its own."""
        parts = (self.calibration, self.validation, self.test)
        return hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()


def require_name(name: str) -> None:
    """Raises SubjectRefused for a name that no model of the repository can have."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise SubjectRefused(f"name: expected letters, digits, dots, underscores and hyphens, got {name!r}")
