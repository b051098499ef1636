"""One connection of `bonsai serve` on a transport that only notes what is written. Sockets are in tests/http."""

import ast
import asyncio
import inspect
import re
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api import heads, http_protocol
from app.api.connections import Common, Inbox
from app.api.cycles import Cycles
from app.api.framing import Unreadable
from app.api.heads import Heads, KnownHead
from app.api.http_protocol import HttpProtocol
from app.api.receive_buffer import LARGE as LARGE_ENOUGH
from app.api.status import Answer, Headers, answer_to, error_answer
from app.protocol.messages import Content
from tests.api.inbox import one_by_one
from tests.api.transport import FakeTransport
from tests.collector import no_collector
from tests.http.wire import BODY, request

LIMIT = 1000


@dataclass
class FakeHead:
    method: str
    path: str
    headers: Mapping[bytes, bytes]


class FakeCall:
    def __init__(
        self, head: FakeHead, body: Content, received: float, read: float, peer: str, respond: Callable[[Answer], None]
    ) -> None:
        self.head, self.body, self.received, self.peer, self.respond = head, body, received, peer, respond
        self.read = read
        self.cancelled = False

    def answer(self) -> None:
        self.respond(Answer(200, Headers.of((b"x-test", b"1")), bytes(self.body)))

    def cancel(self) -> None:
        self.cancelled = True


class FakeInference:
    """Keeps what is handed over; answers it at once where the body is `now`, and raises where it ends with `broken`."""

    max_body_bytes = LIMIT

    def __init__(self) -> None:
        self.calls: list[FakeCall] = []
        self.read: list[str] = []
        self.refused: list[FakeHead] = []
        self.unread: list[tuple[str, FakeHead | None]] = []

    def read_head(self, method: str, path: str, headers: Mapping[bytes, bytes], query: bytes) -> FakeHead | None:
        self.read.append(path)
        return FakeHead(method, path, headers) if path == "/predict" else None

    def refuse(self, head: FakeHead) -> Answer | None:
        self.refused.append(head)
        return None if head.method == "POST" else error_answer(405, "no")

    def unreadable(self, fault: Unreadable, head: FakeHead | None) -> Answer:
        self.unread.append((fault.code, head))
        return answer_to(fault)

    def failed(self, head: FakeHead, fault: Exception) -> Answer:
        return error_answer(500, str(fault))

    def handle(self, *given: Any) -> FakeCall:
        self.calls.append(FakeCall(*given))
        body = bytes(self.calls[-1].body)
        if body in (b"now", b"answered, then broken"):
            self.calls[-1].answer()
        if body.endswith(b"broken"):
            raise RuntimeError("broken")
        return self.calls[-1]


