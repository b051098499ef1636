"""Clients that do not take their answers."""

import math


class Standstill:
    """Notices that a client has taken nothing of what is to be sent for some seconds. It may take its time over a large
    answer, but not stand still."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._unsent, self._since = math.inf, 0.0

    def lasts(self, unsent: int, now: float) -> bool:
        """Whether it has stood still for too long; `unsent` bytes are still to be sent."""
        if unsent < self._unsent:
            self._unsent, self._since = unsent, now
        return now - self._since > self._seconds

    def end(self) -> None:
        """All has been sent."""
        self._unsent = math.inf
