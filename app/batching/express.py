"""The short way of a model that runs on the event loop's own thread.

No run is under way while the loop reads requests, so nothing waits for an instance: what has arrived in one turn is the
next batch, if it fits in one. Then neither its order nor its clients' turns matter, and it needs no place in a queue.
All else is left to the batcher: what has a deadline, what is more than one batch, and batches that fail.
"""

from collections.abc import Callable

from app.batching.batch import Batch, Entry, check_rows, let_go, tell
from app.batching.batcher import DynamicBatcher
from app.batching.padding import joined
from app.batching.runs import Runs
from app.contract.deployment import Limits
from app.errors import BonsaiError
from app.protocol.messages import Inputs, Outputs, Share
from app.telemetry.load import Load
from app.telemetry.metrics import ModelMetrics
from app.turns import Soon, Turns


class Express:
    """Runs entries of one key together, and answers each alone."""

    def __init__(
        self,
        batcher: DynamicBatcher,
        runs: Runs,
        limits: Limits,
        *,
        clock: Callable[[], float],
        soon: Soon,
        metrics: ModelMetrics,
    ) -> None:
        self.rows = 0
        """That wait for the end of the turn."""
        self._batcher = batcher
        self._runs = runs
        self._clock = clock
        self._metrics = metrics
        self._fresh: list[Entry] = []
        self._turns = Turns(soon, self, self._most_rows, self._form)
        self.apply(limits)
        metrics.watch(self._load)

    @property
    def entries(self) -> int:
        """Requests that wait for the end of the turn."""
        return len(self._fresh)

    @property
    def idle(self) -> bool:
        """Nothing waits, here or in the batcher."""
        return not self._fresh and self._batcher.idle

    def apply(self, limits: Limits) -> None:
        """Changes the limits; what waits is bound by them from now on."""
        self._limit = limits.max_batch_rows
        self._most = 0 if limits.max_queue_delay_ms else min(limits.max_batch_rows, limits.max_queue_rows)
        self._pour()

    def submit(self, entry: Entry) -> None:
        """Takes an entry. Raises TooLarge or Overloaded; afterwards the entry is answered exactly once."""
        rows = self.rows + entry.rows
        if entry.deadline is not None or rows > self._most or not (self._fresh or self._batcher.idle):
            self._pour()
            self._batcher.submit(entry)
            return
        if not self._fresh:
            self._turns.ask()
        entry.batcher = self
        self.rows = rows
        self._fresh.append(entry)

    def cancel(self, entry: Entry) -> None:
        """Nobody waits for the entry any more."""
        if entry.done:
            return
        let_go(entry)
        if entry in self._fresh:
            self._fresh.remove(entry)
            self.rows -= entry.rows
        self._metrics.cancelled("queue")

    def _pour(self) -> None:
        """Leaves what waits to the batcher."""
        for entry in self._take():
            try:
                self._batcher.submit(entry)
            except BonsaiError as refusal:  # limits that have just changed may leave no room for it
                tell(entry, refusal)

    def room(self) -> int:
        """Rows that `run` may be given now; 0 where something waits, or would have to wait for others."""
        if self._fresh or not self._batcher.idle:
            return 0
        return min(self._most, self._most_rows())

    def run(self, inputs: Inputs, rows: int, started: float) -> Outputs:
        """Runs a batch of so many rows that was formed at the instant `started`. Raises what the model raises."""
        self._metrics.batch_rows.observe(rows)
        self._metrics.dispatched("full" if rows == self._limit else "idle")
        began = self._clock()
        arrays = self._runs.narrow(inputs)
        check_rows(arrays, rows)
        now = self._clock()
        self._runs.costs.observe((), rows, now - started)
        return Outputs(arrays, began, started=started, computed=now)

    def _most_rows(self) -> int:
        """Up to which batching pays."""
        return self._runs.costs.of(()).best_rows(self._limit)

    def _load(self) -> Load:
        load = self._batcher.load()
        return Load(load.queue_rows + self.rows, load.pending + self.entries, load.in_flight + self.entries)

    def _take(self) -> list[Entry]:
        fresh, self._fresh = self._fresh, []
        self.rows = 0
        return fresh

    def _form(self) -> None:
        """Runs what waits, where it is one batch."""
        rows = self.rows
        if rows > self._most_rows():
            self._pour()
        elif rows:
            self._answer(self._take(), rows)

    def _answer(self, entries: list[Entry], rows: int) -> None:
        started = self._clock()
        try:
            outputs = self.run(joined([entry.inputs for entry in entries]), rows, started)
        except Exception as error:  # noqa: BLE001 - boundary: whatever the model raised fails its batch alone
            self._batcher.retry(Batch(entries), error)
            return
        began, now = outputs.joined, outputs.computed
        stop = 0
        for entry in entries:
            start, stop = stop, stop + entry.rows
            if entry.done:  # whoever has just been answered may have cancelled it
                self._metrics.discarded(1)
                continue
            timings = entry.timings
            timings.started, timings.joined, timings.computed = started, began, now
            tell(entry, Share(outputs, start, stop))
