"""The dynamic batcher.

Work-conserving: whenever an instance is free, what waits is dispatched; there is no timer unless a deployment asks for
one. While all instances are busy, requests collect, and the next batch is what has collected, as far as batching pays.
All state belongs to one thread, the event loop's; clock, executor and scheduler are handed in, so that tests run it on
a virtual clock.
"""

from collections.abc import Callable
from functools import partial

from app.batching.admission import Admission
from app.batching.batch import NOTHING, STAGES, Batch, Entry, Outcome, disband, failure, let_go, tell
from app.batching.deadlines import Deadlines
from app.batching.delay import Delay
from app.batching.padding import Bucket
from app.batching.retries import Retries
from app.batching.room import Room, most_rows, share
from app.batching.runs import Executor, Result, Runs, Scheduler
from app.batching.waiting import Waiting
from app.contract.deployment import Limits
from app.errors import DeadlineExceeded, Overloaded
from app.protocol.messages import Outputs, Share
from app.telemetry.load import Load
from app.telemetry.metrics import ModelMetrics
from app.turns import Turns


class DynamicBatcher:
    """Admits entries, forms batches, answers each entry alone."""

    def __init__(
        self,
        runs: Runs,
        instances: Executor,
        limits: Limits,
        *,
        clock: Callable[[], float],
        scheduler: Scheduler,
        metrics: ModelMetrics,
    ) -> None:
        self._limits = limits
        self._instances = instances
        self._runs = runs
        self._clock = clock
        self._metrics = metrics
        self._waiting = Waiting(clock)
        self._retries = Retries(self._expire)
        self._running: set[Batch] = set()
        self._admission = Admission(self._waiting, self._running, runs, clock)
        self._slots = self._in_flight = 0  # instances that are taken, requests that are not answered
        self._deadlines = Deadlines(scheduler, clock, self._expire)
        self._delay = Delay(scheduler, clock, self._dispatch)
        self._turns = Turns(scheduler.call_soon, self._waiting, self._enough, self._dispatch)
        self._is_dispatching = False
        metrics.watch(self.load)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not (self._in_flight or self._running)

    def apply(self, limits: Limits, instances: Executor) -> None:
        """Changes the limits and the instances; what waits is bound by them from now on."""
        self._limits, self._instances = limits, instances
        self._delay.reset()
        if not self.idle:
            self._turns.ask(self._waiting.entries)

    def close(self) -> None:
        """Nothing comes any more: no timer is left to hold it."""
        self._deadlines.stop()
        self._delay.reset()

    def submit(self, entry: Entry) -> None:
        """Queues an entry. Raises TooLarge or Overloaded; afterwards the entry is answered exactly once."""
        displaced = self._admit(entry)
        self._in_flight += 1
        entry.batcher = self
        is_free = self._slots < self._instances.count
        if entry.rows > 1 and entry.key is not None and entry.rows > (most := most_rows(entry.key, self._limits)):
            self._waiting.add_parts(entry, most, self._limits.max_output_mb << 20, self._reply, self._withdraw)
        else:
            self._waiting.add(entry, is_free=is_free)
        if entry.deadline is not None:
            self._deadlines.watch(entry, entry.deadline)
        if self._limits.max_queue_delay_ms:
            self._collect(entry)
        elif is_free:
            self._turns.ask()
        if displaced is not None:  # told at last: who is told may send the next request, and their room is taken
            self._refuse(*displaced)

    def cancel(self, entry: Entry) -> None:
        """Nobody waits for the entry any more: it is not run if it waits, and a run for nobody is ended."""
        if not entry.done:
            self._in_flight -= 1
            self._metrics.cancelled(self._withdraw(entry))
            let_go(entry)

    def retry(self, failed: Batch, error: BaseException) -> None:
        """Runs the entries of a batch that failed elsewhere again, in halves; one alone gets the error."""
        self._in_flight += len(failed.entries)
        for entry in failed.entries:
            entry.batcher = self
        self._fail(failed, error)
        self._turns.ask()

    def _admit(self, entry: Entry) -> tuple[list[Entry], Overloaded] | None:
        """Who has left for the entry, and what they are still to be told. Raises TooLarge or Overloaded."""
        has_room = self._waiting.rows + entry.rows <= self._limits.max_queue_rows
        if has_room and entry.deadline is None:
            return None
        instances = self._instances.count
        try:
            self._admission.check(entry, self._limits, instances)
            if has_room:
                return None
            displaced, refusal = self._admission.displace(entry, self._limits, instances)
        except Overloaded as refused:
            self._metrics.rejected(refused.reason)
            raise
        for other in displaced:
            self._waiting.remove(other)
        return displaced, refusal

    def _refuse(self, displaced: list[Entry], refusal: Overloaded) -> None:
        for other in displaced:
            if not other.done:  # it may be part of a request that has just been refused with another part
                self._metrics.rejected(refusal.reason)
                self._reply(other, refusal)

    def _collect(self, entry: Entry) -> None:
        """A batch is formed when the deployment's delay ends, or at once where it is full or its deadlines forbid to
        wait."""
        delay = self._delay
        delay.begin(self._limits.max_queue_delay_ms / 1000)
        if self._waiting.rows >= self._limits.max_batch_rows:
            delay.end("idle")
        elif entry.deadline is not None and entry.deadline - self._runs.longest(entry) <= delay.until:
            delay.end("deadline")
        else:
            return
        self._turns.ask()

    def _enough(self) -> int:
        """Rows that the free instances take at once: more would not make their batches larger."""
        key = self._waiting.key
        best = self._runs.costs.of(key).best_rows(most_rows(key, self._limits))
        return best * (self._instances.count - self._slots)

    def load(self) -> Load:
        """What there is to do."""
        again = self._retries.waiting()
        rows = self._waiting.rows + sum(entry.rows for entry in again)
        return Load(rows, self._waiting.entries + len(again), self._in_flight)

    def _dispatch(self) -> None:
        """Fills the instances that are free. What is left after one has run at once waits for the next turn: a long
        queue must not keep the loop from its sockets."""
        count = self._instances.count
        self._is_dispatching = True
        try:
            for _ in range(count - self._slots):
                if self._slots >= count or (batch := self._next()) is None:
                    break
                self._start(batch)
        finally:
            self._is_dispatching = False
        if self._slots < count and self._has_work():
            self._turns.ask(self._waiting.entries)

    def _has_work(self) -> bool:
        return bool(self._retries or (self._waiting.rows and not (self._delay.until and self._delay.is_on)))

    def _next(self) -> Batch | None:
        """The next batch to run; what should not run any more is answered on the way."""
        now = self._clock()
        if self._retries and (half := self._retries.take(now)) is not None:
            return half
        rows = share(self._waiting.rows, self._running, self._instances.count)
        room = Room(self._runs.costs, self._limits, rows, now)
        while self._has_work():
            if entries := self._waiting.take_fresh(room) or self._take(room, now):
                batch = self._batch(entries)
                self._metrics.dispatched(self._reason(batch, room))
                return batch
        if self._delay.until and not self._waiting.rows:
            self._delay.reset()
        return None

    def _reason(self, batch: Batch, room: Room) -> str:
        """What ended the wait of a batch that has just been taken."""
        if self._waiting.rows:
            return "deadline" if room.is_cut(batch.entries) else "full"
        reason = self._delay.reason
        if self._delay.until:
            self._delay.reset()
        return reason if batch.rows < most_rows(batch.key, self._limits) else "full"

    def _batch(self, entries: list[Entry]) -> Batch:
        count = self._instances.count
        is_alone = count > 1 and not (self._slots or self._waiting.rows)
        return Batch(entries, slots=count) if is_alone and self._runs.may_be_wide() else Batch(entries)

    def _take(self, room: Room, now: float) -> list[Entry]:
        """The entries of the next batch; none where what there was has to be answered otherwise."""
        # What waits alone is run if there is any time: only runs show that they have become quicker.
        is_past = self._runs.is_too_late if self._waiting.requests > 1 else Entry.is_expired
        entries, expired = self._waiting.take(room, now, lambda entry: is_past(entry, now))
        for entry in expired:
            self._expire(entry)
        # A waiter that has just been answered may have cancelled others.
        return [entry for entry in entries if not entry.done] if expired else entries

    def _start(self, batch: Batch) -> None:
        batch.started = self._clock()
        self._slots += batch.slots
        self._running.add(batch)
        self._runs.cpu.begin()
        self._metrics.batch_rows.observe(batch.rows)
        work = partial(batch.execute, self._runs.of(batch), self._runs.padding, self._clock)
        try:
            self._instances.start(work, partial(self._finish, batch))
        except Exception as error:  # noqa: BLE001 - boundary: no thread to be had fails this batch, not the batcher
            self._end(batch)
            self._fail(batch, error)

    def _finish(self, batch: Batch, result: Result) -> None:
        self._end(batch)
        if isinstance(result, BaseException):
            if batch.is_for_nobody:
                self._runs.observe_halted(batch, self._clock() - batch.started)
            self._fail(batch, result)
        else:
            self._answer(batch, result)
        if not self._is_dispatching:
            self._dispatch()

    def _end(self, batch: Batch) -> None:
        self._running.remove(batch)
        self._slots -= batch.slots
        self._runs.cpu.end()
        if batch.left:
            self._metrics.discarded(batch.left)

    def _answer(self, batch: Batch, outputs: Outputs) -> None:
        now = self._clock()
        self._runs.observe(batch, now - batch.started)
        if isinstance(batch.key, Bucket):
            self._metrics.padded(sum(entry.rows * entry.length for entry in batch.entries), batch.rows * batch.length)
        stop = 0
        for entry in batch.entries:
            start, stop = stop, stop + entry.rows
            if entry.done:
                continue
            timings = entry.timings
            timings.started, timings.joined, timings.computed = batch.started, outputs.joined, now
            if entry.deadline is not None and entry.deadline <= now:
                self._expire(entry)
                self._metrics.discarded(1)
            else:
                self._tell(entry, Share(outputs, start, None if batch.key is None else stop, entry.length))

    def _fail(self, batch: Batch, error: BaseException) -> None:
        if len(batch.entries) > 1:
            self._retries.add(batch)
            return
        self._reply(batch.entries[0], failure(error))

    def _expire(self, entry: Entry) -> None:
        if not entry.done:
            self._withdraw(entry)
            self._metrics.missed()
            self._tell(entry, DeadlineExceeded("no answer could be there by the deadline"))

    def _withdraw(self, entry: Entry) -> str:
        """Takes an entry out of wherever it is; the name of that stage."""
        entry.done = True
        entry.inputs = NOTHING
        if entry.parts:
            stages = [self._withdraw(part) for part in entry.parts if not part.done]
            disband(entry)  # withdrawn parts stay in heaps and in runs, with what others have answered
            return max(stages, key=STAGES.index, default="queue")
        if self._waiting.remove(entry):
            return "queue"
        for batch in self._running:
            if entry in batch.entries:
                return batch.leave()
        return "queue"

    def _reply(self, entry: Entry, outcome: Outcome) -> None:
        """Answers an entry, unless nobody waits for it any more."""
        if not entry.done:
            self._tell(entry, outcome)

    def _tell(self, entry: Entry, outcome: Outcome) -> None:
        if entry.whole is None:
            self._in_flight -= 1
        tell(entry, outcome)
