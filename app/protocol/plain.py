"""Plain requests: they ask for nothing but a run's outputs, and those of one form to one model version share all steps.

What is not plain, or turns out not to be while it is read, goes the ordinary way, which says what is wrong with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from app.protocol.messages import Inputs, Outputs, ServedModel

V = TypeVar("V", bytes, list[Any])


class Plain(Protocol):
    """A plain request, before its model is known."""

    @property
    def model(self) -> str | None: ...

    @property
    def version(self) -> int | str | None: ...

    @property
    def inputs(self) -> Any:
        """What its rows are read from."""

    @property
    def asks(self) -> Any:
        """What its answer depends on beside its rows."""


class Bodies(Protocol):
    """The bodies of answers to plain requests that shared a run."""

    media_type: bytes

    def of(self, asks: Any, start: int, stop: int, queue: float, total: float) -> tuple[bytes, int | None]:
        """The answer to one that asks this and whose rows these are, after so many milliseconds in the queue and in
        all; and of how many bytes its JSON is, where raw tensors follow that."""


class PlainRows(Protocol):
    """How the rows of plain requests to one model version are read, and its answers written."""

    @property
    def read(self) -> Callable[[Any], list[Any]]:
        """The rows in a request's `inputs`. Raises ValueError or RecursionError where it is not plain after all."""

    def inputs(self, rows: list[Any]) -> Inputs:
        """What runs, of rows that were read."""

    def bodies(self, outputs: Outputs) -> Bodies:
        """Raises NotRepresentable where one of the answers cannot be written."""


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """How plain requests are read and answered."""

    read: Callable[[bytes], Plain]
    """Raises InvalidInput, ValueError or RecursionError for a body that is not plain."""
    rows: Callable[[ServedModel], PlainRows | None]
    """None where the model's requests cannot be plain. The same for all whose requests may share a run."""


def cut(values: V, size: int) -> list[V]:
    """Rows of so many elements each, one behind the other."""
    if len(values) == size:
        return [values]
    return [values[start : start + size] for start in range(0, len(values), size)]
