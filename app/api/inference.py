"""The inference door: bytes and headers in, bytes and headers out. It knows no server and no socket."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from app.api.status import Answer, answer_to, error_answer
from app.dataplane import DataPlane
from app.errors import BonsaiError, InvalidInput, TooLarge, Unsupported, UnsupportedMedia, clip
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


class Head(NamedTuple):
    """What of a request is known before its body: the path percent-decoded, header names in lower case."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    received: float
    """Monotonic seconds."""


@dataclass(slots=True)
class _Call:
    """One request on its way through this door."""

    head: Head
    request_id: bytes
    timings: Timings
    request: InferRequest | None = None

    @classmethod
    def begin(cls, head: Head) -> "_Call":
        return cls(head, _request_id(head.headers), Timings(head.received))


_PREDICT_ROUTE = Route(native.decode, native.encode)


def route(path: str) -> Route | None:
    """The inference route of a path, None for every other path."""
    if path == PREDICT:
        return _PREDICT_ROUTE
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
            answer = error_answer(405, f"{head.method} {head.path}: expected POST", [(b"allow", b"POST")])
            answer.headers.append((b"x-request-id", _request_id(head.headers)))
            return answer
        try:
            self._check(head.headers)
        except BonsaiError as error:
            return self._fail(_Call.begin(head), error)
        return None

    def too_large(self, head: Head) -> Answer:
        """The answer to a body that is longer than the limit."""
        error = TooLarge(f"body: expected at most {self.max_body_bytes} bytes, got more")
        return self._fail(_Call.begin(head), error)

    def handle(self, route: Route, head: Head, body: bytes, respond: Respond) -> None:
        """Infers. `respond` is called exactly once: at once, or later on the same thread."""
        call = _Call.begin(head)
        try:
            call.request = route.decode(body, call.timings)
        except Exception as error:  # noqa: BLE001 - boundary: a body that breaks the parser breaks nothing else
            respond(self._fail(call, BonsaiError.of(error)))
            return
        self._dataplane.infer(call.request, lambda outcome: respond(self._answer(call, route, outcome)))

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
        if len(length) > 18 or int(length) > self.max_body_bytes:
            raise TooLarge(f"body: expected at most {self.max_body_bytes} bytes, got {clip(length.decode(), 20)}")

    def _answer(self, call: _Call, route: Route, outcome: InferResponse | BonsaiError) -> Answer:
        if isinstance(outcome, BonsaiError):
            return self._fail(call, outcome)
        assert call.request is not None
        try:
            body = route.encode(call.request, outcome)
        except Exception as error:  # noqa: BLE001 - boundary: what cannot be written must not take others along
            return self._fail(call, BonsaiError.of(error))
        call.timings.encoded = self._dataplane.clock()
        headers = [
            (b"content-type", b"application/json"),
            (b"server-timing", _server_timing(call.timings)),
            (b"x-model-version", b"%d" % outcome.version),
            (b"x-execution-provider", outcome.provider.encode()),
            (b"x-request-id", call.request_id),
        ]
        self._record(call, 200, None)
        return Answer(200, headers, body)

    def _fail(self, call: _Call, error: BonsaiError) -> Answer:
        answer = answer_to(error)
        answer.headers.append((b"x-request-id", call.request_id))
        self._record(call, answer.status, error)
        return answer

    def _record(self, call: _Call, status: int, error: BonsaiError | None) -> None:
        """Metrics and logs, from the one Timings object."""
        resolved = call.request.resolved if call.request is not None else None
        model, version = labels = ("", "") if resolved is None else (resolved[0], str(resolved[1]))
        if error is None:
            self._metrics.answered(labels, call.timings.total, call.timings.phases())
        else:
            self._metrics.failed(labels, error.code)
        seconds = (call.timings.encoded or self._dataplane.clock()) - call.timings.received
        fault = error if status == 500 else None
        if self._log.wants(seconds, fault):
            fields: dict[str, object] = {"request_id": call.request_id.decode(), "path": call.head.path}
            fields |= {"status": status, "code": error.code if error else "ok", "model": model, "version": version}
            self._log.write(fields, seconds, fault)


def _request_id(headers: Mapping[bytes, bytes]) -> bytes:
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return b"%016x" % random.getrandbits(64)


def _server_timing(timings: Timings) -> bytes:
    """https://www.w3.org/TR/server-timing/: durations in milliseconds."""
    decode, queue, compute, encode = timings.phases()
    return b"decode;dur=%.3f, queue;dur=%.3f, compute;dur=%.3f, encode;dur=%.3f, total;dur=%.3f" % (
        decode * 1000,
        queue * 1000,
        compute * 1000,
        encode * 1000,
        timings.total * 1000,
    )