class Connection:
    """A protocol, and everything that it is joined to."""

    def __init__(
        self, known: Heads | None = None, beside: "Connection | None" = None, max_connections: int = 100
    ) -> None:
        """`beside`: another connection of the same server."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError("passed on")

        self.inference = FakeInference()
        self.transport = FakeTransport()
        self.heads = Heads() if known is None else known
        self.soon: list[Callable[[], None]] = []
        self.polled: list[float] = []
        """When the requests came after whose answers the loop may stay awake."""
        self.inbox = Inbox(one_by_one, self.soon.append) if beside is None else beside.inbox
        self.state = ServerState() if beside is None else beside.state
        self.protocol = HttpProtocol(
            common=Common(
                self.inference,  # type: ignore[arg-type]
                self.heads,
                self.inbox,
                SimpleNamespace(answered=self.polled.append),  # type: ignore[arg-type]
                10.0,
                max_connections,
            ),
            config=uvicorn.Config(application, interface="asgi3", ws="none", log_config=None),
            server_state=self.state,
            app_state={},
            _loop=asyncio.new_event_loop(),
        )
        self.protocol.loop.close()  # nothing here may need one but to be called back
        self.protocol.loop = SimpleNamespace()  # type: ignore[assignment]
        self.transport.set_protocol(self.protocol)
        self.protocol.connection_made(self.transport)

    def turn(self) -> None:
        """Turns of the loop until what came together is handled."""
        while self.soon:
            self.soon.pop()()

    def on_a_loop(self) -> list[tuple[float, Callable[[], None]]]:
        """The timers that the protocol sets from now on: seconds, and what is called then."""
        timers: list[tuple[float, Callable[[], None]]] = []
        self.protocol.loop = SimpleNamespace(call_later=lambda *timer: timers.append(timer))  # type: ignore[assignment]
        return timers

    def receive(self, *pieces: bytes) -> None:
        for piece in pieces:
            assert self.transport.reading, "bytes came while reading was paused"
            self.transport.receive(piece)

    @property
    def calls(self) -> list[FakeCall]:
        return self.inference.calls

    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.transport.written)]

    def expire(self, seconds: float) -> None:
        """As if that many seconds had passed."""
        self.protocol.expire(time.monotonic() + seconds)


@pytest.fixture
def connection() -> Connection:
    return Connection()


def test_an_answer_is_one_write_with_every_header(connection: Connection) -> None:
    connection.state.default_headers = [(b"date", b"today"), (b"x-more", b"1")]
    connection.receive(request(b"now"))
    assert connection.transport.written == (
        b"HTTP/1.1 200 OK\r\ndate: today\r\nx-more: 1\r\nx-content-type-options: nosniff\r\nx-test: 1\r\n"
        b"content-length: 3\r\n\r\nnow"
    )
    connection.state.default_headers = [(b"date", b"tomorrow")]
    connection.receive(request(b"now"))
    assert b"date: tomorrow\r\n" in connection.transport.written


def test_inference_gets_the_head_the_body_the_time_and_the_peer(connection: Connection) -> None:
    before = time.monotonic()
    connection.receive(request(b"one", target="/%70redict?q", X_Test="A"))
    (call,) = connection.calls
    assert (call.head.method, call.head.path, call.body, call.peer) == ("POST", "/predict", b"one", "10.0.0.7")
    assert call.head.headers == {b"host": b"localhost", b"x-test": b"A", b"content-length": b"3"}
    assert before <= call.received <= call.read <= time.monotonic()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: 1\r\nbad header\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX: " + b"a" * heads.MAX_HEAD,
        b"GET /livez HTTP/1.1\r\nX: a",
    ],
    ids=["wrong", "another version", "too large", "not whole"],
)
def test_a_head_that_comes_to_nothing_is_let_go_of(
    sent: bytes, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[heads.HeadReader]] = []

    class Reader(heads.HeadReader):
        def __init__(self) -> None:
            super().__init__()
            made.append(weakref.ref(self))

    monkeypatch.setattr(http_protocol, "HeadReader", Reader)
    with no_collector():
        connection.receive(sent)
        connection.protocol.connection_lost(None)
        assert [reader() for reader in made] == [None]


def test_blanks_around_a_value_are_no_part_of_it(connection: Connection) -> None:
    connection.receive(request(b"one", X_Test=" \tA b \t"))
    assert connection.calls[0].head.headers[b"x-test"] == b"A b"


def test_a_known_head_is_not_read_again(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.receive(request(b"now"), request(b"now"))
    monkeypatch.delattr(http_protocol, "HeadReader")
    for _ in range(3):
        connection.receive(request(b"now"))
    assert connection.statuses() == [200] * 5
    assert len(connection.inference.read) == len(connection.inference.refused) == 2
    assert len({id(call.head) for call in connection.calls[1:]}) == 1
    other = Connection(connection.heads)  # of the same server
    other.receive(request(b"now"))
    assert other.statuses() == [200]


LARGE = bytes(range(256)) * 1000


@pytest.mark.parametrize("cut", [50, 90, 1000, -LARGE_ENOUGH, -LARGE_ENOUGH + 1, -1], ids=str)
def test_a_large_body_is_received_where_it_stays(cut: int, connection: Connection) -> None:
    for turn in range(4):  # from the third one on, its head is known
        raw = request(LARGE)
        connection.receive(raw[:cut])
        mark = time.monotonic()
        connection.receive(raw[cut:] + b"POST")
        assert connection.transport.protocol is connection.protocol
        call = connection.calls[turn]
        head_came_first = not 0 < cut < len(raw) - len(LARGE)
        assert (call.received <= mark) == head_came_first
        assert mark <= call.read
        assert call.body == LARGE
        is_large = head_came_first and len(raw[cut:]) >= LARGE_ENOUGH
        assert isinstance(call.body, memoryview) == is_large
        assert not is_large or call.body.readonly
        call.respond(Answer(200, Headers.of(), b""))
        connection.receive(request(b"now")[4:])
        assert connection.statuses() == [200, 200]
        connection.transport.written = b""
        del connection.calls[turn + 1]


@pytest.mark.parametrize("known", [False, True])
def test_a_large_body_that_does_not_come_in_time_is_not_read(known: bool, connection: Connection) -> None:
    raw = request(LARGE)
    for _ in range(2 * known):
        connection.receive(raw)
        connection.calls.pop().respond(Answer(200, Headers.of(), b""))
    connection.receive(raw[:-5])
    connection.expire(9)
    connection.expire(11)
    assert connection.statuses() == [200, 200] * known + [408]
    assert connection.transport.end == "eof"
    connection.receive(raw[-5:], raw, raw)
    assert connection.calls == []
    connection.expire(14)
    assert connection.transport.end == "abort"


def test_a_client_may_leave_in_the_middle_of_a_large_body(connection: Connection) -> None:
    connection.receive(request(LARGE)[:-5])
    assert connection.protocol.direct is not None
    assert not connection.transport.protocol.eof_received()
    connection.transport.protocol.connection_lost(None)
    assert connection.protocol.direct is None
    assert connection.calls == []


def test_while_a_large_body_comes_writing_may_stop(connection: Connection) -> None:
    raw = request(LARGE)
    connection.receive(raw[:-5])
    connection.transport.protocol.pause_writing()
    assert connection.protocol.flow.write_paused
    connection.transport.protocol.resume_writing()
    connection.receive(raw[-5:])
    assert [call.body == LARGE for call in connection.calls] == [True]


def two_of_one_server() -> tuple[Connection, Connection]:
    """Both have had an answer, so their heads are known."""
    first = Connection()
    second = Connection(first.heads, beside=first)
    for connection in (first, second):
        connection.receive(request(b"now"))
        assert connection.statuses() == [200]
    assert len(first.heads) == 1
    return first, second


def test_what_comes_in_one_turn_is_handled_at_the_next_one_after_the_other() -> None:
    first, second = two_of_one_server()
    first.receive(request(b"now"))
    second.receive(request(b"now"), request(b"now"))
    assert first.statuses() == second.statuses() == [200]
    first.turn()
    assert (first.statuses(), second.statuses()) == ([200] * 2, [200] * 3)
    first.receive(request(b"now"))
    assert len(first.soon) == 1


def test_what_a_client_that_has_gone_had_sent_is_not_handled() -> None:
    first, second = two_of_one_server()
    first.receive(request(b"now"))
    second.receive(request(b"now"))
    first.protocol.connection_lost(None)
    first.turn()
    assert len(first.calls) == 1
    assert second.statuses() == [200, 200]


@pytest.mark.parametrize(
    ("body", "statuses", "end"), [(b"broken", [200, 500], "close"), (b"answered, then broken", [200, 200], "abort")]
)
def test_a_request_on_which_the_server_fails_takes_no_other_along(body: bytes, statuses: list[int], end: str) -> None:
    first, second = two_of_one_server()
    first.heads[request(body)[: -len(body) - 4]] = KnownHead(FakeHead("POST", "/predict", {}), len(body))  # type: ignore[arg-type]
    first.receive(request(body))
    second.receive(request(b"now"))
    first.turn()
    assert (first.statuses(), first.transport.end) == (statuses, end)
    assert second.statuses() == [200, 200]


def test_a_lone_connection_does_not_wait_for_others(connection: Connection) -> None:
    connection.receive(request(b"now"))
    connection.receive(request(b"now"))
    assert connection.soon == []
    assert connection.statuses() == [200, 200]


def test_behind_the_answer_to_a_lone_connection_the_loop_may_stay_awake(connection: Connection) -> None:
    connection.receive(request(b"now"))
    assert connection.polled == [connection.calls[0].received]
    connection.receive(request(b"later"))
    assert len(connection.polled) == 1
    connection.calls[1].answer()
    assert connection.polled == [call.received for call in connection.calls]
    connection.receive(request(b"now") + request(b"later"))  # the second is there already
    assert len(connection.polled) == 2


def test_where_there_are_other_connections_it_may_not() -> None:
    first, second = two_of_one_server()
    first.polled.clear()
    first.receive(request(b"now"))
    first.turn()
    assert first.statuses() == [200, 200]
    assert first.polled == second.polled == []


@pytest.mark.parametrize(
    "raw",
    [
        request(b"now", version="HTTP/1.0"),
        request(b"now", version="HTTP/1.0", Connection="keep-alive"),
        request(b"now", Connection="close"),
        request(b"now", Expect="100-continue"),
        request(b"now", method="PUT"),
        request(chunks=[b"now"]),
        request(b"", method="PUT").replace(b"PUT", b"POST"),
        request(b"now", X_Long="x" * 2000),
        request(b"now", target="/nope", Content_Length=str(LIMIT + 1)).replace(b"Content-Length: 3\r\n", b""),
    ],
    ids=lambda raw: raw.replace(b"\r\n", b" ")[:90].decode(),
)
def test_only_the_common_head_is_remembered(raw: bytes) -> None:
    known = Heads()
    for _ in range(3):
        connection = Connection(known)
        connection.receive(raw)
        assert connection.calls or connection.transport.written
    assert not known


def test_a_head_is_remembered_whether_or_not_its_body_came_along(connection: Connection) -> None:
    raw = request(b"now")
    connection.receive(raw[:-3], raw[-3:], raw, raw[:-3], raw[-3:])
    assert connection.statuses() == [200] * 3
    assert len(connection.heads) == 1


@pytest.mark.parametrize("known", [False, True])
def test_cut_in_three_anywhere(known: bool) -> None:
    raw = request(b"now") + request(chunks=[b"n", b"ow"]) + request(b"", method="GET")
    kept = Heads()
    if known:
        Connection(kept).receive(request(b"now"), request(b"now"))
        assert kept
    for first in range(len(raw)):
        for second in range(first, len(raw), 7):
            connection = Connection(kept)
            connection.receive(raw[:first], raw[first:second], raw[second:])
            assert connection.statuses() == [200, 200, 405]
            kept = kept if known else Heads()


def test_a_request_waits_for_the_one_before_it(connection: Connection) -> None:
    connection.receive(request(b"one") + request(b"two") + request(b"now") + request(b"", method="GET"))
    assert connection.transport.reading  # or nobody would see the client leave
    assert [call.body for call in connection.calls] == [b"one"]
    connection.calls[0].answer()
    assert [call.body for call in connection.calls] == [b"one", b"two"]
    assert connection.statuses() == [200]
    connection.calls[1].answer()
    assert [call.body for call in connection.calls] == [b"one", b"two", b"now"]
    assert connection.statuses() == [200, 200, 200, 405]
    assert connection.transport.reading


def test_no_more_is_read_once_much_waits_behind_a_request(connection: Connection) -> None:
    waiting = [request(b"now")] * (1 + http_protocol.HIGH_WATER_LIMIT // len(request(b"now")))
    connection.receive(request(b"one"), *waiting)
    assert not connection.transport.reading
    connection.calls[0].answer()
    assert connection.statuses() == [200] * (1 + len(waiting))
    assert connection.transport.reading


def test_a_request_that_waited_keeps_the_time_when_it_came(connection: Connection) -> None:
    connection.receive(request(b"one") + request(b"two"))
    arrived = time.monotonic()
    time.sleep(0.01)
    connection.calls[0].answer()
    assert connection.calls[1].received <= arrived


def test_the_time_of_a_request_is_when_its_head_had_come(connection: Connection) -> None:
    raw = request(b"one")
    connection.receive(raw[:20])
    time.sleep(0.01)
    begun = time.monotonic()
    connection.receive(raw[20:-1])
    ended = time.monotonic()
    time.sleep(0.01)
    connection.receive(raw[-1:])
    assert begun <= connection.calls[0].received <= ended


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_client_that_leaves_has_its_call_cancelled_and_its_pipeline_dropped(
    error: Exception | None, connection: Connection
) -> None:
    connection.receive(request(b"one") + request(b"two"))
    connection.transport.end = "close"
    connection.protocol.connection_lost(error)
    assert connection.calls[0].cancelled
    assert len(connection.calls) == 1
    assert connection.protocol not in connection.state.connections
    assert connection.transport.written == b""


def test_a_client_that_leaves_after_its_answer_cancels_nothing(connection: Connection) -> None:
    connection.receive(request(b"one"))
    connection.calls[0].answer()
    connection.receive(request(b"now"))
    connection.protocol.connection_lost(None)
    assert not any(call.cancelled for call in connection.calls)


@pytest.mark.parametrize("known", [False, True])
def test_while_answers_cannot_be_written_no_request_is_begun(known: bool, connection: Connection) -> None:
    if known:
        connection.receive(request(b"now"), request(b"now"))
        assert connection.heads
    before = len(connection.calls)
    connection.receive(request(b"one"))
    connection.protocol.pause_writing()
    connection.calls[-1].answer()
    connection.receive(request(b"two"))
    assert len(connection.calls) == before + 1
    connection.protocol.resume_writing()
    assert [call.body for call in connection.calls[before:]] == [b"one", b"two"]
    assert connection.transport.reading


def test_a_slow_reader_may_be_slow_but_not_stand_still(connection: Connection) -> None:
    connection.protocol.pause_writing()
    connection.transport.unsent = 100_000
    for seconds in range(1, 100):
        connection.transport.unsent -= 100
        connection.expire(seconds)
    assert connection.transport.end == ""
    connection.expire(108)
    assert connection.transport.end == ""
    connection.expire(110)
    assert connection.transport.end == "abort"


def test_a_closed_connection_whose_answer_is_not_read_is_cut_off(connection: Connection) -> None:
    connection.receive(request(b"now", Connection="close"))
    assert connection.transport.end == "close"
    connection.transport.unsent = 100
    connection.expire(1)
    connection.expire(9)
    assert connection.transport.end == "close"
    connection.expire(12)
    assert connection.transport.end == "abort"


def test_an_earlier_wait_is_not_held_against_a_later_one(connection: Connection) -> None:
    connection.transport.unsent = 100
    connection.protocol.pause_writing()
    connection.expire(1)
    connection.protocol.resume_writing()
    connection.protocol.pause_writing()
    connection.expire(20)
    assert connection.transport.end == ""
    connection.expire(31)
    assert connection.transport.end == "abort"


@pytest.mark.parametrize(
    ("sent", "seconds", "end", "statuses"),
    [
        (b"", 10.5, "close", []),
        (b"POST", 10.5, "eof", [408]),
        (request(b"now")[:-1], 10.5, "eof", [408]),
        (request(b"now", method="PUT")[:-1], 10.5, "eof", [405]),
        (request(b"now"), 5.5, "close", [200]),
        (request(b"now") + b"P", 10.5, "eof", [200, 408]),
        (request(b"later"), 1000, "", []),
        (request(b"later") + b"POST", 1000, "", []),
    ],
)
def test_time_outs(sent: bytes, seconds: float, end: str, statuses: list[int], connection: Connection) -> None:
    if sent:
        connection.receive(sent)
    connection.expire(seconds - 1)
    assert connection.transport.end == ""
    connection.expire(seconds)
    assert (connection.transport.end, connection.statuses()) == (end, statuses)
    if end == "eof":
        connection.receive(b"x" * 1000)
        connection.expire(1.5)
        assert connection.transport.end == "eof"
        connection.expire(2.5)
        assert connection.transport.end == "abort"


def test_a_request_has_its_whole_time_however_long_the_connection_is_there(connection: Connection) -> None:
    connection.receive(request(b"now"), b"POST")
    connection.expire(9.5)
    assert connection.statuses() == [200]
    connection.expire(10.5)
    assert connection.statuses() == [200, 408]


def test_a_client_is_not_blamed_for_what_is_not_read_from_it(connection: Connection) -> None:
    connection.receive(request(b"now")[:-1])
    connection.protocol.flow.pause_reading()  # as uvicorn does where the application does not take the body
    connection.expire(1000)
    assert connection.transport.end == ""


def test_a_drain_answers_what_has_come_and_says_that_it_ends(connection: Connection) -> None:
    connection.receive(request(b"one") + request(b"two"))
    connection.protocol.shutdown()
    connection.calls[0].answer()
    assert b"connection" not in connection.transport.written
    connection.calls[1].answer()
    assert connection.transport.written.count(b"connection: close\r\n") == 1
    assert connection.transport.end == "close"


@pytest.mark.parametrize("sent", [b"", request(b"now"), request()[:20], b"hello", request(BODY, method="PUT")[:-1]])
def test_a_drain_closes_where_nothing_is_to_be_answered(sent: bytes, connection: Connection) -> None:
    if sent:
        connection.receive(sent)
    connection.protocol.shutdown()
    assert connection.transport.end == "close"


def test_a_drain_waits_for_what_cannot_be_written_yet(connection: Connection) -> None:
    connection.protocol.pause_writing()
    connection.receive(request(b"one"))
    connection.protocol.shutdown()
    assert connection.transport.end == ""
    connection.protocol.resume_writing()
    connection.calls[0].answer()
    assert connection.statuses() == [200]
    assert connection.transport.end == "close"


def test_a_half_closed_connection_is_kept_for_whole_requests_only(connection: Connection) -> None:
    timers = connection.on_a_loop()
    assert connection.protocol.eof_received() is False
    connection.receive(request(b"one"))
    assert connection.protocol.eof_received() is True
    connection.calls[0].answer()
    assert connection.transport.end == "close"
    assert len(timers) == 1
    for sent in (request(b"one")[:20], request(b"one")[:-1], request(b"now"), b"hello"):
        other = Connection()
        other.receive(sent)
        assert other.protocol.eof_received() is False


def test_over_tls_no_connection_is_kept_half_closed(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio and uvloop close it whatever they are told, with a warning where that was to keep it."""
    monkeypatch.setattr(FakeTransport, "can_write_eof", lambda _: False)
    connection.receive(request(b"one"))
    assert connection.protocol.eof_received() is False


