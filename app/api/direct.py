"""An inference request on its way past the ASGI layer, and the bytes of an answer."""

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.api.framing import Body, Sized
from app.api.heads import HeadReader
from app.api.inference import Call, Head
from app.api.status import Answer

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
STAY, KEEP_ALIVE, CLOSE = b"", b"connection: keep-alive\r\n", b"connection: close\r\n"
"""What an answer says about the connection."""
MAX_DISCARD = 64 << 10
"""Bytes of a refused request's body that are read for the sake of the connection."""
_TIMED = b"%b%b%bserver-timing: %b\r\nx-request-id: %b\r\ncontent-length: %d\r\n%b\r\n%b"
_UNTIMED = b"%b%b%b%bcontent-length: %d\r\n%b\r\n%b"


class Direct(msgspec.Struct, eq=False):
    """What a RequestResponseCycle is to uvicorn: one request that is under way."""

    head: Head
    received: float
    """When its head was there, in seconds of the monotonic clock."""
    read: float = 0.0
    """When its body was."""
    connection: bytes = STAY
    expects_continue: bool = False
    body: bytes | bytearray = b""
    """As far as it has come, where it did not come with the head."""
    call: Call | None = None

    @classmethod
    def begin(cls, head: Head, reader: HeadReader, received: float) -> "Direct":
        is_old = reader.version == b"1.0"  # closes unless asked, and knows no 100 Continue
        connection = (KEEP_ALIVE if is_old else STAY) if reader.persistent else CLOSE
        expects = not is_old and head.headers.get(b"expect", b"").lower() == b"100-continue"
        return cls(head, received, connection=connection, expects_continue=expects, body=bytearray())

    def refuse(self, body: Body) -> None:
        """The body is not wanted: the connection stays where little of it is to come."""
        if self.expects_continue or not isinstance(body, Sized) or body.left > MAX_DISCARD:
            self.connection = CLOSE


def written(answer: Answer, common: bytes, connection: bytes, method: str = "") -> bytes:
    """An answer as it is sent; `common` are the header lines that every answer has."""
    body = answer.body
    sent = b"" if method == "HEAD" else body
    status, lines, size = STATUS_LINE[answer.status], answer.headers.lines, len(body)
    if answer.timing:
        return _TIMED % (status, common, lines, answer.timing, answer.request_id, size, connection, sent)
    request_id = b"x-request-id: %b\r\n" % answer.request_id if answer.request_id else b""
    return _UNTIMED % (status, common, lines, request_id, size, connection, sent)
