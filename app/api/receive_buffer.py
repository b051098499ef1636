"""Where the rest of a large body is received: straight from the socket into the memory in which it is read."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

LARGE = 64 << 10
"""Bytes that are still to come from which on this pays. What comes in pieces is copied once into each of them, once
into what they are put together in, and once into what is handed on."""


class ReceiveBuffer(asyncio.BufferedProtocol):
    """Stands in for a connection's protocol until so many bytes are there. They need not come: memory that nothing has
    been written to is not taken from the system."""

    def __init__(self, connection: asyncio.Protocol, size: int, done: Callable[[memoryview], None]) -> None:
        """`done` gets all bytes, read-only, once the connection's own protocol has its place back."""
        self._connection = connection
        self._done = done
        self._left = self._memory = np.empty(size, np.uint8).data

    def begin(self, transport: Any, first: bytes | memoryview) -> None:
        """Takes over a transport that is being read; `first` has been read from it already. Not all comes with it."""
        self._left[: len(first)] = first
        self._left = self._left[len(first) :]
        self._transport = transport
        _hand_over(transport, self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._left

    def buffer_updated(self, nbytes: int) -> None:
        self._left = self._left[nbytes:]
        if not self._left:
            _hand_over(self._transport, self._connection)
            self._done(self._memory.toreadonly())

    def eof_received(self) -> bool | None:
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


def _hand_over(transport: Any, protocol: asyncio.BaseProtocol) -> None:
    transport.set_protocol(protocol)
    transport.pause_reading()  # uvloop asks how a protocol wants its bytes when reading begins
    transport.resume_reading()
