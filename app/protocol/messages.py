"""The messages that every door and the data plane speak.

What is made anew for each request is a msgspec.Struct: its constructor is C, a dataclass's is bytecode.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.contract.tensors import DataType, Signature

Content = bytes | memoryview
"""A request's. A large one is read where it was received: it is not copied to be one object of bytes."""
Array = NDArray[Any]
Tensors = Mapping[str, Array]
Rows = list[Any]
"""A nested list that has been proven to have its spec's shape and range. It becomes an array with its whole batch."""
Column = Array | Rows
"""One input: rows on axis 0."""
Inputs = Mapping[str, Column]

DTYPES = {datatype: np.dtype(datatype.numpy) for datatype in DataType}
"""NumPy's dtype of every datatype."""

PRIORITIES = range(1, 4)
"""Levels of priority: 1 is the highest."""
DEFAULT_PRIORITY = 2


class Timings(msgspec.Struct, eq=False, gc=False):
    """When a request passed each point, in seconds of the monotonic clock; 0.0 where it has not been.

    Metrics, headers and logs are all read from this one object.
    """

    received: float
    """Its head was there."""
    read: float = 0.0
    """Its body was there."""
    decoded: float = 0.0
    """It was known to be valid, and waited."""
    started: float = 0.0
    """Its batch was formed."""
    joined: float = 0.0
    """The batch's inputs were put together."""
    computed: float = 0.0
    """The run's outputs were there."""
    encoded: float = 0.0
    """The answer was written."""

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


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """What an answer tells of the model version that gave it."""

    name: str
    version: int
    signature: Signature
    provider: str


class InferRequest(msgspec.Struct, eq=False):
    """One request, before its model is known.

    `read_inputs` turns what the client sent into inputs once the model's signature is known; it raises InvalidInput.
    """

    model: str | None
    version: str | None
    read_inputs: Callable[[Signature], Inputs]
    timings: Timings
    timeout: float | None = None
    """Seconds from arrival after which the answer is of no use."""
    priority: int = DEFAULT_PRIORITY
    client: Hashable = ""
    """Whose request it is: clients get turns."""
    outputs: tuple[str, ...] | None = None
    """Names of the outputs asked for; None for all."""
    binary_outputs: tuple[str, ...] | None = ()
    """Names of the outputs wanted as raw bytes; None for all."""
    top_k: int | None = None
    """Labels in a prediction."""
    id: str | None = None
    served: ServedModel | None = None
    """The model version that the data plane chose; None until it has."""


class Outputs(msgspec.Struct, eq=False):
    """The outputs of one run."""

    arrays: Tensors
    joined: float = 0.0
    """When the run's inputs had been put together."""
    lengths: frozenset[str] = frozenset()
    """Outputs that were padded along axis 1 with their batch."""
    started: float = 0.0
    """When the batch was formed, where the run says so."""
    computed: float = 0.0
    """When the outputs were there, where the run says so."""
    written: dict[Hashable, Any] = msgspec.field(default_factory=dict)
    """What codecs have made of the whole run, for every request that shares it."""


class Share(msgspec.Struct, eq=False):
    """One request's part of a run's outputs."""

    outputs: Outputs
    start: int = 0
    """First row."""
    stop: int | None = None
    """Row behind the last; None where the whole run belongs to the request, rows or not."""
    length: int | None = None
    """The request's own length, of outputs that were padded."""

    def array(self, name: str) -> Array:
        """The request's own part of an output, without its batch-mates' rows and without padding."""
        array = self.outputs.arrays[name]
        if self.stop is None:
            return array
        if name in self.outputs.lengths:
            return array[self.start : self.stop, : self.length]
        return array[self.start : self.stop]

    def arrays(self) -> Tensors:
        """The request's own part of every output."""
        return {name: self.array(name) for name in self.outputs.arrays}

    def shape(self, name: str) -> list[int]:
        """The shape of the request's own part of an output."""
        shape = list(self.outputs.arrays[name].shape)
        if self.stop is not None:
            shape[0] = self.stop - self.start
            if name in self.outputs.lengths and self.length is not None:
                shape[1] = self.length
        return shape


class Encoded(msgspec.Struct, frozen=True):
    """The body of an answer. Where raw tensors follow its JSON, `json_length` says after how many bytes; where it is
    compressed, `coding` says how."""

    body: bytes
    json_length: int | None = None
    media_type: bytes = b"application/json"
    coding: bytes | None = None


class Halt:
    """Asks a run that is under way to end early."""

    __slots__ = ("_how", "asked")

    def __init__(self) -> None:
        self.asked = False
        self._how: Callable[[], None] | None = None

    def by(self, how: Callable[[], None]) -> None:
        """The run says how it is ended; at once where that was asked for before it began."""
        self._how = how
        if self.asked:
            how()

    def ask(self) -> None:
        self.asked = True
        if self._how is not None:
            self._how()


def empty_outputs(signature: Signature) -> dict[str, Array]:
    """The answer to a batch of no rows: every output with 0 rows, other free dimensions 0 too."""
    return {
        spec.name: np.empty([max(dim, 0) if axis else 0 for axis, dim in enumerate(spec.shape)], spec.datatype.numpy)
        for spec in signature.outputs
    }
