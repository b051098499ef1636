"""The inference door: bytes and headers in, bytes and headers out. It knows no server and no socket."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from app.api.status import Answer, answer_to, error_answer
from app.dataplane import DataPlane
from app.errors import BonsaiError, InvalidInput, TooLarge, Unsupported, UnsupportedMedia
from app.protocol import native, oip
from app.protocol.messages import InferRequest, InferResponse, Timings
from app.telemetry.logging import RequestLog
from app.telemetry.metrics import Metrics

Decode = Callable[[bytes, Timings], InferRequest]
Encode = Callable[[InferRequest, InferResponse], bytes]
Respond = Callable[[Answer], None]

PREDICT = "/predict"
_INFER = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,256}")
# curl -d says that it sends a form. Inference changes no state, so it is safe to read that as JSON, and pleasant.
_JSON_TYPES = (b"", b"application/json", b"application/x-www-form-urlencoded")


@dataclass(frozen=True, slots=True)
class Route:
    """An inference path: which dialect its bodies are in."""

    decode: Decode
    encode: Encode


@dataclass(frozen=True, slots=True)
class Head:
    """What of a request is known before its body: the path percent-decoded, header names in lower case."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    received: float
    """Monotonic seconds."""


@dataclass(slots=True)
class _Call:
    """One request on its way through this door."""

    route: Route
    head: Head
    request_id: bytes
    timings: Timings
    respond: Respond
    request: InferRequest | None = None


def route(path: str) -> Route | None:
    """The inference route of a path, None for every other path."""
    if path == PREDICT:
        return Route(native.decode, native.encode)
    match = _INFER.fullmatch(path)
    if match is None:
        return None
    return Route(partial(oip.decode, model=match["model"], version=match["version"]), oip.encode)


class Inference:
    """Takes one request from any carrier and answers it through its callback."""

    def __init__(self, dataplane: DataPlane, metrics: Metrics, log: RequestLog, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self._dataplane = dataplane
        self._metrics = metrics
        self._log = log

    def refuse(self, head: Head) -> Answer | None:
        """The answer to a request that is wrong by its head alone; None where its body is wanted."""
        if head.method != "POST":
            return error_answer(405, f"{head.method} {head.path}: expected POST", [(b"allow", b"POST")])
        try:
            self._check(head.headers)
        except BonsaiError as error:
            return answer_to(error)
        return None

    def too_large(self) -> Answer:
        """The answer to a body that is longer than the limit."""
        return answer_to(TooLarge(f"body: expected at most {self.max_body_bytes} bytes, got more"))

    def handle(self, route: Route, head: Head, body: bytes, respond: Respond) -> None:
        """Infers. `respond` is called exactly once: at once, or later on the same thread."""
        call = _Call(route, head, _request_id(head.headers), Timings(head.received), respond)
        try:
            call.request = route.decode(body, call.timings)
        except BonsaiError as error:
            self._reply(call, error)
            return
        self._dataplane.infer(call.request, partial(self._reply, call))

    def _check(self, headers: Mapping[bytes, bytes]) -> None:
        media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if media_type not in _JSON_TYPES:
            raise UnsupportedMedia(f"content-type: expected application/json, got {media_type.decode('latin-1')}")
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding != b"identity":
            raise UnsupportedMedia(f"content-encoding: expected none, got {encoding.decode('latin-1')}")
        if b"inference-header-content-length" in headers:
            raise Unsupported("inference-header-content-length: binary tensors are not supported")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise InvalidInput.field("content-length", expected="a number", got=length.decode("latin-1"))
        if int(length) > self.max_body_bytes:
            raise TooLarge(f"body: expected at most {self.max_body_bytes} bytes, got {int(length)}")

    def _reply(self, call: _Call, outcome: InferResponse | BonsaiError) -> None:
        code = "ok"
        try:
            answer = self._encode(call, outcome) if isinstance(outcome, InferResponse) else answer_to(outcome)
            error = outcome if isinstance(outcome, BonsaiError) else None
        except BonsaiError as unencodable:
            answer, error = answer_to(unencodable), unencodable
        except Exception as fault:  # noqa: BLE001 - boundary: what cannot be written must not take its batch-mates along
            error = BonsaiError("the server failed on this request")
            error.__cause__ = fault
            answer = answer_to(error)
        if error is not None:
            code = error.code
        answer.headers.append((b"x-request-id", call.request_id))
        self._record(call, answer.status, code, error)
        call.respond(answer)

    def _encode(self, call: _Call, response: InferResponse) -> Answer:
        assert call.request is not None
        body = call.route.encode(call.request, response)
        call.timings.encoded = self._dataplane.clock()
        headers = [
            (b"content-type", b"application/json"),
            (b"server-timing", _server_timing(call.timings)),
            (b"x-model-version", b"%d" % response.version),
            (b"x-execution-provider", response.provider.encode()),
        ]
        return Answer(200, headers, body)

    def _record(self, call: _Call, status: int, code: str, error: BonsaiError | None) -> None:
        """Metrics and logs, from the one Timings object."""
        resolved = call.request.resolved if call.request is not None else None
        model, version = ("", "") if resolved is None else (resolved[0], str(resolved[1]))
        self._metrics.requests.labels(model, version, code).inc()
        if error is None:
            self._metrics.request_seconds.labels(model, version).observe(call.timings.total)
            for phase, seconds in call.timings.phases():
                self._metrics.phases.labels(model, version, phase).observe(seconds)
        self._log.write(
            {
                "request_id": call.request_id.decode(),
                "path": call.head.path,
                "status": status,
                "code": code,
                "model": model,
                "version": version,
            },
            seconds=max(call.timings.total, self._dataplane.clock() - call.timings.received),
            fault=error if status >= 500 and status not in (503, 504) else None,
        )


def _request_id(headers: Mapping[bytes, bytes]) -> bytes:
    given = headers.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else os.urandom(8).hex().encode()


def _server_timing(timings: Timings) -> bytes:
    """https://www.w3.org/TR/server-timing/: durations in milliseconds."""
    parts = [f"{name};dur={seconds * 1000:.3f}" for name, seconds in timings.phases()]
    return ", ".join([*parts, f"total;dur={timings.total * 1000:.3f}"]).encode()
