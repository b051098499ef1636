"""What the fuzzer mutates: a letter that says which target, a few bytes of how, and the bytes that the target takes."""

from dataclasses import dataclass

_ABSENT = 0xFFFFFFFF

CONNECTION, FRAMING, OIP, NATIVE, COMPRESSED = KINDS = b"CFONZ"

SHOWN = 2000
"""Bytes of an input that are printed."""

BESIDE, SQUEEZED, PINNED, PACKED = 1, 2, 4, 8
"""How a request is sent: with another one in the same turn, its answer in gzip, to a version, in gzip itself."""


@dataclass
class Stream:
    """Bytes of a connection, or of one request; `cut` says in what pieces they come."""

    kind: int
    cut: int
    content: bytes

    IN_TURNS = 128

    @property
    def in_turns(self) -> bool:
        return bool(self.cut & self.IN_TURNS)

    def pieces(self) -> list[bytes]:
        """At most a hundred or so; all in one where `cut` says no size."""
        size = self.cut & ~self.IN_TURNS
        if not size:
            return [self.content]
        size = max(size, len(self.content) // 100)
        return [self.content[at : at + size] for at in range(0, len(self.content), size)]

    def pack(self) -> bytes:
        return bytes([self.kind, self.cut & 0xFF]) + self.content


@dataclass
class Asked:
    """The body of an inference request. `model` is an index into the names of the models."""

    kind: int
    model: int
    how: int
    json_length: int | None
    body: bytes

    def pack(self) -> bytes:
        length = _ABSENT if self.json_length is None else max(0, min(self.json_length, _ABSENT - 1))
        return bytes([self.kind, self.model & 0xFF, self.how & 0xFF]) + length.to_bytes(4, "big") + self.body


def unpack(data: bytes) -> Stream | Asked:
    """Any bytes are something."""
    kind = data[0] if data and data[0] in KINDS else KINDS[data[0] % len(KINDS)] if data else CONNECTION
    if kind in (CONNECTION, FRAMING):
        return Stream(kind, data[1] if len(data) > 1 else 0, data[2:])
    head = data[1:7].ljust(6, b"\0")
    length = int.from_bytes(head[2:], "big")
    return Asked(kind, head[0], head[1], None if length == _ABSENT else length, data[7:])


def shown(data: bytes) -> str:
    """An input as it is printed."""
    return f"{data[:SHOWN]!r}{' ...' if len(data) > SHOWN else ''}"