def test_a_half_closed_connection_is_kept_for_a_moment_only(connection: Connection) -> None:
    timers = connection.on_a_loop()
    connection.receive(request(b"one"))
    assert connection.protocol.eof_received() is True
    assert connection.transport.end == ""
    [(seconds, ends)] = timers
    assert seconds == http_protocol.HALF_CLOSED_SECONDS
    ends()
    assert connection.transport.end == "close"


def test_a_chunked_body_over_the_limit_is_told_by_inference(connection: Connection) -> None:
    connection.receive(request(chunks=[b"x" * LIMIT, b"x"]))
    assert connection.statuses() == [413]
    [(code, head)] = connection.inference.unread
    assert (code, head and head.path) == ("too_large", "/predict")
    assert connection.calls == []


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"hello\r\n\r\n", [("bad_request", False)]),
        (request(chunks=[b"x"]).replace(b"1\r\nx", b"x\r\nx"), [("bad_request", True)]),
        (request(method="PUT", chunks=[b"x"]).replace(b"1\r\nx", b"x\r\nx"), []),
    ],
    ids=["no head", "a head", "refused before"],
)
def test_what_cannot_be_read_is_told_by_inference_once(
    sent: bytes, told: list[tuple[str, bool]], connection: Connection
) -> None:
    connection.receive(sent)
    assert [(code, head is not None) for code, head in connection.inference.unread] == told
    assert len(connection.statuses()) == 1


