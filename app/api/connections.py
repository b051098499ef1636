"""What the connections of a server have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.api.busy_poll import BusyPoll
from app.api.direct import Direct
from app.api.heads import Heads
from app.api.inference import Inference
from app.api.status import Answer
from app.protocol.messages import Content
from app.turns import Soon, Turns

ENOUGH = 128
"""Requests that do not wait for more to share a run with."""


class Connection(ABC):
    """One that has received a whole request."""

    __slots__ = ("direct",)
    inference: Inference
    peer: str
    """Whose requests they are where no key says that."""
    direct: Direct | None
    """The request that is under way; None where it has been answered, or its client has gone."""

    def infer(self, direct: Direct, body: Content) -> None:
        """Handles a request by itself, unless its client has gone since it came."""
        if direct is not self.direct:
            return
        try:
            direct.call = self.inference.handle(direct.head, body, direct.received, direct.read, self.peer, self.answer)
        except Exception as fault:  # noqa: BLE001 - boundary: requests of other connections are handled behind it
            self.fail(direct, fault)

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        direct, self.direct = self.direct, None
        if direct is not None and direct.call is not None:
            direct.call.cancel()

    @abstractmethod
    def answer(self, answer: Answer) -> None:
        """Answers the request that is under way."""

    @abstractmethod
    def fail(self, direct: Direct, fault: Exception) -> None:
        """Answers a request on which this server's own code failed."""


Arrival = tuple[Connection, Direct, bytes]
"""A request that has come whole, with its body."""
Handle = Callable[[Sequence[Arrival]], None]


class Inbox:
    """Requests that came whole within a turn of the event loop, which are handled together (docs/decisions/0006)."""

    def __init__(self, handle: Handle, soon: Soon) -> None:
        self._handle = handle
        self._arrived: list[Arrival] = []
        self._turns = Turns(soon, self, lambda: ENOUGH, self._empty)

    @property
    def entries(self) -> int:
        """Requests that wait for the end of the turn."""
        return len(self._arrived)

    @property
    def rows(self) -> int:
        """How many they have is not read yet: one each is what matters to small models."""
        return self.entries

    def put(self, connection: Connection, direct: Direct, body: bytes) -> None:
        """Takes a request in until the turn ends."""
        if not self._arrived:
            self._turns.ask()
        self._arrived.append((connection, direct, body))

    def handle_alone(self, connection: Connection, direct: Direct, body: bytes) -> None:
        """Handles a request at once: there is no other connection that it could share a run with."""
        self._handle(((connection, direct, body),))

    def _empty(self) -> None:
        arrived, self._arrived = self._arrived, []
        self._handle(arrived)


class Common(NamedTuple):
    """One for all connections of a server."""

    inference: Inference
    heads: Heads
    inbox: Inbox
    busy_poll: BusyPoll
    read_seconds: float
    """Within which a request must come whole."""
    max_connections: int
    """More than these are answered with 503."""
