"""Bodies cut out of a stream: every cut, every limit."""

import pytest

from app.api import framing
from app.api.framing import Chunked, Sized, TooLarge, Unreadable, body_of
from app.api.status import STATUS

LIMIT = 100
CHUNKED = b"3\r\nabc\r\n00A;x=y\r\n0123456789\r\n0;z\r\nA: b\r\nC:\r\n\r\n"
CONTENT = b"abc0123456789"


def taken(body: framing.Body, *pieces: bytes) -> tuple[bytes, bytes]:
    """The content, and what was left at the end, when the pieces come one by one."""
    content = unread = b""
    for piece in pieces:
        more, unread = body.take(unread + piece)
        content += more
    return content, unread


def test_a_sized_body_takes_its_size() -> None:
    body = Sized(5)
    assert taken(body, b"abc") == (b"abc", b"")
    assert not body.whole
    assert body.take(b"defg") == (b"de", b"fg")
    assert body.whole
    assert Sized(0).whole
    assert Sized(0).take(b"x") == (b"", b"x")


@pytest.mark.parametrize("after", [b"", b"POST", b"\r\n", b"0\r\n\r\n"])
def test_chunks_may_be_cut_anywhere(after: bytes) -> None:
    raw = CHUNKED + after
    for first in range(len(raw)):
        for second in range(first, len(raw)):
            body = Chunked(LIMIT)
            content, unread = taken(body, raw[:first], raw[first:second], raw[second:])
            assert (content, unread, body.whole) == (CONTENT, after, True)


def test_chunks_may_come_byte_by_byte_and_are_not_whole_before_the_last() -> None:
    body, unread = Chunked(LIMIT), b""
    for number in range(len(CHUNKED)):
        assert not body.whole
        _, unread = body.take(unread + CHUNKED[number : number + 1])
    assert body.whole
    assert unread == b""


def test_content_is_handed_on_as_it_comes() -> None:
    body = Chunked(LIMIT)
    assert body.take(b"5\r\nab") == (b"ab", b"")
    assert body.take(b"c") == (b"c", b"")
    assert body.take(b"de\r") == (b"de", b"\r")


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize(
    "raw",
    [b"g\r\n", b"\r\n", b"-1\r\n", b"+1\r\n", b" 1\r\n", b"1\n", b"1\r\nab", b"1\r\na\n", b"1\r\na\r\nx\r\n",
     b"1;\0\r\n", b"0\r\nab\r\n", b"0\r\n a: b\r\n", b"0\r\na b: c\r\n", b"0\r\n\n", b"1" * 17 + b"\r\n"],
)  # fmt: skip
def test_what_is_no_chunk_is_400(raw: bytes, cut: bool) -> None:
    with pytest.raises(Unreadable) as raised:
        taken(Chunked(LIMIT), *([raw[n : n + 1] for n in range(len(raw))] if cut else [raw]))
    assert raised.value.code == "bad_request"


def test_the_limit_counts_content_and_is_told_before_it_comes() -> None:
    assert taken(Chunked(10), b"5\r\nabcde\r\n5\r\nabcde\r\n0\r\n\r\n") == (b"abcdeabcde", b"")
    for raw in (b"b\r\n", b"5\r\nabcde\r\n6\r\n", b"f" * 16 + b"\r\n"):
        with pytest.raises(TooLarge, match="at most 10 bytes"):
            taken(Chunked(10), raw)


def test_chunks_lines_and_trailers_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MAX_CHUNKS", 3)
    with pytest.raises(TooLarge, match="at most 3 chunks"):
        taken(Chunked(LIMIT), b"1\r\na\r\n" * 4)
    monkeypatch.setattr(framing, "MAX_TRAILERS", 2)
    assert taken(Chunked(LIMIT), b"0\r\n" + b"a: b\r\n" * 2 + b"\r\n") == (b"", b"")
    with pytest.raises(Unreadable) as raised:
        taken(Chunked(LIMIT), b"0\r\n" + b"a: b\r\n" * 3)
    assert raised.value.code == "headers_too_large"
    monkeypatch.setattr(framing, "MAX_LINE", 10)
    for raw in (b"1;" + b"a" * 9, b"1;" + b"a" * 9 + b"\r\n", b"0\r\na:" + b"a" * 9):
        with pytest.raises(Unreadable):
            taken(Chunked(LIMIT), raw)


@pytest.mark.parametrize(
    ("version", "headers", "expected"),
    [
        (b"1.1", {}, 0),
        (b"1.1", {b"content-length": b"7 "}, 7),
        (b"1.0", {b"content-length": b"007"}, 7),
        (b"1.1", {b"transfer-encoding": b"Chunked "}, Chunked),
        (b"1.1", {b"content-length": b"-7"}, 400),
        (b"1.1", {b"content-length": b""}, 400),
        (b"1.1", {b"content-length": b"7,7"}, 400),
        (b"1.1", {b"content-length": "²".encode()}, 400),
        (b"1.1", {b"content-length": b"7", b"transfer-encoding": b"chunked"}, 400),
        (b"1.0", {b"transfer-encoding": b"chunked"}, 400),
        (b"1.1", {b"transfer-encoding": b"gzip, chunked"}, 501),
        (b"1.1", {b"transfer-encoding": b""}, 501),
    ],
)
def test_the_head_says_how_the_body_is_framed(version: bytes, headers: dict[bytes, bytes], expected: object) -> None:
    if expected in (400, 501):
        with pytest.raises(Unreadable) as raised:
            body_of(version, headers, LIMIT)
        assert STATUS[raised.value.code] == expected
    else:
        body = body_of(version, headers, LIMIT)
        assert isinstance(body, Chunked) if expected is Chunked else isinstance(body, Sized) and body.left == expected
