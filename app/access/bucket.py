"""The token bucket: how often a caller may ask."""

import math

from app.errors import RateLimited


class Bottomless:
    """The bucket of a caller without a rate."""

    def take(self, now: float) -> None:
        """There is always one more."""

    def takes(self, count: int, now: float) -> bool:
        """There are always as many."""
        return True

    def give_back(self) -> None:
        """Nothing was taken."""


class TokenBucket(Bottomless):
    """`rate` requests a second on average, `burst` of them at once. The clock is the caller's, in seconds."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled = -math.inf

    def take(self, now: float) -> None:
        """Takes a token. Raises RateLimited, which says when there is one again."""
        if not self.takes(1, now):
            raise RateLimited(
                f"rate: expected at most {self._rate:g} requests a second for this key, got more",
                retry_after=(1 - self._tokens) / self._rate,
            )

    def takes(self, count: int, now: float) -> bool:
        """Takes so many tokens; none where there are less, and then it is False.

        An instant before the last one fills nothing: requests that waited on their connection come late.
        """
        if now > self._filled:
            self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
            self._filled = now
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def give_back(self) -> None:
        """Puts a token back that was taken for nothing."""
        self._tokens += 1
