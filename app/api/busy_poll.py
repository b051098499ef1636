"""Busy polling: the event loop stays awake for the next request of a client that asks again at once.

To fall asleep and to be woken takes about as long as the whole of a request to a small model, and what the request
needs has left the CPU's caches meanwhile (docs/decisions/0015-busy-polling.md). Linux has guests poll before they halt
for the same reason (Documentation/virt/guest-halt-polling.rst).
"""

import math
from collections.abc import Callable

from app.turns import Soon

AT_ONCE_SECONDS = 0.0001
"""Between an answer and the next request. So long the loop stays awake."""


class BusyPoll:
    """Has the loop look for what has come, instead of waiting for it, while one request follows the other at once. A
    client that takes longer costs one look of AT_ONCE_SECONDS, once."""

    def __init__(self, soon: Soon, clock: Callable[[], float]) -> None:
        self._soon = soon
        self._clock = clock
        self._answered = -math.inf
        self._end = -math.inf
        self._is_on = False

    def answered(self, received: float) -> None:
        """A request that came at this instant has just been answered, and there is nothing else to do."""
        followed_at_once = received - self._answered < AT_ONCE_SECONDS
        self._answered = self._clock()
        if followed_at_once:
            self._end = self._answered + AT_ONCE_SECONDS
            if not self._is_on:
                self._is_on = True
                self._soon(self._look)

    def _look(self) -> None:
        self._is_on = self._clock() < self._end
        if self._is_on:
            self._soon(self._look)
