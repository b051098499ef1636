"""Bodies in chunks, read once more as RFC 9112, section 7.1, has them."""

import re

_SIZE = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\r\n]*)?\r\n")
_TRAILER = re.compile(rb"[^\r\n:]+:[^\r\n]*\r\n")


def content(raw: bytes) -> tuple[bytes, bytes] | None:
    """The content and what comes after it; None where the body does not end."""
    pieces: list[bytes] = []
    at = 0
    while True:
        line = _SIZE.match(raw, at)
        if line is None:
            return None
        at, size = line.end(), int(line[1], 16)
        if size == 0:
            break
        pieces.append(raw[at : at + size])
        at += size
        if raw[at : at + 2] != b"\r\n":
            return None
        at += 2
    while (trailer := _TRAILER.match(raw, at)) is not None:
        at = trailer.end()
    return (b"".join(pieces), raw[at + 2 :]) if raw[at : at + 2] == b"\r\n" else None
