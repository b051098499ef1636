"""A transport without a socket."""

import asyncio
from typing import Any


class FakeTransport:
    """Notes what is written to it, whether it is being read, and how it ended."""

    def __init__(self) -> None:
        self.written = b""
        self.unsent = 0
        self.reading = True
        self.protocol: Any = None
        self.end = ""

    def get_extra_info(self, name: str) -> Any:
        return {"peername": ("10.0.0.7", 99), "sockname": ("10.0.0.1", 80)}.get(name)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def receive(self, data: bytes) -> None:
        """Hands bytes to the protocol that it has, as that one wants them."""
        while data and isinstance(self.protocol, asyncio.BufferedProtocol):
            room = self.protocol.get_buffer(len(data))
            count = min(len(room), len(data))
            memoryview(room)[:count] = data[:count]
            data = data[count:]
            self.protocol.buffer_updated(count)
        if data:
            self.protocol.data_received(data)

    def write(self, data: bytes) -> None:
        assert not self.end, f"written after {self.end}: {data!r}"
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.end in ("close", "abort")

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.end = "eof"

    def close(self) -> None:
        self.end = self.end if self.end == "abort" else "close"

    def abort(self) -> None:
        self.end = "abort"
