"""The inference door: bytes and headers in, bytes and headers out. It knows no server and no socket."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from app.access.access import Access
from app.access.keyring import NOBODY, Caller
from app.access.keys import Scope
from app.api.answer_headers import answer_headers, server_timing
from app.api.framing import Unreadable
from app.api.routes import Route, json_length, route
from app.api.status import Answer, MethodNotAllowed, answer_to
from app.dataplane import DataPlane, Pending
from app.errors import BonsaiError, InvalidInput, TooLarge, clip
from app.protocol.messages import Content, InferRequest, ServedModel, Share, Timings
from app.protocol.plain import Form
from app.telemetry.logging import RequestLog
from app.telemetry.metrics import Metrics

Respond = Callable[[Answer], None]

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,256}")
_TIMEOUT = b"x-request-timeout-ms"


@dataclass(frozen=True, slots=True)
class Head:
    """What of a request is known before its body. Requests whose heads have the same bytes may share one."""

    method: str
    path: str
    """Percent-decoded."""
    headers: Mapping[bytes, bytes]
    """Names in lower case."""
    route: Route
    caller: Caller
    refusal: BonsaiError | None
    """Why the caller is not let in."""
    request_id: bytes | None
    """As the client gave it."""
    timeout: float | None
    """Seconds, of X-Request-Timeout-Ms."""
    json_length: int | None
    """Of Inference-Header-Content-Length: how many bytes of the body are JSON."""
    plain: Form | None
    """How its body is read and its answer written if that asks for no more; None where the head does."""


class Call(msgspec.Struct, eq=False):
    """One request on its way through this door."""

    door: "Inference"
    head: Head
    request_id: bytes
    timings: Timings
    respond: Respond
    request: InferRequest | None = None
    pending: Pending | None = None

    def cancel(self) -> None:
        """The client has gone: the request is dropped wherever it is. Harmless after the answer."""
        pending, self.pending = self.pending, None  # breaks the cycle, as `finish` does
        if pending is not None:
            pending.cancel()

    def finish(self, outcome: Share | BonsaiError) -> None:
        self.pending = None  # breaks a cycle: what a request made is freed at once, and its memory is warm for the next
        self.respond(self.door.answer(self, outcome))


class Inference:
    """Takes one request from any carrier and answers it through its callback."""

    def __init__(
        self, dataplane: DataPlane, access: Access, metrics: Metrics, log: RequestLog, max_body_bytes: int
    ) -> None:
        self.access = access
        self.max_body_bytes = max_body_bytes
        self._dataplane = dataplane
        self._clock = dataplane.clock
        self._requests = metrics.requests
        self._log = log
        self.log_seconds = log.threshold
        """Good answers that took as long are logged."""

    def read_head(self, method: str, path: str, headers: Mapping[bytes, bytes], query: bytes = b"") -> Head | None:
        """The head of a request to an inference path; None for every other path."""
        found = route(path, query, headers, self.max_body_bytes)
        if found is None:
            return None
        request_id = headers.get(b"x-request-id")
        if request_id is not None and _REQUEST_ID.fullmatch(request_id) is None:
            request_id = None
        caller, refusal = self._identify(headers)
        timeout = _timeout(headers)
        return Head(
            method,
            path,
            headers,
            found,
            caller,
            refusal,
            request_id,
            timeout,
            json_length(headers),
            found.plain if timeout is None else None,
        )

    def refuse(self, head: Head) -> Answer | None:
        """The answer to a request that is wrong by its head alone; None where its body is wanted."""
        error = head.refusal or _wrong_method(head) or head.route.fault or self._wrong_header(head)
        return None if error is None else self._refusal(head, error)

    def unreadable(self, fault: Unreadable, head: Head | None) -> Answer:
        """The answer to what cannot be read to its end; `head` is None where it is not known to be for this door."""
        if head is not None:
            return self._refusal(head, fault)
        self._requests.failed("", "", fault.code, 0.0)
        return answer_to(fault)

    def failed(self, head: Head, fault: Exception) -> Answer:
        """The answer to a request on which this server's own code failed."""
        return self._refusal(head, BonsaiError.of(fault))

    def handle(self, head: Head, body: Content, received: float, read: float, peer: str, respond: Respond) -> Call:
        """Infers. `respond` is called exactly once: at once, or later on the same thread; never after `cancel`.

        `received` and `read` are the instants, in seconds of the monotonic clock, at which the head and the body were
        there; `peer` is whose request it is where no key says that.
        """
        call = Call(self, head, head.request_id or fresh_id(), Timings(received, read), respond)
        caller = head.caller
        try:
            caller.bucket.take(received)
            request = call.request = head.route.decode(body, call.timings, head.json_length)
        except Exception as error:  # noqa: BLE001 - boundary: a body that breaks the parser breaks nothing else
            respond(self.fail(call, BonsaiError.of(error)))
            return call
        request.client = caller.name or peer
        if head.timeout is not None and request.timeout is None:
            request.timeout = head.timeout
        call.pending = self._dataplane.infer(request, call.finish)
        return call

    def answer(self, call: Call, outcome: Share | BonsaiError) -> Answer:
        """The answer that a call ends with."""
        if isinstance(outcome, BonsaiError):
            return self.fail(call, outcome)
        assert call.request is not None
        return self.write(call.head, call.request_id, call.request, outcome)

    def write(self, head: Head, request_id: bytes, request: InferRequest, share: Share) -> Answer:
        """The answer to a request that has been run: a good one, unless its route's format cannot carry it."""
        try:
            encoded = head.route.encode(request, share)
        except Exception as error:  # noqa: BLE001 - boundary: what cannot be written must not take others along
            return self.fail(Call(self, head, request_id, request.timings, _unheard, request), BonsaiError.of(error))
        assert request.served is not None
        served, timings = request.served, request.timings
        timings.encoded = self._clock()
        self._requests.answered(served.name, served.version, msgspec.structs.astuple(timings))
        if timings.total >= self.log_seconds:
            self.log_good(head, request_id, served, timings.total)
        headers = answer_headers(served, encoded.media_type, encoded.coding, encoded.json_length)
        return Answer(200, headers, encoded.body, request_id, server_timing(timings))

    def log_good(self, head: Head, request_id: bytes, served: ServedModel, seconds: float) -> None:
        """Logs a good answer, which took `log_seconds` or longer."""
        self._write_log(head, request_id, served, 200, None, seconds)

    def fail(self, call: Call, error: BonsaiError) -> Answer:
        """The answer of a call that failed."""
        answer = answer_to(error, call.request_id)
        served = call.request.served if call.request is not None else None
        seconds = self._clock() - call.timings.received
        self._requests.failed(*_labels(served), error.code, seconds)
        fault = error if answer.status == 500 else None
        if self._log.wants(seconds, fault):
            self._write_log(call.head, call.request_id, served, answer.status, error, seconds)
        return answer

    def _refusal(self, head: Head, error: BonsaiError) -> Answer:
        return self.fail(Call(self, head, head.request_id or fresh_id(), Timings(self._clock()), _unheard), error)

    def _identify(self, headers: Mapping[bytes, bytes]) -> tuple[Caller, BonsaiError | None]:
        """Whose request this is, and why it is refused."""
        try:
            caller = self.access.identify(headers)
            caller.check(Scope.INFER)
        except BonsaiError as error:
            return NOBODY, error.with_traceback(None)  # its frames and the head would keep one another
        return caller, None

    def _wrong_header(self, head: Head) -> BonsaiError | None:
        length = head.headers.get(b"content-length", b"0")
        if not length.isdigit():
            return InvalidInput.field("content-length", expected="a number", got=length.decode("latin-1"))
        if len(length) > 18 or int(length) > self.max_body_bytes:
            return TooLarge(f"body: expected at most {self.max_body_bytes} bytes, got {clip(length.decode(), 20)}")
        if head.timeout is not None and not head.timeout > 0:
            got = head.headers[_TIMEOUT].decode("latin-1")
            return InvalidInput.field("x-request-timeout-ms", expected="milliseconds, more than 0", got=got)
        return None

    def _write_log(
        self,
        head: Head,
        request_id: bytes,
        served: ServedModel | None,
        status: int,
        error: BonsaiError | None,
        seconds: float,
    ) -> None:
        model, version = _labels(served)
        fields: dict[str, object] = {"request_id": request_id.decode(), "path": head.path}
        fields |= {"status": status, "code": error.code if error else "ok", "model": model, "version": version}
        self._log.write(fields, seconds, error if status == 500 else None)


def _wrong_method(head: Head) -> BonsaiError | None:
    return None if head.method == "POST" else MethodNotAllowed(f"{head.method} {clip(head.path)}: expected POST")


def _timeout(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds; not a number where the header is none, which `refuse` complains about."""
    given = headers.get(_TIMEOUT)
    if given is None:
        return None
    return int(given) / 1000 if given.isdigit() and len(given) < 16 else float("nan")


def _labels(served: ServedModel | None) -> tuple[str, str]:
    return ("", "") if served is None else (served.name, str(served.version))


def fresh_id() -> bytes:
    """The id of a request whose client gave none."""
    return b"%016x" % random.getrandbits(64)


def _unheard(_: Answer) -> None:
    """Whoever refuses a head answers by itself."""
