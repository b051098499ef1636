"""Parity: two forms of one network give the same answers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ParityBroken

LIMIT = 1e-5
"""Largest difference allowed, as a share of the largest answer (at least 1). Two float32 sums of a thousand terms in
different order lie some 1e-7 to 1e-6 apart by that measure."""

BATCHES = (1, 2, 3, 8)
"""One row may take another kernel than several, and an odd number has a remainder in every vector width."""


Answers = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Inputs [rows, ...] -> answers [rows, ...]."""


def require_same_answers(expected: NDArray[np.float32], got: NDArray[np.float32], what: str) -> None:
    """Raises ParityBroken where the shapes differ, or some answer by more than LIMIT."""
    if expected.shape != got.shape:
        raise ParityBroken(f"{what}: expected answers of shape {list(expected.shape)}, got {list(got.shape)}")
    if not (found := difference(expected, got)) <= LIMIT:  # the other way round, NaN would pass
        raise ParityBroken(f"{what}: expected a difference of at most {LIMIT:.0e}, got {found:.1e}")


def difference(expected: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    """Largest difference, as a share of the largest answer expected (at least 1); NaN where an answer is."""
    return float(np.abs(got - expected).max()) / max(1.0, float(np.abs(expected).max()))


def require_parity(expected: Answers, got: Answers, inputs: NDArray[Any]) -> None:
    """PyTorch against ONNX Runtime on real rows: batches of 1, 2, 3, 8, then all at once. Raises ParityBroken."""
    for rows in sorted({*BATCHES, len(inputs)}):
        batch = inputs[:rows]
        require_same_answers(expected(batch), got(batch), f"graph at batch {rows}")
