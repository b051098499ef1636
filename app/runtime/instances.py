"""The instances of a model: where its runs happen, and how many may be under way at once."""

import atexit
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from app.runtime import cpu

T = TypeVar("T")
Deliver = Callable[..., Any]
Task = tuple[Callable[[], Any], Callable[[Any], None]]
"""A run, and who gets what it returned or raised."""


class InstanceGroup:
    """Threads that run a model's session; results come back on the event loop's thread.

    Not a ThreadPoolExecutor: behind a run its futures, with a lock and a condition each, are no longer in the CPU's
    caches, and take 50 us of every hand-over (docs/decisions/0005-inline-runs.md).
    """

    def __init__(self, name: str, count: int, deliver: Deliver) -> None:
        """`deliver(callback, result)` calls back on the loop's thread: `loop.call_soon_threadsafe`.

        Starts every thread now, so that no run can fail for want of one. Raises RuntimeError.
        """
        self.count = count
        self._is_closed = False
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        try:
            for number in range(count):
                _Instance(f"{name}_{number}", self._tasks, deliver).start()
        except RuntimeError:
            self.close()
            raise

    def start(self, work: Callable[[], T], done: Callable[[T | BaseException], None]) -> None:
        """Runs `work` on an instance; `done` gets what it returned or raised. Raises RuntimeError after `close`."""
        if self._is_closed:
            raise RuntimeError("the instances have been closed")
        self._tasks.put((work, done))

    def close(self) -> None:
        """Ends the threads after the runs that are under way."""
        self._is_closed = True
        for _ in range(self.count):
            self._tasks.put(None)


class _Instance(threading.Thread):
    """Takes one run after the other. It does not keep the process alive, but a run that is under way does."""

    def __init__(self, name: str, tasks: SimpleQueue[Task | None], deliver: Deliver) -> None:
        super().__init__(name=name, daemon=True)
        self.tasks = tasks
        self._deliver = deliver

    def run(self) -> None:
        cpu.give_way()
        while self._perform(self.tasks.get()):
            pass

    def _perform(self, task: Task | None) -> bool:
        """Runs a task, of which this thread holds nothing afterwards. False for None: there is no further one."""
        if task is None:
            return False
        work, done = task
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - a run's result, whatever it is
                self._deliver(done, error)  # from here, where the name ends: a cycle would keep the batch
            else:
                self._deliver(done, result)
        return True


@atexit.register
def _end_instances() -> None:
    """Waits for the runs that are under way: a thread that comes out of ONNX Runtime while Python ends aborts the
    process."""
    instances = [thread for thread in threading.enumerate() if isinstance(thread, _Instance)]
    for instance in instances:
        instance.tasks.put(None)
    for instance in instances:
        instance.join()


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
