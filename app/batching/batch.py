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
    cancelled: bool = False
    """Nobody waits for the answer any more: the entry is neither executed nor answered."""

    def is_expired(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now

    def split(self, max_rows: int) -> list["Entry"]:
        """The entry in parts of at most `max_rows` rows; their answers are joined into its own."""
        starts = range(0, self.rows, max_rows)
        join = _Join(self.reply)
        join.parts = [
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
        return join.parts


class _Join:
    """Collects the answers of a split entry's parts. The first failure answers for all and cancels the rest."""

    def __init__(self, reply: Reply) -> None:
        self.parts: list[Entry] = []
        self._reply = reply
        self._answers: dict[int, Tensors] = {}
        self._answered = False

    def part(self, index: int) -> Reply:
        return lambda outcome: self._arrive(index, outcome)

    def _arrive(self, index: int, outcome: Outcome) -> None:
        if self._answered:  # a part that was under way while another failed
            return
        if isinstance(outcome, BonsaiError):
            self._answer(outcome)
            return
        self._answers[index] = outcome
        if len(self._answers) == len(self.parts):
            self._answer(self._joined())

    def _joined(self) -> Outcome:
        try:
            return _concatenate([self._answers[index] for index in range(len(self.parts))])
        except ValueError:
            return ExecutionFailed("the answers to the parts of a split request differ in shape")

    def _answer(self, outcome: Outcome) -> None:
        self._answered = True
        for part in self.parts:
            part.cancelled = True
        self._reply(outcome)


@dataclass(slots=True)
class Batch:
    """Entries of one key that run together."""

    entries: list[Entry]

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.entries)

    def execute(self, run: Run) -> list[Tensors]:
        """Joins the rows, runs them and hands every entry its own. Raises ExecutionFailed.

        An entry without a key is run as it is, and may be answered with any shape.
        """
        first = self.entries[0]
        if first.key is None:
            return [run(first.inputs)]
        outputs = run(
            first.inputs if len(self.entries) == 1 else _concatenate([entry.inputs for entry in self.entries])
        )
        for name, array in outputs.items():
            if array.ndim == 0 or len(array) != self.rows:
                raise ExecutionFailed(f"output '{name}' has other rows than the batch of {self.rows}")
        return self._slices(outputs)

    def sift(self, now: float) -> tuple["Batch", list[Entry]]:
        """The part that is still to be run, and the entries whose deadline has passed."""
        wanted = [entry for entry in self.entries if not entry.cancelled]
        return (
            Batch([entry for entry in wanted if not entry.is_expired(now)]),
            [entry for entry in wanted if entry.is_expired(now)],
        )

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
