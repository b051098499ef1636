"""Where a request's body begins and ends, and how large it may be. Bytes in, bytes out: no socket, no clock."""

import re
from collections.abc import Mapping

from app.errors import BonsaiError, Overloaded

MAX_CHUNKS = 64 << 10
MAX_LINE = 4 << 10
"""Bytes of a chunk's size with its extensions, or of a field after the last chunk."""
MAX_TRAILERS = 64
"""Fields after the last chunk."""

_LENGTH = re.compile(rb"[0-9]{1,20}[ \t]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")


class Unreadable(BonsaiError):
    """What came is no request that can be read to its end. The code is of this class and the ones below it alone: it is
    the label of a metric, which clients must not be able to grow."""

    code = "bad_request"


class TooSlow(Unreadable):
    """A request that is not there whole in time."""

    code = "request_timeout"


class TargetTooLong(Unreadable):
    code = "uri_too_long"


class HeadersTooLarge(Unreadable):
    """Too many header fields or bytes of them, also after a body in chunks."""

    code = "headers_too_large"


class UnknownCoding(Unreadable):
    """A transfer coding that is not offered."""

    code = "unsupported"


class TooLarge(Unreadable):
    """A body over the limit."""

    code = "too_large"

    def __init__(self, limit: int, unit: str = "bytes") -> None:
        super().__init__(f"body: expected at most {limit} {unit}, got more")


class TooManyConnections(Overloaded, Unreadable):
    """A connection more than are held at once."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"connections: expected at most {limit} at once, got more", reason="connections")


class Sized:
    """A body whose length is announced."""

    def __init__(self, size: int) -> None:
        self.left = size

    @property
    def whole(self) -> bool:
        return not self.left

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What of the data is content of this body, and what comes after it."""
        piece, rest = data[: self.left], data[self.left :]
        self.left -= len(piece)
        return piece, rest


class Chunked:
    """A body in chunks: RFC 9112, section 7.1, and not a byte more lenient."""

    def __init__(self, limit: int) -> None:
        self.whole = False
        self._limit = self._room = limit
        self._left = 0
        self._chunks = 0
        self._trailers = 0
        self._ended = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What of the data is content of this body, and what is not read yet or comes after it."""
        content = []
        at = 0
        while not self.whole and at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                content.append(piece)
                self._left -= len(piece)
                at += len(piece)
            else:
                end = self._read_line(data, at)
                if end == at:
                    break
                at = end
        return b"".join(content), data[at:]

    def _read_line(self, data: bytes, at: int) -> int:
        """Reads the line before a chunk or after the last one. Returns its end, or `at` where it is not all there."""
        begin = at
        if self._chunks and not self._ended:  # the line break that ends a chunk is read with the line after it
            if not b"\r\n".startswith(data[at : at + 2]):
                raise Unreadable("chunked body: expected a line break after a chunk")
            begin = at + 2
        end = data.find(b"\n", begin) + 1
        if (end or len(data)) - begin > MAX_LINE:
            raise Unreadable(f"chunked body: expected lines of at most {MAX_LINE} bytes")
        if not end:
            return at
        if self._ended:
            self._read_trailer(data[begin:end])
        else:
            self._read_size(data[begin:end])
        return end

    def _read_size(self, line: bytes) -> None:
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise Unreadable("chunked body: expected the size of a chunk in hexadecimal digits")
        self._left = int(found[1], 16)
        self._room -= self._left
        self._chunks += 1
        self._ended = not self._left
        if self._room < 0:
            raise TooLarge(self._limit)
        if self._chunks > MAX_CHUNKS:
            raise TooLarge(MAX_CHUNKS, "chunks")

    def _read_trailer(self, line: bytes) -> None:
        """The fields after the last chunk are held against their form and dropped."""
        self.whole = line == b"\r\n"
        if self.whole:
            return
        self._trailers += 1
        if self._trailers > MAX_TRAILERS:
            raise HeadersTooLarge(f"chunked body: expected at most {MAX_TRAILERS} fields after the last chunk")
        if _TRAILER.fullmatch(line) is None:
            raise Unreadable("chunked body: expected header fields after the last chunk")


Body = Sized | Chunked


def body_of(version: bytes, headers: Mapping[bytes, bytes], limit: int) -> Body:
    """The body that a head announces; an announced length is not held against the limit yet."""
    length, coding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or version != b"1.1":
            raise Unreadable("transfer-encoding: expected HTTP/1.1 and no content-length beside it")
        if coding.strip().lower() != b"chunked":
            raise UnknownCoding("transfer-encoding: expected chunked, others are not supported")
        return Chunked(limit)
    if length is None:
        return Sized(0)
    if _LENGTH.fullmatch(length) is None:
        raise Unreadable("content-length: expected a number")
    return Sized(int(length))
