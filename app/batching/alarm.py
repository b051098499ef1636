"""One timer that is set, set anew and stopped."""

import math
from collections.abc import Callable

from app.batching.runs import Scheduler, Timer


class Alarm:
    """Calls `ring` at the instant that it was last set to, or a little before it."""

    __slots__ = ("_ring", "_scheduler", "_timer", "at")

    def __init__(self, scheduler: Scheduler, ring: Callable[[], None]) -> None:
        self.at = math.inf
        """When it rings; infinity where it is not set."""
        self._scheduler = scheduler
        self._ring = ring
        self._timer: Timer | None = None

    def set(self, when: float) -> None:
        """It rings then, and at no other instant that it was set to before."""
        self.stop()
        self.at = when
        self._timer = self._scheduler.call_at(when, self._rings)

    def stop(self) -> None:
        """It does not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._forget()

    def _rings(self) -> None:
        self._forget()
        self._ring()

    def _forget(self) -> None:
        self.at = math.inf
        self._timer = None