OF_A_CONNECTION = {"answer", "direct", "fail", "infer", "inference", "leave", "peer"}
OF_CYCLES = {"begin_cycle", "drop_cycle", "open_cycle"}
LEANT_ON = {
    "client",
    "cycle",
    "connections",
    "expect_100_continue",
    "flow",
    "logger",
    "loop",
    "on_body",
    "on_header",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "parser",
    "server_state",
    "timeout_keep_alive",
    "transport",
    "url",
}
"""What HttpProtocol uses of uvicorn's HttpToolsProtocol. A release of uvicorn that changes them may break it."""
OVERRIDDEN = {
    "connection_made",
    "connection_lost",
    "data_received",
    "eof_received",
    "on_response_complete",
    "pause_writing",
    "resume_writing",
    "shutdown",
}


def test_what_is_used_of_uvicorn_is_there_and_listed(connection: Connection) -> None:
    tree = ast.parse(inspect.getsource(Cycles) + inspect.getsource(HttpProtocol))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    ours = {name for name in {**vars(Cycles), **vars(HttpProtocol)} if not name.startswith("__")}
    assert {name for name in used - ours if not name.startswith("_")} - OF_A_CONNECTION == LEANT_ON
    assert {
        name for name in ours if not name.startswith("_") and name not in {"expire", *OF_CYCLES, *OF_A_CONNECTION}
    } == OVERRIDDEN
    stock = HttpToolsProtocol(connection.protocol.config, ServerState(), {}, _loop=connection.protocol.loop)
    stock.on_message_begin()
    assert not [name for name in LEANT_ON | OVERRIDDEN if not hasattr(stock, name)]
    assert not [name for name in OF_A_CONNECTION if hasattr(stock, name)]
    assert not [name for name in OF_CYCLES if hasattr(stock, name)]
    assert not [name for name in vars(stock) if name in vars(connection.protocol) and name.startswith("_")]


