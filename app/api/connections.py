"""What the connections of a server have in common."""

from typing import NamedTuple, Protocol

from app.api.direct import Direct
from app.api.heads import Heads
from app.api.inference import Inference


class Connection(Protocol):
    """One that has received a whole request."""

    def infer(self, direct: Direct, body: bytes) -> None:
        """Handles the request, unless its client has gone."""


class Inbox:
    """Requests that came whole within a turn of the event loop. They are handled at the next turn, one right after the
    other: a CPU that reads from a socket between two of them runs the same code slower (docs/decisions/0006)."""

    def __init__(self) -> None:
        self.arrived: list[tuple[Connection, Direct, bytes]] = []

    def empty(self) -> None:
        """Handles what has arrived."""
        arrived, self.arrived = self.arrived, []
        for connection, direct, body in arrived:
            connection.infer(direct, body)


class Common(NamedTuple):
    """One for all connections of a server."""

    inference: Inference
    heads: Heads
    inbox: Inbox
    read_seconds: float
    """Within which a request must come whole."""
    max_connections: int
    """More than these are answered with 503."""
