"""The dynamic batcher.

Work-conserving: whenever an instance is free, what waits is dispatched; there is no timer. While all instances are
busy, requests collect, and the next batch is what has collected. All state belongs to one thread, the event loop's;
clock, executor and scheduler are handed in, so that tests run it on a virtual clock.
"""

import logging
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from app.batching.batch import Batch, Entry, Outcome, Run
from app.batching.queue import Queue
from app.errors import BonsaiError, DeadlineExceeded, ExecutionFailed, Overloaded, TooLarge
from app.protocol.messages import Tensors
from app.telemetry.metrics import ModelMetrics

logger = logging.getLogger("bonsai.batching")

Result = list[Tensors] | BaseException


class Executor(Protocol):
    """Runs work elsewhere and brings the result back to the batcher's thread."""

    count: int

    def start(self, work: Callable[[], list[Tensors]], done: Callable[[Result], None]) -> None: ...


class DynamicBatcher:
    """Admits entries, forms batches, answers each entry alone."""

    def __init__(
        self,
        run: Run,
        instances: Executor,
        *,
        max_batch_rows: int,
        max_queue_rows: int,
        clock: Callable[[], float],
        call_soon: Callable[[Callable[[], None]], object],
        metrics: ModelMetrics,
    ) -> None:
        """`call_soon` defers to the next turn of the loop, so that what arrives in one turn shares a batch."""
        self.max_batch_rows = max_batch_rows
        self.max_queue_rows = max_queue_rows
        self._run = run
        self._instances = instances
        self._clock = clock
        self._call_soon = call_soon
        self._metrics = metrics
        self._queue = Queue()
        self._retries: deque[Batch] = deque()
        self._running = 0
        self._scheduled = False
        self._seconds_a_row = 0.0

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not (self._queue or self._retries or self._running)

    def submit(self, entry: Entry) -> None:
        """Queues an entry. Raises TooLarge or Overloaded; afterwards the entry is answered exactly once."""
        self._admit(entry)
        splits = entry.key is not None and entry.rows > self.max_batch_rows
        parts = entry.split(self.max_batch_rows) if splits else [entry]
        for part in parts:
            self._queue.put(part)
        self._metrics.queue_rows.set(self._queue.rows)
        if not self._scheduled and self._running < self._instances.count:
            self._scheduled = True
            self._call_soon(self._wake)

    def backlog(self) -> float:
        """Seconds of work that wait, by what a row has taken of late."""
        return self._queue.rows * self._seconds_a_row / self._instances.count

    def _admit(self, entry: Entry) -> None:
        if entry.rows > self.max_queue_rows:
            raise TooLarge(f"inputs: expected at most {self.max_queue_rows} rows, got {entry.rows}")
        if self._queue.rows + entry.rows > self.max_queue_rows:
            raise Overloaded(
                f"the queue is full: {self._queue.rows} rows wait, {self.max_queue_rows} may",
                retry_after=max(1, math.ceil(self.backlog())),
            )

    def _wake(self) -> None:
        self._scheduled = False
        self._dispatch()

    def _dispatch(self) -> None:
        while self._running < self._instances.count and (batch := self._next()):
            self._start(batch)
        self._metrics.queue_rows.set(self._queue.rows)

    def _next(self) -> Batch | None:
        """The next batch to run; what should not run any more is answered on the way."""
        now = self._clock()
        while self._retries:
            retry, expired = self._retries.popleft().sift(now)
            self._expire(expired)
            if retry.entries:
                return retry
        batch, expired = self._queue.take(self.max_batch_rows, now)
        self._expire(expired)
        return batch if batch.entries else None

    def _start(self, batch: Batch) -> None:
        self._running += 1
        started = self._clock()
        for entry in batch.entries:
            entry.timings.started = entry.timings.started or started
        self._metrics.batch_rows.observe(batch.rows)
        try:
            self._instances.start(partial(batch.execute, self._run), partial(self._finish, batch, started))
        except Exception as error:  # noqa: BLE001 - boundary: no thread to be had fails this batch, not the batcher
            self._running -= 1
            self._fail(batch, error)

    def _finish(self, batch: Batch, started: float, result: Result) -> None:
        self._running -= 1
        if isinstance(result, BaseException):
            self._fail(batch, result)
        else:
            self._answer(batch, started, result)
        self._dispatch()

    def _answer(self, batch: Batch, started: float, results: list[Tensors]) -> None:
        now = self._clock()
        latest = (now - started) / max(1, batch.rows)
        self._seconds_a_row = 0.8 * self._seconds_a_row + 0.2 * latest if self._seconds_a_row else latest
        for entry, outputs in zip(batch.entries, results, strict=True):
            entry.timings.computed = now
            self._reply(entry, outputs)

    def _expire(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._reply(entry, DeadlineExceeded("the deadline passed while the request waited"))

    def _reply(self, entry: Entry, outcome: Outcome) -> None:
        try:
            entry.reply(outcome)
        except Exception:  # boundary: a waiter that fails must not leave the others waiting
            logger.exception("fault while a request was answered")

    def _fail(self, batch: Batch, error: BaseException) -> None:
        """Bisects: the halves run again, so that only the culprit gets the error."""
        if len(batch.entries) > 1:
            self._retries.extend(batch.halves())
            return
        if not isinstance(error, BonsaiError):
            failure = ExecutionFailed("the model failed on this input")
            failure.__cause__ = error
            error = failure
        self._reply(batch.entries[0], error)