def test_the_parts_of_uvicorn_that_are_used_are_there() -> None:
    cycle = inspect.getsource(RequestResponseCycle.__init__)
    for name in ("response_complete", "response_started", "disconnected", "message_event", "keep_alive"):
        assert f"self.{name}" in cycle
    for name in ("pause_reading", "resume_reading", "pause_writing", "resume_writing"):
        assert hasattr(FlowControl, name)
    assert {"read_paused", "write_paused"} <= vars(FlowControl(FakeTransport())).keys()  # type: ignore[arg-type]
    assert {"default_headers", "connections"} <= vars(ServerState()).keys()
    for name in ("get_method", "get_http_version", "should_keep_alive", "should_upgrade"):
        assert f"self.parser.{name}()" in inspect.getsource(HttpToolsProtocol)
        assert hasattr(heads.HeadReader, name)
    asked = {
        line.split("self.parser.")[1].split("(")[0]
        for line in inspect.getsource(HttpToolsProtocol).splitlines()
        if "self.parser." in line
    }
    assert asked == {
        "feed_data",
        "set_dangerous_leniencies",
        "get_method",
        "get_http_version",
        "should_keep_alive",
        "should_upgrade",
    }


def test_a_connection_over_the_limit_is_refused_before_it_says_anything() -> None:
    connection = Connection(max_connections=0)
    assert connection.statuses() == [503]
    assert b"retry-after: 1\r\n" in connection.transport.written
    assert connection.transport.end == "eof"
    connection.receive(request())
    assert connection.calls == []
    connection.expire(3)
    assert connection.transport.end == "abort"
