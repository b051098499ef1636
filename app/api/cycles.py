"""What is not inference goes through uvicorn's own protocol to the application: one of its cycles for each request."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.framing import Body, Sized, TooLarge
from app.api.heads import HeadReader


class Cycles(HttpToolsProtocol):
    """Its cycles, for a protocol that reads heads and bodies by itself."""

    @property
    def open_cycle(self) -> RequestResponseCycle | None:
        """The cycle whose answer has not ended."""
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    def begin_cycle(self, reader: HeadReader, url: bytes, host: bytes, body: Body, limit: int) -> None:
        """Leaves a request to the application; its body follows by `on_body` and `on_message_complete`.

        Raises TooLarge for one that is announced to have more than `limit` bytes.
        """
        if isinstance(body, Sized) and body.left > limit:
            raise TooLarge(limit)
        self.parser = reader  # type: ignore[assignment]  # it answers what uvicorn asks a parser
        self.on_message_begin()
        self.url = url
        for name, value in reader.headers:
            if name != b"expect" or reader.version == b"1.1":  # HTTP/1.0 knows no 100 Continue
                self.on_header(name, host if name == b"host" else value)
        self.on_headers_complete()
        if self.expect_100_continue:  # a client that is not told to go on may leave the body out
            self.cycle.keep_alive &= body.whole

    def drop_cycle(self, cycle: RequestResponseCycle) -> None:
        """What the application still says goes nowhere; it is told that the client has left."""
        cycle.disconnected = True
        cycle.message_event.set()
        self.cycle = None  # type: ignore[assignment]
