"""Ends runs that take too long. Asking ends a run between two nodes of its graph, also inside a loop's body."""

import threading
import time

from app.protocol.messages import Halt

POLL_SECONDS = 0.1


class Watched:
    """A run that is under way."""

    __slots__ = ("ends", "halt", "rang")

    def __init__(self, halt: Halt, ends: float) -> None:
        self.halt = halt
        self.ends = ends
        self.rang = False
        """It was asked to end."""


class Watchdog:
    """One thread for all runs of the process. To be watched costs a run no switch of threads."""

    def __init__(self) -> None:
        self._runs: set[Watched] = set()  # adding, discarding and copying are single steps under the interpreter's lock
        self._some = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def watch(self, halt: Halt, seconds: float) -> Watched:
        """Asks `halt` when this time is over, unless the run is forgotten before."""
        run = Watched(halt, time.monotonic() + seconds)
        self._runs.add(run)
        if not self._some.is_set():
            self._some.set()
        if self._thread is None:
            self._start()
        return run

    def forget(self, run: Watched) -> None:
        """The run has ended."""
        self._runs.discard(run)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
                self._thread.start()

    def _look(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            while self._runs:
                now = time.monotonic()
                for run in list(self._runs):
                    if run.ends <= now and not run.rang:
                        run.rang = True
                        run.halt.ask()
                time.sleep(POLL_SECONDS)


WATCHDOG = Watchdog()
