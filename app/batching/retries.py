"""Failed batches in halves: they run again, so that only the request that makes the model fail gets the error."""

from collections import deque
from collections.abc import Callable

from app.batching.batch import Batch, Entry


class Retries:
    """Halves that wait for an instance. They go before everything else that waits."""

    def __init__(self, expire: Callable[[Entry], None]) -> None:
        """`expire` answers an entry whose deadline has passed."""
        self._halves: deque[Batch] = deque()
        self._expire = expire

    def __bool__(self) -> bool:
        return bool(self._halves)

    def add(self, failed: Batch) -> None:
        """Both halves of a batch of several entries."""
        self._halves.extend(failed.halves())

    def take(self, now: float) -> Batch | None:
        """The next half, of which those are left that somebody waits for; None where none is."""
        while self._halves:
            half = self._halves.popleft()
            for entry in half.entries:
                if entry.is_expired(now):
                    self._expire(entry)
            if wanted := half.wanted():
                return Batch(wanted)
        return None

    def waiting(self) -> list[Entry]:
        """The entries that somebody waits for."""
        return [entry for half in self._halves for entry in half.wanted()]
