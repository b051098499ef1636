"""Header lines that every answer of `bonsai serve` to an inference request has."""

from uvicorn.server import ServerState

from app.api.doorkeeper import NO_SNIFFING


class CommonHeaders:
    """Those of a server. uvicorn makes its part, the date, anew each second."""

    __slots__ = ("_lines", "_of", "_state")

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._of: list[tuple[bytes, bytes]] | None = None
        self._lines = b""

    def lines(self) -> bytes:
        if self._of is not self._state.default_headers:
            self._of = self._state.default_headers
            self._lines = b"".join(b"%b: %b\r\n" % header for header in (*self._of, NO_SNIFFING))
        return self._lines
