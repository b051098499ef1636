"""Answers as they are on the wire: each has to be well-formed HTTP with a status and a body that may be."""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.fuzz.world import Fault

FAILURES = {400, 401, 403, 404, 405, 408, 413, 414, 415, 429, 431, 501, 503, 504}
"""What a request may be told, whatever it is; everything else is the server's fault."""
LONGEST_MESSAGE = 1000
SECRETS = re.compile(r'Traceback|/[\w.-]+/[\w.-]+\.(?:py|onnx|json|toml)\b|\bat 0x[0-9a-f]+|File "')
_HEAD = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\x20-\x7e]*\r\n((?:[!-9;-~]+: ?[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n")


@dataclass(frozen=True)
class Received:
    """One answer; header names in lower case."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def read_all(stream: bytes, sent: bytes) -> list[Received]:
    """The answers that a connection has written to what was sent, without those that announce one. Raises Fault."""
    heads_only = b"HEAD" in sent.upper()  # then some of them may lack their body
    found: list[Received] = []
    while stream:
        match = _HEAD.match(stream)
        if match is None:
            raise Fault(f"no HTTP answer: {stream[:200]!r}")
        status, stream = int(match[1]), stream[match.end() :]
        if status < 200:
            continue
        headers = _headers(match[2])
        length = int(headers.get(b"content-length", b"0"))
        lacks_body = heads_only and (not stream or stream.startswith(b"HTTP/1.1 "))
        body, stream = (b"", stream) if lacks_body else (stream[:length], stream[length:])
        if len(body) != length and not lacks_body:
            raise Fault(f"a body of {len(body)} bytes where {length} were announced")
        found.append(Received(status, headers, body))
        if body or not lacks_body:
            check(found[-1], sent)
    return found


def check(answer: Received, sent: bytes) -> None:
    """Raises Fault for a status that no request may get, for a failure in another form than {"error": text}, and for
    one that tells of this machine. What the client has `sent` is no secret where it is told back."""
    if 200 <= answer.status < 400:
        return
    if answer.status not in FAILURES:
        raise Fault(f"status {answer.status}: {answer.body[:500]!r}")
    document = _json(answer.body)
    if not isinstance(document, dict) or list(document) != ["error"] or not isinstance(document["error"], str):
        raise Fault(f'an error that is not {{"error": text}}: {answer.body[:500]!r}')
    message = document["error"]
    if len(message) > LONGEST_MESSAGE or not message.isprintable():
        raise Fault(f"an error that is no line of at most {LONGEST_MESSAGE} characters: {message[:2000]!r}")
    known = sent + unquote_to_bytes(sent)
    if any(secret[0].encode() not in known for secret in SECRETS.finditer(message)):
        raise Fault(f"an error that tells of this machine: {message!r}")
    if answer.headers.get(b"content-type") != b"application/json":
        raise Fault(f"an error of type {answer.headers.get(b'content-type')!r}")


def _headers(lines: bytes) -> dict[bytes, bytes]:
    pairs = [line.split(b":", 1) for line in lines.split(b"\r\n")[:-1]]
    headers = {name.lower(): value.strip() for name, value in pairs}
    if len(headers) != len(pairs):
        raise Fault(f"a header comes twice: {lines!r}")
    if b"transfer-encoding" in headers or b"content-length" not in headers:
        raise Fault(f"an answer without a length: {lines!r}")
    return headers


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
