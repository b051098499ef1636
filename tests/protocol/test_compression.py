"""Compressed bodies: what is read, what is refused, and how little a bomb costs."""

import gzip
import tracemalloc
import zlib

import pytest

from app.errors import InvalidInput, TooLarge
from app.protocol.compression import compress, decompress, wanted

TEXT = b'{"inputs": [[1, 2, 3]]}' * 20
PACKED = {
    b"gzip": gzip.compress(TEXT, mtime=0),
    b"x-gzip": gzip.compress(TEXT, mtime=0),
    b"deflate": zlib.compress(TEXT),
}


@pytest.mark.parametrize(("coding", "body"), PACKED.items(), ids=str)
def test_a_body_is_what_was_packed(coding: bytes, body: bytes) -> None:
    assert decompress(body, coding, len(TEXT)) == TEXT


def test_nothing_may_be_packed_too() -> None:
    assert decompress(gzip.compress(b""), b"gzip", 1) == b""


def test_what_is_compressed_is_read_by_others() -> None:
    assert gzip.decompress(compress(TEXT, b"gzip")) == TEXT
    assert zlib.decompress(compress(TEXT, b"deflate")) == TEXT


@pytest.mark.parametrize(
    ("coding", "body", "got"),
    [
        (b"gzip", b"", "a part of it"),
        (b"gzip", b"hello", "bytes that are not"),
        (b"gzip", PACKED[b"deflate"], "bytes that are not"),
        (b"deflate", PACKED[b"gzip"], "bytes that are not"),
        (b"gzip", PACKED[b"gzip"][:-1], "a part of it"),
        (b"deflate", PACKED[b"deflate"][:-1], "a part of it"),
        (b"gzip", PACKED[b"gzip"] + b"ab", "2 bytes behind its end"),
        (b"gzip", PACKED[b"gzip"] * 2, f"{len(PACKED[b'gzip'])} bytes behind its end"),
        (b"gzip", PACKED[b"gzip"][:-8] + bytes(8), "bytes that are not"),
    ],
    ids=str,
)
def test_what_is_no_such_body_is_refused(coding: bytes, body: bytes, got: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        decompress(body, coding, 1000)
    assert str(raised.value) == f"body: expected {coding.decode()}, as content-encoding says, got {got}"


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"], ids=str)
def test_a_bomb_is_stopped_at_the_limit(coding: bytes) -> None:
    bomb = compress(bytes(64 << 20), coding)
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="at most 65536 bytes once decompressed"):
            decompress(bomb, coding, 1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()


def test_the_limit_itself_is_let_in() -> None:
    assert len(decompress(gzip.compress(bytes(100)), b"gzip", 100)) == 100
    with pytest.raises(TooLarge):
        decompress(gzip.compress(bytes(101)), b"gzip", 100)


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"gzip", b"gzip"),
        (b" GZIP ", b"gzip"),
        (b"deflate", b"deflate"),
        (b"gzip;q=0.5", b"gzip"),
        (b"gzip;q=0", None),
        (b"gzip; q=0.000", None),
        (b"gzip, deflate", None),
        (b"gzip, deflate, br, zstd", None),
        (b"br", None),
        (b"identity", None),
        (b"*", None),
        (b"", None),
    ],
)
def test_an_answer_is_compressed_where_one_coding_is_asked_for(header: bytes, coding: bytes | None) -> None:
    assert wanted(header) == coding
