"""Requests as they wait, and the batch that several of them run in."""

import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import msgspec
import numpy as np

from app.batching.padding import Bucket, Padding, joined
from app.errors import BonsaiError, ExecutionFailed
from app.protocol.messages import DEFAULT_PRIORITY, Halt, Inputs, Outputs, Share, Tensors, Timings

logger = logging.getLogger("bonsai.batching")

Outcome = Share | BonsaiError
Reply = Callable[[Outcome], None]

NOTHING: Inputs = {}
STAGES = ("queue", "batch", "run")
"""Where an entry may be when nobody waits for it any more: waiting, in a run with others, in a run for nobody else."""
NO_LENGTHS: frozenset[str] = frozenset()


class Run(Protocol):
    """Runs inputs on the model: blocking, rows on axis 0."""

    def __call__(self, inputs: Inputs, halt: Halt | None = None, /) -> Tensors: ...


class Batcher(Protocol):
    """What an entry knows of the batcher that has it."""

    def cancel(self, entry: "Entry", /) -> None: ...


class Entry(msgspec.Struct, eq=False):
    """One request in the batcher. `reply` is called exactly once, or never where the entry is cancelled first."""

    inputs: Inputs
    rows: int
    key: Hashable | None
    """Entries with equal keys may share a batch; one without a key runs alone and whole."""
    reply: Reply
    timings: Timings
    deadline: float | None = None
    """Monotonic instant after which the answer is of no use."""
    level: int = DEFAULT_PRIORITY
    client: Hashable = ""
    length: int = 0
    """Of a request that may be padded."""
    arrival: int = 0
    lane: Hashable = None
    """What the queue knows its key by."""
    place: "Place | None" = None
    """Where in the queue it waits; None where it does not."""
    parts: "Sequence[Entry]" = ()
    """The entries that it was split into."""
    parts_waiting: int = 0
    """Of them, those in the queue."""
    whole: "Entry | None" = None
    """What it is a part of."""
    done: bool = False
    """Answered or cancelled: nobody waits any more."""
    batcher: "Batcher | None" = None
    """Where it is; set when it is submitted."""

    def cancel(self) -> None:
        """Nobody waits for the answer any more. Harmless after it."""
        if self.batcher is not None:
            self.batcher.cancel(self)

    def is_expired(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now

    def split(
        self,
        max_rows: int,
        max_bytes: int,
        answer: "Callable[[Entry, Outcome], None]",
        withdraw: "Callable[[Entry], object]",
    ) -> "Sequence[Entry]":
        """The entry in parts of at most `max_rows` rows. Their joined answers, at most `max_bytes`, are its `answer`.
        Where a part fails, its failure is, and every part still to come is withdrawn."""
        starts = range(0, self.rows, max_rows)
        join = _Join(self, max_bytes, answer, withdraw)
        self.parts = [
            Entry(
                inputs={name: column[start : start + max_rows] for name, column in self.inputs.items()},
                rows=min(max_rows, self.rows - start),
                key=self.key,
                reply=join.part(index),
                timings=self.timings,
                deadline=self.deadline,
                level=self.level,
                client=self.client,
                length=self.length,
                whole=self,
            )
            for index, start in enumerate(starts)
        ]
        return self.parts


Place = tuple[float, int, Entry]
"""How urgent an entry is, and its arrival: what orders the entries of one client."""


class _Join:
    """Collects the answers of a split entry's parts."""

    def __init__(
        self,
        whole: Entry,
        max_bytes: int,
        answer: Callable[[Entry, Outcome], None],
        withdraw: Callable[[Entry], object],
    ) -> None:
        self._whole = whole
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answer = answer
        self._withdraw = withdraw
        self._answers: dict[int, Tensors] = {}

    def part(self, index: int) -> Reply:
        return lambda outcome: self._arrive(index, outcome)

    def _arrive(self, index: int, outcome: Outcome) -> None:
        if isinstance(outcome, BonsaiError):
            self._fail(outcome)
            return
        arrays = self._answers[index] = outcome.arrays()
        self._bytes += sum([array.nbytes for array in arrays.values()])
        if self._bytes > self._max_bytes:
            self._fail(ExecutionFailed(f"outputs: expected at most {self._max_bytes} bytes (max_output_mb), got more"))
        elif len(self._answers) == len(self._whole.parts):
            self._end(self._joined())

    def _fail(self, error: BonsaiError) -> None:
        for part in self._whole.parts:
            if not part.done:
                self._withdraw(part)
        self._end(error)

    def _end(self, outcome: Outcome) -> None:
        disband(self._whole)
        self._answers.clear()
        self._answer(self._whole, outcome)

    def _joined(self) -> Outcome:
        answers = [self._answers[index] for index in range(len(self._whole.parts))]
        try:
            arrays = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
        except ValueError:
            return ExecutionFailed("the answers to the parts of a split request differ in shape")
        return Share(Outputs(arrays), 0, self._whole.rows)


class Batch:
    """Entries of one key that run together."""

    __slots__ = ("_parts", "entries", "halt", "key", "left", "rows", "slots", "started")

    def __init__(self, entries: list[Entry], slots: int = 1) -> None:
        self.entries = entries
        self.rows = sum([entry.rows for entry in entries])
        self.key = entries[0].key
        self.slots = slots
        """Instances that its run takes: all of them for a wide run, with nothing beside it."""
        self.left = 0
        """Entries that nobody waits for any more since it runs."""
        self.started = 0.0
        self.halt = Halt()
        self._parts = [entry.inputs for entry in entries]

    @property
    def length(self) -> int:
        """What padded inputs are lengthened to."""
        return max([entry.length for entry in self.entries])

    def execute(self, run: Run, padding: Padding | None, clock: Callable[[], float]) -> Outputs:
        """Joins the rows and runs them. Raises ExecutionFailed.

        An entry without a key is run as it is, and may be answered with any shape.
        """
        padded = padding if isinstance(self.key, Bucket) else None
        if len(self._parts) == 1:
            inputs = self._parts[0]
        elif padded is None:
            inputs = joined(self._parts)
        else:
            inputs = padded.join(self._parts, self.length)
        began = clock()
        arrays = run(inputs, self.halt)
        if self.key is not None:
            check_rows(arrays, self.rows)
        return Outputs(arrays, began, NO_LENGTHS if padded is None else padded.outputs)

    @property
    def is_for_nobody(self) -> bool:
        return self.left == len(self.entries)

    def leave(self) -> str:
        """An entry is not waited for any more while the batch runs; a run for nobody is halted. The stage's name."""
        self.left += 1
        if not self.is_for_nobody:
            return "batch"
        self.halt.ask()
        return "run"

    def wanted(self) -> list[Entry]:
        """The entries that somebody waits for."""
        return [entry for entry in self.entries if not entry.done]

    def halves(self) -> "tuple[Batch, Batch]":
        middle = len(self.entries) // 2
        return Batch(self.entries[:middle]), Batch(self.entries[middle:])


def check_rows(outputs: Tensors, rows: int) -> None:
    """Raises ExecutionFailed where an output has not a row for each of the batch's."""
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            raise ExecutionFailed(f"output '{name}' has other rows than the batch of {rows}")


def failure(error: BaseException) -> BonsaiError:
    """What a request is told of what its run raised."""
    if isinstance(error, BonsaiError):
        return error
    failed = ExecutionFailed("the model failed on this input")
    failed.__cause__ = error
    return failed


def let_go(entry: Entry) -> None:
    """Nobody waits for the entry any more. What is left of it in heaps holds neither its rows nor its request."""
    entry.done = True
    entry.inputs = NOTHING
    entry.reply = _unheard


def disband(whole: Entry) -> None:
    """Nobody waits for the parts of a split entry any more. Breaks cycles: what they took in and answered is freed at
    once, not when Python looks for some."""
    for part in whole.parts:
        let_go(part)
    whole.parts = ()


def _unheard(_: Outcome) -> None:
    """The reply of an entry that nobody waits for."""


def tell(entry: Entry, outcome: Outcome) -> None:
    """Answers an entry."""
    reply = entry.reply
    let_go(entry)
    try:
        reply(outcome)
    except Exception:  # boundary: a waiter that fails must not leave the others waiting
        logger.exception("fault while a request was answered")
