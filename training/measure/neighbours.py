"""Neighbours: does a row get the same answer alone and in company, and as many answers come out as rows go in?"""

from collections.abc import Iterator
from math import inf, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ExportRefused
from training.measure.parity import BATCHES, difference
from training.measure.served import Run, rows_for

MOST_ROWS = 8
EXTREME = 10.0
"""Times the real values: a scale that is found anew in every batch becomes ten times as coarse."""


def answers_depend_on_neighbours(run: Run, rows: NDArray[Any]) -> float:
    """Largest difference between a row's answer alone and its answers beside other rows, by parity's measure.

    Up to MOST_ROWS real rows are tried, among themselves and among extreme neighbours. Above parity's LIMIT the rows
    are not independent: such a version must not be batched. Infinite where an answer is no number in one of the cases.
    """
    rows = rows[:MOST_ROWS]
    alone = np.concatenate([run(rows[number : number + 1]) for number in range(len(rows))])
    together = [run(rows[::-1])[::-1], *(run(_alternating(rows, beside))[::2] for beside in companies(rows))]
    found = [difference(alone, answers) if answers.shape == alone.shape else inf for answers in together]
    return max(inf if isnan(value) else value for value in found)


def companies(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Neighbours for each row: other rows, rows of the smallest and of the largest value alone, and, where values are
    measured and not counted, rows far larger than real ones. An index into a table stays one that is known."""
    yield np.roll(rows, 1, axis=0)
    yield np.full_like(rows, rows.min())
    yield np.full_like(rows, rows.max())
    if rows.dtype.kind == "f":
        yield rows * rows.dtype.type(EXTREME)
        yield rows * rows.dtype.type(-EXTREME)


def _alternating(rows: NDArray[Any], beside: NDArray[Any]) -> NDArray[Any]:
    """[row, neighbour, row, neighbour, ...]"""
    return np.stack([rows, beside], axis=1).reshape(2 * len(rows), *rows.shape[1:])


def require_every_batch(run: Run, rows: NDArray[Any], most: int) -> None:
    """Runs batches of 1, 2, 3, 8 and `most` rows. Raises ExportRefused where one fails or answers come out for more or
    fewer rows: a batch axis that is declared free may still be a constant inside."""
    for batch in (*BATCHES, most):
        try:
            answers = run(rows_for(batch, rows))
        except Exception as error:  # ORT raises a dozen unrelated classes; all of them mean: not this batch
            raise ExportRefused(f"batch {batch}: expected answers, got {type(error).__name__}: {error}") from error
        if answers.shape[:1] != (batch,):
            raise ExportRefused(f"batch {batch}: expected answers for as many rows, got {list(answers.shape)}")
