"""The CPU that the models of a process and its event loop share."""

import math
from collections.abc import Callable

BUSY = 0.5
"""Part of the time. A loop that runs for longer needs a CPU of its own."""


class SharedCpu:
    """Tells a model whether a run may have all of the CPU.

    The threads of a wide run wait for each other after every node of the graph. Where another run or a busy event loop
    keeps one of them from its CPU, all of them stand still: it is slower then than a run on one thread, and slows what
    it shares the CPU with (docs/decisions/0014-spinning.md).
    """

    __slots__ = ("_clock", "_looked", "_loop_clock", "_running", "_taken")

    def __init__(self, clock: Callable[[], float], loop_clock: Callable[[], float]) -> None:
        """`loop_clock`: seconds of the CPU's time that the calling thread, which is the event loop's, has taken."""
        self._clock = clock
        self._loop_clock = loop_clock
        self._running = 0
        self._looked, self._taken = -math.inf, 0.0

    def begin(self) -> None:
        """A run of some model begins."""
        self._running += 1

    def end(self) -> None:
        """It has ended."""
        self._running -= 1

    def is_free(self) -> bool:
        """Whether no run is under way, and the loop was at leisure since this was asked before."""
        now, taken = self._clock(), self._loop_clock()
        busy = taken - self._taken > BUSY * (now - self._looked)
        self._looked, self._taken = now, taken
        return not (self._running or busy)
