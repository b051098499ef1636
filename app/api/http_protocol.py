"""The carrier of `bonsai serve`: uvicorn's HTTP protocol with a short way to the inference door, past the ASGI layer.

The requests of a connection are read one after the other: the next head is read once the request before it has come
whole and has been answered. So answers leave in order, and what waits is bytes, not requests. heads.py reads heads,
framing.py cuts bodies, and a head that was read before is found by its bytes.
"""

import time
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from app.api.common_headers import CommonHeaders
from app.api.connections import Common, Connection
from app.api.cycles import Cycles
from app.api.direct import CLOSE, CONTINUE, STAY, Direct, written
from app.api.framing import Body, Sized, TooManyConnections, TooSlow, Unreadable, body_of
from app.api.heads import END_OF_HEAD, HeadReader, KnownHead
from app.api.receive_buffer import LARGE, ReceiveBuffer
from app.api.standstill import Standstill
from app.api.status import Answer

HALF_CLOSED_SECONDS = 0.02  # an answer may take that long for a client that has closed its side
UNTOLD = 0.0  # a clock that is read for every answer would be a hundredth of its time: `expire` reads it
LINGER_SECONDS = 2.0  # a client may go on sending that long after its answer


class HttpProtocol(Cycles, Connection):
    """One connection."""

    def __init__(self, *, common: Common, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self.inference, self._heads, self._inbox, self._busy_poll, self._read_seconds, self._max_connections = common
        self.peer, self._common_headers = "", CommonHeaders(self.server_state)
        self._unread, self._arrived, self._deadline = b"", 0.0, 0.0  # what is not read yet, and when it came
        self.direct: Direct | None = None
        self._reader: HeadReader | None = None
        self._body: Body | None = None
        self._idle = self._stepping = self._half_closed = self._draining = self._lingering = False
        self._standstill = Standstill(self._read_seconds)

    # What the transport says

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        self._idle = len(self.connections) <= self._max_connections
        self._deadline = time.monotonic() + self._read_seconds
        if not self._idle:
            self._reject(TooManyConnections(self._max_connections))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._idle:
            self._idle = False
            end = data.find(END_OF_HEAD)
            known = self._heads.get(data[:end]) if end >= 0 else None
            if known is not None:
                start = end + len(END_OF_HEAD)
                missing = known.length + start - len(data)
                if not missing:
                    direct = self.direct = Direct(known.head, now, now)
                    enter = self._inbox.handle_alone if len(self.connections) == 1 else self._inbox.put
                    enter(self, direct, data[start:])
                    return
                if missing >= LARGE:
                    self.direct, self._body = Direct(known.head, now), Sized(known.length)
                    self._deadline = now + self._read_seconds
                    self._receive(self._body, memoryview(data)[start:])
                    return
        if not self._lingering:
            self._arrived = now
            self._unread += data
            self._read()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn always ends the connection
        """A client that has sent all may close its side, but not over TLS. Most that do have left: it gets a moment."""
        self._half_closed = self._body is None and self._is_busy() and self.transport.can_write_eof()
        if self._half_closed:
            self.loop.call_later(HALF_CLOSED_SECONDS, self.transport.close)
        return self._half_closed

    def connection_lost(self, exc: Exception | None) -> None:
        self._unread = b""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self.leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._idle = False

    def resume_writing(self) -> None:
        super().resume_writing()
        self._standstill.end()
        self._read()

    # What the server says

    def shutdown(self) -> None:
        """Answers what has been received, then closes."""
        self._draining = True
        if self._is_busy():
            self._announce_end()
        else:
            self.transport.close()

    def expire(self, now: float) -> None:
        """Ends the connection where it has waited too long for the client. To be called about once a second."""
        if self.flow.write_paused or self.transport.is_closing():
            if self._standstill.lasts(self.transport.get_write_buffer_size(), now):
                self.transport.abort()
        elif now < self._deadline or self.flow.read_paused or (self._body is None and self._is_busy()):
            return
        elif self._lingering:
            self.transport.abort()
        elif self._deadline == UNTOLD:
            self._deadline = time.monotonic() + self.timeout_keep_alive
        elif self._idle:
            self.transport.close()
        else:
            self._reject(TooSlow(f"request: expected the whole of it within {self._read_seconds:g} seconds"))

    # Reading

    def _is_busy(self) -> bool:
        """A request is under way, or waits for room to write its answer."""
        return self.direct is not None or self.open_cycle is not None or bool(self._unread and self.flow.write_paused)

    def _read(self) -> None:
        """Goes as far as it can with what has arrived."""
        if self._stepping:  # an answer came at once: the loop below goes on
            return
        self._stepping = True
        try:
            while self._step():
                pass
        except Unreadable as fault:
            self._reject(fault)
        finally:
            self._stepping = False
        if (self._half_closed or self._draining) and not self._is_busy():
            self.transport.close()

    def _step(self) -> bool:
        """Reads a piece of a body or of a head. False where that takes more bytes, an answer, or room to write one."""
        if self._lingering or self.transport.is_closing():
            return False
        if self._body is not None:
            return self._read_body(self._body)
        if self._is_busy() or self.flow.write_paused:
            if len(self._unread) >= HIGH_WATER_LIMIT:  # not sooner: who does not read does not see a client leave
                self.flow.pause_reading()
            return False
        self.flow.resume_reading()
        if self._unread:
            return self._read_head()
        if self._reader is None:
            self._idle, self._deadline = True, UNTOLD
        return False

    def _read_head(self) -> bool:
        if self._reader is None:
            self._reader = HeadReader()
            self._deadline = time.monotonic() + self._read_seconds
        self._unread = self._reader.take(self._unread)
        if not self._reader.whole:
            return False
        reader, self._reader = self._reader, None
        self._begin(reader)
        return True

    def _begin(self, reader: HeadReader) -> None:
        """A head has been read whole."""
        url, path, query = reader.target()
        headers = reader.fields()
        body = body_of(reader.version, headers, self.inference.max_body_bytes)
        head = self.inference.read_head(reader.method.decode(), path, headers, query)
        if head is None:
            self.begin_cycle(reader, url, headers.get(b"host", b""), body, self.inference.max_body_bytes)
            self._body = body
            return
        self.direct, self._body = Direct.begin(head, reader, self._arrived), body
        self._begin_direct(self.direct, reader.raw, body)

    def _begin_direct(self, direct: Direct, raw: bytes, body: Body) -> None:
        refusal = self.inference.refuse(direct.head)
        if refusal is not None:
            direct.refuse(body)
            self.answer(refusal)
            return
        if direct.expects_continue:
            if not body.whole and not self._unread:
                self.transport.write(CONTINUE)
        elif direct.connection == STAY and isinstance(body, Sized) and body.left:
            self._heads.keep(raw[: -len(END_OF_HEAD)], len(raw), KnownHead(direct.head, body.left))
        if isinstance(body, Sized) and body.left - len(self._unread) >= LARGE and not self._half_closed:
            self._receive(body, self._unread)
            self._unread = b""

    def _read_body(self, body: Body) -> bool:
        content, self._unread = body.take(self._unread)
        direct, cycle = self.direct, self.open_cycle
        if direct is not None:
            direct.body += content
        elif cycle is not None:
            self.on_body(content)
        else:
            self.flow.resume_reading()  # uvicorn pauses where nobody takes the body, and that has been answered
        if not body.whole:
            return False
        self._body = None
        if direct is not None:
            direct.read = time.monotonic()
            whole, direct.body = bytes(direct.body), b""
            self.infer(direct, whole)
        elif cycle is not None:
            self.on_message_complete()
            self._announce_end()
        return True

    def _receive(self, body: Sized, first: bytes | memoryview) -> None:
        """Has the rest of a body read into the memory where it stays."""
        ReceiveBuffer(self, body.left, self._received).begin(self.transport, first)
        body.left -= len(first)

    def _received(self, content: memoryview) -> None:
        direct, self._body = self.direct, None
        if direct is not None:  # else it took too long, and has been answered
            direct.read = time.monotonic()
            self.infer(direct, content)

    # Answering

    def fail(self, direct: Direct, fault: Exception) -> None:
        """Answers a request on which this server's own code failed."""
        direct.connection = CLOSE
        if direct is self.direct:
            self.answer(self.inference.failed(direct.head, fault))
        else:
            self.logger.error("fault while a request was answered", exc_info=fault)
            self.transport.abort()

    def answer(self, answer: Answer) -> None:
        """Answers the inference request that is under way."""
        direct, self.direct = self.direct, None
        assert direct is not None
        if self._draining and not self._unread:
            direct.connection = CLOSE
        self._write(answer, direct.connection, direct.head.method)
        if direct.connection == CLOSE:
            has_more = self._body is not None and not self._body.whole
            self._hang_up(still_sending=has_more or self._unread != b"")
        elif self._unread or self._body is not None or self._half_closed or self.flow.write_paused:
            self._read()
        else:
            self._idle, self._deadline = True, UNTOLD
            if len(self.connections) == 1:
                self._busy_poll.answered(direct.received)

    def on_response_complete(self) -> None:
        if not self.transport.is_closing():
            self._read()

    def _announce_end(self) -> None:
        """Lets the last answer of uvicorn's say that the connection ends; `answer` does it for inference."""
        if self._draining and not self._unread and self.open_cycle is not None:
            self.open_cycle.keep_alive = False

    def _write(self, answer: Answer, connection: bytes, method: str = "") -> None:
        if not self.transport.is_closing():  # a client that has reset the connection is told of a little later
            self.transport.write(written(answer, self._common_headers.lines(), connection, method))

    def _reject(self, fault: Unreadable) -> None:
        """Says what is wrong with a request that cannot be read to its end, and hangs up."""
        direct, self.direct = self.direct, None
        is_answered = self._body is not None and direct is None
        cycle = self.open_cycle
        if cycle is not None:
            is_answered = cycle.response_started
            self.drop_cycle(cycle)
        if not is_answered:
            self._write(self.inference.unreadable(fault, None if direct is None else direct.head), CLOSE)
        self._hang_up(still_sending=True)

    def _hang_up(self, *, still_sending: bool) -> None:
        """Closes. On a client that is still sending that would reset the connection, and with it the answer."""
        if not still_sending or self._half_closed or self._draining:
            self.transport.close()
            return
        if self._reader is not None:
            self._reader.close()
        self._lingering, self._reader, self._body, self._unread = True, None, None, b""
        self._deadline = time.monotonic() + LINGER_SECONDS
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
