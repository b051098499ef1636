"""Compressed bodies: bombs, lies, and codings inside codings."""

import gzip
import json
import zlib
from collections.abc import Callable

from tests.hostile.case import GOOD, INFER, PREDICT, Case, infer
from tests.hostile.cases import binary

_BODIES = {INFER: json.dumps({"inputs": [GOOD]}).encode(), PREDICT: b'{"inputs": [[1, 2, 3, 4]]}'}
_BOMB_BYTES = 200 << 20


def _zeros(wbits: int) -> bytes:
    """200 MB of spaces, made a megabyte at a time."""
    writer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    piece = b" " * (1 << 20)
    return b"".join([*(writer.compress(piece) for _ in range(_BOMB_BYTES >> 20)), writer.flush()])


def _raw_deflate(data: bytes) -> bytes:
    writer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return writer.compress(data) + writer.flush()


_BOMBS = {"gzip": _zeros(zlib.MAX_WBITS | 16), "deflate": _zeros(zlib.MAX_WBITS)}
_WRONG: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip garbage": ("gzip", lambda body: b"\x1f\x8b" + body),
    "gzip that is none": ("gzip", lambda body: body),
    "gzip of nothing at all": ("gzip", lambda body: b""),
    "gzip magic only": ("gzip", lambda body: b"\x1f\x8b"),
    "gzip without its end": ("gzip", lambda body: gzip.compress(body)[:-8]),
    "gzip cut in the middle": ("gzip", lambda body: gzip.compress(body)[: len(body) // 2]),
    "gzip and a byte": ("gzip", lambda body: gzip.compress(body) + b"\0"),
    "gzip of two members": ("gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
    "gzip and 10,000 empty members": ("gzip", lambda body: gzip.compress(body) + gzip.compress(b"") * 10_000),
    "gzip with a wrong checksum": ("gzip", lambda body: gzip.compress(body)[:-8] + bytes(4) + gzip.compress(body)[-4:]),
    "gzip with a wrong length": ("gzip", lambda body: gzip.compress(body)[:-4] + bytes(4)),
    "gzip in gzip": ("gzip", lambda body: gzip.compress(gzip.compress(body))),
    "gzip that is zlib": ("gzip", zlib.compress),
    "deflate that is gzip": ("deflate", gzip.compress),
    "deflate without a header": ("deflate", _raw_deflate),
    "deflate cut": ("deflate", lambda body: zlib.compress(body)[:-4]),
    "deflate and a byte": ("deflate", lambda body: zlib.compress(body) + b"\0"),
    "deflate with a dictionary": ("deflate", lambda body: b"\x78\xbb\0\0\0\1" + zlib.compress(body)[2:]),
    "gzip of no JSON": ("gzip", lambda body: gzip.compress(b"hello")),
    "gzip of nothing": ("gzip", lambda body: gzip.compress(b"")),
}
_CODINGS = {
    "br": "br",
    "zstd": "zstd",
    "compress": "compress",
    "gzip twice": "gzip, gzip",
    "deflate, gzip": "deflate, gzip",
    "identity twice": "identity, identity",
    "no coding": "",
    "a long one": "x" * 1000,
    "aws-chunked": "aws-chunked",
}
_TENSOR = gzip.compress(binary.text(16) + binary.ROW)

CASES: list[Case] = [
    *(
        infer(f"{target}: {coding} bomb 200MB", bomb, 413, "decompressed", target=target, Content_Encoding=coding)
        for target in _BODIES
        for coding, bomb in _BOMBS.items()
    ),
    *(
        infer(f"{target}: {name}", make(body), target=target, Content_Encoding=coding)
        for target, body in _BODIES.items()
        for name, (coding, make) in _WRONG.items()
    ),
    *(
        infer(f"{target}: encoding {name}", body, 415, "content-encoding", target=target, Content_Encoding=coding)
        for target, body in _BODIES.items()
        for name, coding in _CODINGS.items()
    ),
    infer("gzip", gzip.compress(_BODIES[INFER]), 200, Content_Encoding="GZIP"),
    infer(
        "binary, gzip, a length of what is packed",
        _TENSOR,
        Content_Encoding="gzip",
        Inference_Header_Content_Length=str(len(_TENSOR)),
    ),
    infer(
        "raw, gzip, a bomb",
        _BOMBS["gzip"],
        413,
        "decompressed",
        Content_Encoding="gzip",
        Inference_Header_Content_Length="0",
    ),
    infer(
        "raw, gzip, a byte too many",
        gzip.compress(bytes(17)),
        says="body",
        Content_Encoding="gzip",
        Inference_Header_Content_Length="0",
    ),
]
