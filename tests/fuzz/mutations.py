"""Inputs made of inputs: what a mutation of bytes alone would hardly ever hit."""

import copy
import json
import re
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

from tests.fuzz import inputs, tokens
from tests.fuzz.inputs import Asked, Stream
from tests.fuzz.maker import Maker

Blindly = Callable[[bytes, int], bytes]
"""The fuzzer's own mutation, which knows what the code compares with what."""
_SIZE = re.compile(rb'"binary_data_size": ?([0-9]{1,9})')
FRESH, BLIND = 0.15, 0.25
"""How often a valid request is made anew, and how often bytes are mutated blindly."""


class Mutator:
    def __init__(self, maker: Maker, blindly: Blindly) -> None:
        self._maker = maker
        self._blindly = blindly

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Another input; the same one for the same seed, unless it is a blind one."""
        random = Random(seed)
        roll = random.random()
        if roll < FRESH:
            return self._fresh(random).pack()[:max_size]
        if roll < FRESH + BLIND:
            return (data[:1] + self._blindly(data[1:], max_size - 1))[:max_size]
        given = inputs.unpack(data)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            if isinstance(given, Stream):
                self._stream(given, random)
            else:
                self._asked(given, random)
        return given.pack()[:max_size]

    def _fresh(self, random: Random) -> Stream | Asked:
        return Maker(self._maker.signatures, random).any()

    def _stream(self, given: Stream, random: Random) -> None:
        change = random.randrange(6)
        if change == 0:
            given.cut = random.randrange(256)
        elif change == 1:
            given.content = _line(given.content, random)
        elif change == 2:
            given.content = _body(given.content, random)
        elif change == 3:
            other = Maker(self._maker.signatures, random).stream().content
            given.content = given.content + other if random.random() < 0.5 else other + given.content
        else:
            given.content = _token(given.content, random, tokens.HTTP)

    def _asked(self, given: Asked, random: Random) -> None:
        if given.kind == inputs.COMPRESSED:
            _compressed(given, random)
            return
        change = random.randrange(8)
        if change == 0:
            given.how = random.randrange(16)
        elif change == 1 and given.json_length is not None:
            given.json_length += random.choice((-1, 1, 4, -4, 100))
        elif change == 2:
            given.body = _tail(given.body, random)
            if random.random() < 0.5:
                _fit(given)
        elif change == 3:
            given.body = _token(given.body, random, tokens.JSON)
        else:
            _document(given, random)


def _document(given: Asked, random: Random) -> None:
    """Another value, or one more or less, somewhere in the JSON; raw tensors stay behind it."""
    length = len(given.body) if given.json_length is None else given.json_length
    try:
        document = json.loads(given.body[:length])
    except (ValueError, RecursionError):
        given.body = _token(given.body, random, tokens.JSON)
        return
    text = json.dumps(_edited(document, random), ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    given.body = text + given.body[length:]
    if given.json_length is not None:
        given.json_length = len(text)


def _fit(given: Asked) -> None:
    """Announces the last of the raw tensors with as many bytes as there are."""
    length = given.json_length or 0
    found = list(_SIZE.finditer(given.body, 0, length))
    if not found:
        return
    others = sum(int(size[1]) for size in found[:-1])
    text, last = given.body[:length], found[-1]
    text = text[: last.start(1)] + b"%d" % max(0, len(given.body) - length - others) + text[last.end(1) :]
    given.json_length, given.body = len(text), text + given.body[length:]


def _edited(document: Any, random: Random) -> Any:
    places = list(_places(document))
    if not places:
        return random.choice(tokens.VALUES)
    parent, key = random.choice(places)
    change = random.randrange(6)
    if change == 0:
        del parent[key]
    elif change == 1:
        other, name = random.choice(places)
        parent[key] = copy.deepcopy(other[name])
    elif change == 2 and isinstance(parent[key], int) and not isinstance(parent[key], bool):
        parent[key] += random.choice((-1, 1, 2, 8))
    elif change == 3 and isinstance(parent[key], dict):
        parent[key][random.choice(tokens.MEMBERS)] = random.choice(tokens.VALUES)
    elif change == 4 and isinstance(parent[key], list) and parent[key]:
        parent[key] = parent[key] * random.choice((2, 3, 50))
    else:
        parent[key] = random.choice(tokens.VALUES)
    return document


def _places(value: Any, depth: int = 0) -> Any:
    """Every container with a key or an index of what is in it."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(members)[:40]:
        yield value, key
        if depth < 8:
            yield from _places(inner, depth + 1)


def _token(data: bytes, random: Random, words: tuple[bytes, ...]) -> bytes:
    """A word put in somewhere, or in the place of something."""
    at = random.randrange(len(data) + 1)
    return data[:at] + random.choice(words) + data[at + random.choice((0, 0, 1, 2, 8)) :]


def _tail(data: bytes, random: Random) -> bytes:
    """More or fewer bytes at the end, or others."""
    size = random.choice((1, 2, 3, 4, 8, 16))
    change = random.randrange(3)
    if change == 0:
        return data[:-size]
    more = random.choice((bytes(size), b"\xff" * size, random.randbytes(size)))
    return data + more if change == 1 else data[:-size] + more


def _line(stream: bytes, random: Random) -> bytes:
    """A line of the first head left out, sent twice, or put in."""
    head, end, rest = stream.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    at = random.randrange(len(lines))
    change = random.randrange(4)
    if change == 0:
        del lines[at]
    elif change == 1:
        lines.insert(at, lines[at])
    elif change == 2:
        lines.insert(at + 1, random.choice(tokens.HEADERS))
    else:
        lines[0] = random.choice(tokens.REQUEST_LINES)
    return b"\r\n".join(lines) + end + rest


def _body(stream: bytes, random: Random) -> bytes:
    """Another body behind the last head, in most cases with its true length."""
    head, end, body = stream.rpartition(b"\r\n\r\n")
    body = _token(body, random, tokens.JSON) if random.random() < 0.7 else _tail(body, random)
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    if random.random() < 0.9 and len(lines) < len(head.split(b"\r\n")):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + end + body


def _compressed(given: Asked, random: Random) -> None:
    change = random.randrange(5)
    if change == 0:
        given.how = random.randrange(256)
    elif change == 1:
        given.body = _tail(given.body, random)
    elif change == 2:
        given.body += given.body
    elif change == 3:
        given.body = _token(given.body, random, tokens.JSON)
    else:
        content = random.choice((b" ", b"\0", b"[")) * random.choice((100, 60_000, 70_000, 5_000_000))
        given.body = zlib.compress(content, 9)
        given.how = 1
