"""The instance group: threads that run a model, results that come back through one callable."""

import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from app.errors import ExecutionFailed
from app.runtime import cpu
from app.runtime.instances import InlineInstance, InstanceGroup
from tests.collector import no_collector

PATIENCE = 10


class Loop:
    """Stands in for an event loop: deliveries wait until the test takes them."""

    def __init__(self) -> None:
        self._deliveries: queue.Queue[tuple[Callable[[Any], None], Any]] = queue.Queue()

    def deliver(self, callback: Callable[[Any], None], result: object) -> None:
        self._deliveries.put((callback, result))

    def take(self) -> None:
        """Waits for a delivery and makes the call on this thread."""
        callback, result = self._deliveries.get(timeout=PATIENCE)
        callback(result)


def test_results_are_delivered_through_the_callable_and_not_from_the_worker() -> None:
    loop, seen = Loop(), []
    group = InstanceGroup("m", 1, loop.deliver)
    group.start(lambda: threading.current_thread().name, lambda name: seen.append((name, threading.current_thread())))
    loop.take()
    group.close()
    ((worker, caller),) = seen
    assert worker.startswith("m")
    assert caller is threading.current_thread()


def test_its_threads_give_way_to_the_event_loops() -> None:
    loop, seen = Loop(), []
    group = InstanceGroup("m", 1, loop.deliver)
    group.start(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), seen.append)
    loop.take()
    group.close()
    assert seen == [min(19, os.getpriority(os.PRIO_PROCESS, os.getpid()) + cpu.NICENESS)]


def test_where_threads_may_not_give_way_they_run_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", forbidden)
    loop, seen = Loop(), []
    group = InstanceGroup("m", 1, loop.deliver)
    group.start(lambda: "ran", seen.append)
    loop.take()
    group.close()
    assert seen == ["ran"]


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt(), SystemExit(3)])
def test_what_a_run_raises_is_delivered_as_its_result(error: BaseException) -> None:
    loop, seen = Loop(), []
    group = InstanceGroup("m", 1, loop.deliver)

    def work() -> None:
        raise error

    group.start(work, seen.append)
    loop.take()
    assert seen == [error]
    group.start(lambda: "next", seen.append)
    loop.take()
    group.close()
    assert seen[1] == "next"


@pytest.mark.parametrize("result", [None, 0, [], {}])
def test_an_empty_result_is_delivered_as_it_is(result: object) -> None:
    loop, seen = Loop(), []
    group = InstanceGroup("m", 1, loop.deliver)
    group.start(lambda: result, seen.append)
    loop.take()
    group.close()
    assert seen == [result]


@pytest.mark.parametrize("count", [1, 3])
def test_as_many_runs_are_under_way_at_once_as_there_are_instances(count: int) -> None:
    loop, seen = Loop(), []
    group = InstanceGroup("m", count, loop.deliver)
    together = threading.Barrier(count)
    for _ in range(count):
        group.start(lambda: together.wait(PATIENCE), seen.append)
    for _ in range(count):
        loop.take()
    group.close()
    assert group.count == count
    assert sorted(seen) == list(range(count))  # the barrier gave every run its number: all were there


def test_no_more_runs_are_under_way_than_there_are_instances() -> None:
    loop, seen = Loop(), []
    group = InstanceGroup("m", 2, loop.deliver)
    lock, running = threading.Lock(), 0
    entered, go = threading.Semaphore(0), threading.Event()

    def work() -> int:
        nonlocal running
        with lock:
            running += 1
            most = running
        entered.release()
        assert go.wait(PATIENCE)
        with lock:
            running -= 1
        return most

    for _ in range(20):
        group.start(work, seen.append)
    assert all(entered.acquire(timeout=PATIENCE) for _ in range(2))
    go.set()
    for _ in range(20):
        loop.take()
    group.close()
    assert max(seen) == 2


WITHOUT_THREADS = """
import threading
from app.runtime.instances import InlineInstance, InstanceGroup

start, count = threading.Thread.start, iter(range(100))

def refusing(thread):
    if next(count) == 2:
        raise RuntimeError("can't start new thread")
    start(thread)

threading.Thread.start = refusing
try:
    InstanceGroup("m", 4, lambda done, result: done(result))
except Exception:
    print("refused")
"""


def test_threads_that_cannot_be_had_are_an_error_and_do_not_keep_the_process_alive() -> None:
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_THREADS], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert found.stdout == "refused\n"


def test_close_lets_the_run_that_is_under_way_end_and_then_ends_the_threads() -> None:
    loop, seen = Loop(), []
    group = InstanceGroup("closing", 1, loop.deliver)
    go = threading.Event()

    def work() -> threading.Thread:
        assert go.wait(PATIENCE)
        return threading.current_thread()

    group.start(work, seen.append)
    group.close()
    go.set()
    loop.take()
    (thread,) = seen
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_closed_group_takes_no_run_that_nobody_would_ever_run() -> None:
    group = InstanceGroup("m", 1, Loop().deliver)
    group.close()
    with pytest.raises(RuntimeError, match="closed"):
        group.start(lambda: None, lambda _: None)


def test_a_run_that_fails_on_a_thread_leaves_nothing_to_the_garbage_collector() -> None:
    loop = Loop()
    seen: list[weakref.ref[BaseException]] = []
    group = InstanceGroup("m", 1, loop.deliver)

    def fail() -> None:
        raise ExecutionFailed("no")

    with no_collector():
        group.start(fail, lambda error: seen.append(weakref.ref(error)))
        loop.take()
        group.start(lambda: None, lambda _: None)
        loop.take()  # the thread has come to the next run
        group.close()
        assert [error() for error in seen] == [None]


UNCLOSED = """
import time
from app.runtime.instances import InstanceGroup

def refuse(done, result):
    raise RuntimeError("Event loop is closed")

def work():
    print("began", flush=True)
    time.sleep(0.2)
    print("ended", flush=True)

group = InstanceGroup("m", 2, refuse)
group.start(work, print)
time.sleep(0.1)
"""


def test_a_process_ends_after_the_run_that_is_under_way_though_nobody_closed_the_group() -> None:
    found = subprocess.run([sys.executable, "-c", UNCLOSED], capture_output=True, text=True, timeout=PATIENCE)
    assert (found.returncode, found.stdout, found.stderr) == (0, "began\nended\n", "")


def test_an_inline_instance_runs_and_delivers_at_once_on_the_same_thread() -> None:
    delivered: list[Any] = []
    instance = InlineInstance()
    assert instance.count == 1
    instance.start(threading.current_thread, delivered.append)
    assert delivered == [threading.current_thread()]
    instance.start(lambda: [][0], delivered.append)
    assert isinstance(delivered[1], IndexError)
    instance.start(lambda: None, delivered.append)
    instance.close()
    assert delivered[2] is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_the_process_is_no_result_of_an_inline_instance(error: BaseException) -> None:
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        InlineInstance().start(work, lambda _: None)


def test_a_run_that_fails_on_the_loop_leaves_nothing_to_the_garbage_collector() -> None:
    """The error would keep the frames that it came through, and with them its batch."""
    seen: list[weakref.ref[BaseException]] = []

    def fail() -> None:
        raise ExecutionFailed("no")

    with no_collector():
        InlineInstance().start(fail, lambda error: seen.append(weakref.ref(error)))
        assert [error() for error in seen] == [None]
