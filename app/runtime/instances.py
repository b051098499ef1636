"""The instances of a model: where its runs happen, and how many may be under way at once."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from app.runtime import cpu

T = TypeVar("T")
Deliver = Callable[..., Any]


class InstanceGroup:
    """Threads that run a model's session; results come back on the event loop's thread."""

    def __init__(self, name: str, count: int, deliver: Deliver) -> None:
        """`deliver(callback, result)` calls back on the loop's thread: `loop.call_soon_threadsafe`."""
        self.count = count
        self._deliver = deliver
        self._threads = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=cpu.give_way)
        self._start_threads()

    def _start_threads(self) -> None:
        """Starts every thread now, so that no run can fail for want of one. Raises RuntimeError."""
        started = threading.Barrier(self.count + 1)
        try:
            for _ in range(self.count):
                self._threads.submit(started.wait)
        except RuntimeError:
            started.abort()
            self.close()
            raise
        started.wait()

    def start(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Runs `work` on an instance; `done` gets what it returned or raised."""

        def finished(future: Future[T]) -> None:
            self._deliver(done, future.exception() or future.result())

        self._threads.submit(work).add_done_callback(finished)

    def close(self) -> None:
        """Ends the threads after the runs that are under way."""
        self._threads.shutdown(wait=False)


class InlineInstance:
    """Runs a model on the event loop's own thread: for runs that take less time than to hand one over."""

    count = 1

    def start(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Runs `work` now; `done` gets what it returned or raised."""
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - like a thread's future, whatever it is
            done(error)  # from here, where the name ends: a cycle of error and frame would keep the batch
            return
        done(result)

    def close(self) -> None:
        """There is nothing to end."""
