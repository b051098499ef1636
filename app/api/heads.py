"""Heads of requests: read by httptools up to the empty line that ends them, and remembered by their bytes."""

import re
from typing import NamedTuple
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from app.api.framing import HeadersTooLarge, TargetTooLong, Unreadable
from app.api.inference import Head
from app.api.recurring import Recurring
from app.api.routes import JSON_LENGTH

MAX_HEAD = 64 << 10
MAX_HEADERS = 256
MAX_TARGET = 8 << 10
END_OF_HEAD = b"\r\n\r\n"

ONCE = (
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"content-type",
    b"content-encoding",
    JSON_LENGTH,
)
"""Headers that, sent twice, make a request look like another one to the next server."""

_VERSION = re.compile(rb"(?:\r\n)*[^ \r\n]+ [^ \r\n]+ HTTP/(1\.[01])\r\n")
_AUTHORITY = re.compile(rb"https?://([^/?#]+)", re.IGNORECASE)


class HeadReader:
    """Reads one head, in whatever pieces it comes. Answers what uvicorn asks a parser."""

    def __init__(self) -> None:
        self.raw = b""
        self.whole = False
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        """Names in lower case, values without the blanks around them."""
        self.method = b""
        self.version = b""
        """`1.0` or `1.1`."""
        self.persistent = False
        self._parser: HttpRequestParser | None = HttpRequestParser(self)

    def take(self, data: bytes) -> bytes:
        """Reads up to the end of the head and returns what comes after it."""
        seen = len(self.raw)
        self.raw += data
        while self._parser is not None and seen < len(self.raw):
            # The parser gets no byte of the body. Empty lines before a head end like one, so it has the last word.
            end = self.raw.find(END_OF_HEAD, max(0, seen - 3)) + 4
            stop = end if end >= 4 else len(self.raw)
            self._feed(self._parser, self.raw[seen:stop])
            seen = stop
            self._check_size(seen)
        rest, self.raw = self.raw[seen:], self.raw[:seen]
        return rest

    def close(self) -> None:
        """No more comes: the parser, which holds this object in its turn, lets go of it."""
        self._parser = None

    def _feed(self, parser: HttpRequestParser, data: bytes) -> None:
        try:
            parser.feed_data(data)
        except HttpParserUpgrade:
            pass  # an offer to change the protocol, which is not taken up
        except HttpParserError as error:
            raise Unreadable(f"request: expected HTTP/1.1, got something else ({error})") from None
        if self.whole:
            self.close()
            self.version = self._read_version()

    def _read_version(self) -> bytes:
        found = _VERSION.match(self.raw)
        if found is None:  # the parser lets in RTSP, ICE, HTTP/2.0 and lines without a version
            raise Unreadable("request line: expected a method, a target and HTTP/1.1")
        return found[1]

    def _check_size(self, size: int) -> None:
        if len(self.url) > MAX_TARGET:
            raise TargetTooLong(f"request target: expected at most {MAX_TARGET} bytes, got more")
        if size > MAX_HEAD or len(self.headers) > MAX_HEADERS:
            raise HeadersTooLarge(f"headers: expected at most {MAX_HEADERS} in {MAX_HEAD} bytes, got more")

    def target(self) -> tuple[bytes, str, bytes]:
        """The target in origin form, its path percent-decoded, and its query as it came."""
        whole = _AUTHORITY.match(self.url)
        origin = self.url if whole is None else self.url[whole.end() :]
        if whole is not None and not origin.startswith(b"/"):
            origin = b"/" + origin
        if not origin.startswith(b"/") or b"#" in origin or not origin.isascii():
            raise Unreadable("request target: expected a path or an http URL")
        raw, _, query = origin.partition(b"?")
        path = raw.decode()
        return origin, unquote(path) if "%" in path else path, query

    def fields(self) -> dict[bytes, bytes]:
        """The headers by name; of one that was sent twice the last counts. An absolute target names the host: RFC 9112,
        section 3.2.2."""
        fields = dict(self.headers)
        if b"host" not in fields and self.version == b"1.1":
            raise Unreadable("host: expected one, as HTTP/1.1 demands, got none")
        if len(fields) < len(self.headers):
            names = [name for name, _ in self.headers]
            for name in ONCE:
                if names.count(name) > 1:
                    raise Unreadable(f"{name.decode()}: expected once, got several times")
        whole = _AUTHORITY.match(self.url)
        if whole is not None:
            fields[b"host"] = whole[1]
        return fields

    # What the parser says

    def on_url(self, piece: bytes) -> None:
        self.url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))  # the parser leaves those behind it

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self.whole = True
        self.method = self._parser.get_method()
        self.persistent = self._parser.should_keep_alive()

    # What uvicorn asks a parser

    def get_method(self) -> bytes:
        return self.method

    def get_http_version(self) -> str:
        return self.version.decode()

    def should_keep_alive(self) -> bool:
        return self.persistent

    def should_upgrade(self) -> bool:
        return False


class KnownHead(NamedTuple):
    """A head that needs no reading any more, and the length of its body."""

    head: Head
    length: int


class Heads(Recurring[bytes, KnownHead]):
    """Known heads by their bytes up to the empty line, shared by the connections of a server."""
