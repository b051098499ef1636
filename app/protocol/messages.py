"""The messages that every door and the data plane speak."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contract.tensors import DataType, Signature

Array = NDArray[Any]
Tensors = Mapping[str, Array]

DTYPES = {datatype: np.dtype(datatype.numpy) for datatype in DataType if datatype.numpy}
"""NumPy's dtype of every datatype that has one."""


@dataclass(slots=True)
class Timings:
    """When a request passed each point, in seconds of the monotonic clock; 0.0 where it has not been.

    Metrics, headers and logs are all read from this one object.
    """

    received: float
    decoded: float = 0.0
    started: float = 0.0
    computed: float = 0.0
    encoded: float = 0.0

    @property
    def queue(self) -> float:
        return self.started - self.decoded

    @property
    def compute(self) -> float:
        return self.computed - self.started

    @property
    def total(self) -> float:
        """Seconds until the last point that has been passed."""
        return (self.encoded or self.computed or self.started or self.decoded or self.received) - self.received

    def phases(self) -> tuple[float, float, float, float]:
        """Seconds of decode, queue, compute and encode, of a request that has passed every point."""
        return (
            self.decoded - self.received,
            self.started - self.decoded,
            self.computed - self.started,
            self.encoded - self.computed,
        )


@dataclass(slots=True)
class InferRequest:
    """One request, before its model is known.

    `read_inputs` turns what the client sent into tensors once the model's signature is known; it raises InvalidInput.
    """

    model: str | None
    version: str | None
    read_inputs: Callable[[Signature], Tensors]
    timings: Timings
    timeout: float | None = None
    """Seconds from arrival after which the answer is of no use."""
    outputs: tuple[str, ...] | None = None
    """Names of the outputs asked for; None for all."""
    top_k: int | None = None
    """Labels in a prediction."""
    id: str | None = None
    resolved: tuple[str, int] | None = None
    """Model and version that the data plane chose; None until it has."""


@dataclass(slots=True)
class InferResponse:
    """The answer to one request."""

    model: str
    version: int
    signature: Signature
    provider: str
    outputs: Tensors
    timings: Timings


def empty_outputs(signature: Signature) -> dict[str, Array]:
    """The answer to a batch of no rows: every output with 0 rows, other free dimensions 0 too."""
    return {
        spec.name: np.empty([max(dim, 0) if axis else 0 for axis, dim in enumerate(spec.shape)], spec.datatype.numpy)
        for spec in signature.outputs
    }
