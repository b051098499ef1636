"""Requests as they wait, and the batch that several of them run in."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from app.errors import BonsaiError, ExecutionFailed
from app.protocol.messages import Array, Tensors, Timings

Outcome = Tensors | BonsaiError
Reply = Callable[[Outcome], None]
Run = Callable[[Tensors], Tensors]
"""Runs inputs on the model: blocking, rows on axis 0."""


@dataclass(slots=True, eq=False)
class Entry:
    """One request in the queue. `reply` is called exactly once."""

    inputs: Tensors
    rows: int
    key: Hashable | None
    """Entries with equal keys may share a batch; one without a key runs alone and whole."""
    reply: Reply
    timings: Timings
    deadline: float | None = None
    """Monotonic instant after which the request is not executed any more."""

    def split(self, max_rows: int) -> list["Entry"]:
        """The entry in parts of at most `max_rows` rows; their answers are joined into its own."""
        starts = range(0, self.rows, max_rows)
        join = _Join(len(starts), self.reply)
        return [
            Entry(
                inputs={name: array[start : start + max_rows] for name, array in self.inputs.items()},
                rows=min(max_rows, self.rows - start),
                key=self.key,
                reply=join.part(index),
                timings=self.timings,
                deadline=self.deadline,
            )
            for index, start in enumerate(starts)
        ]


class _Join:
    """Collects the answers of a split entry; the first failure answers for all."""

    def __init__(self, count: int, reply: Reply) -> None:
        self._parts: list[Tensors | None] = [None] * count
        self._missing = count
        self._reply: Reply | None = reply

    def part(self, index: int) -> Reply:
        return lambda outcome: self._arrive(index, outcome)

    def _arrive(self, index: int, outcome: Outcome) -> None:
        if self._reply is None:  # already answered with another part's failure
            return
        if isinstance(outcome, BonsaiError):
            self._answer(outcome)
            return
        self._parts[index] = outcome
        self._missing -= 1
        if not self._missing:
            self._answer(self._joined())

    def _joined(self) -> Outcome:
        try:
            return _concatenate([part for part in self._parts if part is not None])
        except ValueError:
            return ExecutionFailed("the answers to the parts of a split request differ in shape")

    def _answer(self, outcome: Outcome) -> None:
        reply, self._reply, self._parts = self._reply, None, []
        if reply is not None:
            reply(outcome)


@dataclass(slots=True)
class Batch:
    """Entries of one key that run together."""

    entries: list[Entry]

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.entries)

    def execute(self, run: Run) -> list[Tensors]:
        """Joins the rows, runs them and hands every entry its own. Raises ExecutionFailed."""
        if len(self.entries) == 1:
            return [run(self.entries[0].inputs)]
        outputs = run(_concatenate([entry.inputs for entry in self.entries]))
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != self.rows:
                raise ExecutionFailed(f"output '{name}' has other rows than the batch of {self.rows}")
        return list(self._slices(outputs))

    def halves(self) -> tuple["Batch", "Batch"]:
        middle = len(self.entries) // 2
        return Batch(self.entries[:middle]), Batch(self.entries[middle:])

    def _slices(self, outputs: Tensors) -> list[Tensors]:
        slices: list[Tensors] = []
        start = 0
        for entry in self.entries:
            stop = start + entry.rows
            slices.append({name: array[start:stop] for name, array in outputs.items()})
            start = stop
        return slices


def _concatenate(parts: list[Tensors]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
