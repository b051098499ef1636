"""Models that a test can follow rows through."""

from collections.abc import Callable

import numpy as np

from app.protocol.messages import Array, Inputs, Tensors

ROWS_A_TICKET = 1000
"""Row r of ticket t carries the number t * ROWS_A_TICKET + r, so that every row is known wherever it turns up."""

Model = Callable[[Inputs], Tensors]


def plus_half(inputs: Inputs) -> dict[str, Array]:
    """The default model: an answer tells which row it belongs to."""
    return {"y": np.asarray(inputs["x"]) + 0.5}


def numbers(inputs: Inputs) -> list[int]:
    """The numbers that the rows carry."""
    rows: list[int] = np.asarray(inputs["x"])[:, 0].astype(int).tolist()
    return rows


def breaks_on(*tickets: int, error: type[Exception] = ValueError) -> Model:
    """A model that raises whenever a row of these tickets is among its inputs."""

    def run(inputs: Inputs) -> dict[str, Array]:
        if set(tickets) & {number // ROWS_A_TICKET for number in numbers(inputs)}:
            raise error("secret of the graph")
        return plus_half(inputs)

    return run
