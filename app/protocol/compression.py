"""Compressed bodies: gzip (RFC 1952) and deflate, which HTTP means as zlib (RFC 1950; RFC 9110, section 8.4.1)."""

import zlib

from app.errors import InvalidInput, TooLarge
from app.protocol.messages import Content

_WINDOWS = {b"gzip": zlib.MAX_WBITS | 16, b"x-gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
CODINGS = frozenset(_WINDOWS)
SMALLEST = 1024
"""Bytes from which an answer is compressed: a shorter one fits a packet as it is."""
_LEVEL = 1  # the event loop's thread does it; higher levels take several times as long for a few percent


def decompress(body: Content, coding: bytes, limit: int) -> bytes:
    """The content of a body in one of CODINGS. It is never read further than `limit`, however small the body is.

    Raises TooLarge where it is longer, InvalidInput where the body is not in that coding, ends early or goes on behind
    its end: of gzip's members there may be one, because a body of many empty ones takes for ever to read.
    """
    reader = zlib.decompressobj(_WINDOWS[coding])
    try:
        content = reader.decompress(body, limit + 1)
    except zlib.error:
        raise _wrong(coding, "bytes that are not") from None
    if len(content) > limit:
        raise TooLarge(f"body: expected at most {limit} bytes once decompressed, got more")
    if not reader.eof:
        raise _wrong(coding, "a part of it")
    if reader.unused_data:
        raise _wrong(coding, f"{len(reader.unused_data)} bytes behind its end")
    return content


def compress(body: bytes, coding: bytes) -> bytes:
    """What `decompress` reads."""
    writer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[coding])
    return writer.compress(body) + writer.flush()


def wanted(accept_encoding: bytes) -> bytes | None:
    """The coding that a client asks for with the header Accept-Encoding, None for none.

    That is one that it names alone. HTTP libraries offer a list with every request, whoever uses them, and to compress
    costs more time than most networks would save.
    """
    coding, _, quality = accept_encoding.strip().lower().partition(b";")
    coding = coding.strip()
    is_refused = quality.replace(b" ", b"").rstrip(b"0") in (b"q=", b"q=0.", b"q=.")
    return coding if coding in CODINGS and not is_refused else None


def _wrong(coding: bytes, got: str) -> InvalidInput:
    return InvalidInput.field("body", expected=f"{coding.decode()}, as content-encoding says", got=got)
