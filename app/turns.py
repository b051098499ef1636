"""The turn of the event loop at whose end what came together is handled together."""

import asyncio
from collections.abc import Callable
from typing import Protocol

Soon = Callable[[Callable[[], None]], object]
"""The event loop's `call_soon`."""


def soon(callback: Callable[[], None]) -> None:
    """The `call_soon` of the event loop that runs when it is called."""
    asyncio.get_running_loop().call_soon(callback)


class Arrivals(Protocol):
    """What has arrived and waits."""

    @property
    def entries(self) -> int: ...

    @property
    def rows(self) -> int: ...


class Turns:
    """Forms a batch not at once, but at the loop's next turn, so that what arrives in one turn shares it; and while
    each turn brings more than one, at the turn after: a server in front spreads over turns what came together."""

    def __init__(self, soon: Soon, waiting: Arrivals, enough: Callable[[], int], form: Callable[[], None]) -> None:
        """`enough` rows are not waited with any longer."""
        self._soon = soon
        self._waiting = waiting
        self._enough = enough
        self._form = form
        self._seen = 0
        self._is_asked = False

    def ask(self, left: int = 0) -> None:
        """Batches are formed at the next turn. `left` entries have been left over by a turn, and are no arrivals.
        Asking again before that changes nothing else."""
        if left:
            self._seen = left
        if not self._is_asked:
            self._is_asked = True
            self._soon(self._turn)

    def _turn(self) -> None:
        arrived = self._waiting.entries
        if arrived > self._seen + 1 and self._waiting.rows < self._enough():
            self._seen = arrived
            self._soon(self._turn)
            return
        self._seen = 0
        self._is_asked = False
        self._form()
