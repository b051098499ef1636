"""Bytes on the connection. `bonsai serve` alone; many more of the kind are in tests/http/test_framing.py."""

from tests.hostile.case import MOST_BODY_BYTES, Case, framing, infer
from tests.http.wire import BODY, request

_LENGTH = f"Content-Length: {len(BODY)}"


def _raw(
    *lines: str, line: str = "POST /predict HTTP/1.1", host: str = "Host: localhost\r\n", body: bytes = BODY
) -> bytes:
    return f"{line}\r\n{host}".encode("latin-1") + "\r\n".join([*lines, "\r\n"]).encode("latin-1") + body


def _chunked(body: bytes) -> bytes:
    return _raw("Transfer-Encoding: chunked", body=body)


_MANY = "".join(f"X-{n}: x\r\n" for n in range(2000))
_TINY = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY.ljust(70_000)) + b"0\r\n\r\n"

CASES: list[Case] = [
    framing("CL + TE smuggle", _raw(_LENGTH, "Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    framing("TE + CL smuggle", _raw("Transfer-Encoding: chunked", _LENGTH, body=b"0\r\n\r\n")),
    framing("two CL", _raw(_LENGTH, "Content-Length: 0"), says="request"),
    framing("two CL, the same", _raw(_LENGTH, _LENGTH)),
    framing("CL in a list", _raw(f"{_LENGTH}, {len(BODY)}")),
    framing("CL 1_0", _raw("Content-Length: 1_0")),
    framing("CL -0", _raw("Content-Length: -0")),
    framing("CL 2^63", _raw(f"Content-Length: {2**63}", body=b""), 413, "body"),
    framing("CL 2^64", _raw(f"Content-Length: {2**64}", body=b"")),
    framing("CL 10GB then stall", _raw("Content-Length: 10000000000", body=b"{"), 413, "body"),
    framing("CL one over the limit", _raw(f"Content-Length: {MOST_BODY_BYTES + 1}", body=b""), 413, "body"),
    framing(
        "CL over the limit elsewhere", _raw(f"Content-Length: {10**10}", line="GET /livez HTTP/1.1", body=b""), 413
    ),
    framing("bad chunk size", _chunked(b"x\r\n{}\r\n0\r\n\r\n"), says="chunked body"),
    framing("chunk size 2^63", _chunked(b"8000000000000000\r\n"), 413, "body"),
    framing("chunk size 2^64", _chunked(b"10000000000000000\r\n"), says="chunked body"),
    framing("chunk size 1e3", _chunked(b"1e3x\r\n"), says="chunked body"),
    framing("chunk extensions", _chunked(b'%x;a=b;c="d;e"\r\n%b\r\n0;z\r\n\r\n' % (len(BODY), BODY)), 200),
    framing("chunk extension with CR", _chunked(b"1;\r\r\n{\r\n0\r\n\r\n"), says="chunked body"),
    framing("chunk extension of 100k", _chunked(b"1;" + b"a" * 100_000 + b"\r\n{\r\n0\r\n\r\n"), says="chunked body"),
    framing("10,000 chunks with extensions", _chunked(b"1;a=b\r\n \r\n" * 10_000 + b"0\r\n\r\n"), says="body"),
    framing("70k 1-byte chunks", _chunked(_TINY), 413, "chunks"),
    framing("trailers", _chunked(b"%x\r\n%b\r\n0\r\nX-A: b\r\n\r\n" % (len(BODY), BODY)), 200),
    framing("a trailer that frames", _chunked(b"0\r\nContent-Length: 5\r\n\r\n"), says="body"),
    framing("no Host", _raw(_LENGTH, host=""), says="host"),
    framing("no Host elsewhere", _raw(line="GET /livez HTTP/1.1", host="", body=b""), says="host"),
    framing("no Host in HTTP/1.0", _raw(_LENGTH, line="POST /predict HTTP/1.0", host=""), 200),
    framing("garbage line", b"hello\r\n\r\n", says="request"),
    framing("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), says="request"),
    framing("SSH", b"SSH-2.0-OpenSSH_9.6\r\n", says="request"),
    framing("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), says="request"),
    framing("SOCKS", b"\x05\x01\x00", says="request"),
    framing("NUL bytes", bytes(1000), says="request"),
    framing("newlines then nothing known", b"\r\n" * 100 + b"x\r\n\r\n", says="request"),
    framing("2000 headers", request().replace(b"\r\n", b"\r\n" + _MANY.encode(), 1), 431, "headers"),
    framing("a header of 100k", _raw(f"X: {'x' * 100_000}", _LENGTH), 431, "headers"),
    framing("a name of 100k", _raw(f"{'x' * 100_000}: x", _LENGTH), 431, "headers"),
    framing("100k url", request(target="/" + "x" * 100_000), 414, "target"),
    framing("100k query", request(target="/predict?" + "x" * 100_000), 414, "target"),
    framing("100k method", b"P" * 100_000 + b" / HTTP/1.1\r\n\r\n", says="request"),
    framing("obs-fold", _raw("X: a", "\tb", _LENGTH), says="request"),
    framing("obs-fold of the length", _raw(_LENGTH, " 0"), says="request"),
    framing("name with a space", _raw("X Y: a", _LENGTH), says="request"),
    framing("name with a bracket", _raw("X(: a", _LENGTH), says="request"),
    framing("name not ascii", _raw("X\u00e9: a", _LENGTH), says="request"),
    framing("space before the colon", _raw(f"Content-Length : {len(BODY)}"), says="request"),
    framing("bare LF", _raw("X: a", _LENGTH).replace(b"\r\n", b"\n"), says="request"),
    framing("bare CR", _raw("X: a\rY: b", _LENGTH), says="request"),
    framing("NUL in a value", _raw("X: a\0b", _LENGTH), says="request"),
    framing("DEL in a value", _raw("X: a\x7fb", _LENGTH), says="request"),
    framing("value not ascii", _raw("X: \u00e9\u00ff", _LENGTH), 200),
    framing("methods in lower case", _raw(_LENGTH, line="post /predict HTTP/1.1"), says="request"),
    framing("mixed case", _raw(_LENGTH, line="Post /predict HTTP/1.1"), says="request"),
    framing("a method of our own", _raw(_LENGTH, line="PREDICT /predict HTTP/1.1"), says="request"),
    framing("two spaces", _raw(_LENGTH, line="POST  /predict HTTP/1.1"), says="request"),
    framing("absolute form", _raw(_LENGTH, line="POST http://localhost/predict HTTP/1.1"), 200),
    framing("absolute form of another scheme", _raw(_LENGTH, line="POST file:///predict HTTP/1.1"), says="target"),
    framing("absolute form of nowhere", _raw(_LENGTH, line="POST http:///predict HTTP/1.1")),
    framing("asterisk form", _raw(line="OPTIONS * HTTP/1.1", body=b""), says="target"),
    framing("authority form", _raw(line="CONNECT test:80 HTTP/1.1", body=b""), says="target"),
    infer("a body over the limit in chunks' place", b" " * (MOST_BODY_BYTES + 1), 413, "body"),
]
