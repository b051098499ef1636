"""The inference door with a data plane that answers what a test says, and an ASGI server of a few lines."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from app.access.access import Access
from app.api.asgi import InferenceDoor
from app.api.inference import Call, Head, Inference
from app.api.routes import Route
from app.api.status import Answer
from app.dataplane import Pending, Reply
from app.errors import BonsaiError
from app.protocol.messages import InferRequest, Outputs, ServedModel, Share
from app.telemetry.logging import RequestLog
from app.telemetry.metrics import Metrics
from tests.metrics import value
from tests.protocol.bodies import signature

LIMIT = 1000
BODY = b'{"inputs": [[1, 2, 3]]}'
RECEIVED, READ = 1.0, 1.0005
SERVED = ServedModel("m", 2, signature(), "CPUExecutionProvider")
Outcome = Share | BonsaiError


def answered(request: InferRequest) -> Share:
    """A good answer, a millisecond after each point."""
    request.served = SERVED
    timings, start = request.timings, request.timings.received
    timings.decoded, timings.started, timings.computed = start + 0.001, start + 0.002, start + 0.003
    timings.joined = timings.started
    return Share(Outputs({"y": np.array([[1, 2, 3]], np.float32)}))


class FakeDataPlane:
    """Answers at once with what `outcome` makes of a request; keeps the request where that is None.

    Of a request that it keeps it notes when it is cancelled.
    """

    def __init__(self, outcome: Callable[[InferRequest], Outcome | None]) -> None:
        self.outcome = outcome
        self.requests: list[InferRequest] = []
        self.replies: list[Reply] = []
        self.cancelled: list[InferRequest] = []

    def clock(self) -> float:
        return 1.005

    def infer(self, request: InferRequest, reply: Reply) -> Pending | None:
        self.requests.append(request)
        self.replies.append(reply)
        outcome = self.outcome(request)
        if outcome is None:
            return SimpleNamespace(cancel=lambda: self.cancelled.append(request))
        reply(outcome)
        return None


class World:
    """An inference door, everything that it is joined to, and what it answered."""

    def __init__(
        self,
        outcome: Callable[[InferRequest], Outcome | None] = answered,
        *,
        slow: float = 60.0,
        every: bool = False,
        access: Access | None = None,
    ) -> None:
        self.metrics = Metrics()
        self.dataplane = FakeDataPlane(outcome)
        log = RequestLog(every=every, slow_seconds=slow)
        self.inference = Inference(self.dataplane, access or Access.unrestricted(), self.metrics, log, LIMIT)  # type: ignore[arg-type]
        self.answers: list[Answer] = []

    def handle(
        self, body: bytes = BODY, path: str = "/predict", through: Route | None = None, **headers: str
    ) -> Answer:
        """The one answer to a request."""
        self.answers.clear()
        self.begin(body, path, through, **headers)
        assert len(self.answers) == 1
        return self.answers[0]

    def begin(
        self,
        body: bytes = BODY,
        path: str = "/predict",
        through: Route | None = None,
        peer: str = "127.0.0.1",
        **headers: str,
    ) -> Call:
        """A request whose answer may still be to come."""
        found = self.head(path=path, **headers)
        if through is not None:
            found = replace(found, route=through)
        return self.inference.handle(found, body, RECEIVED, READ, peer, self.answers.append)

    def head(self, method: str = "POST", path: str = "/predict", **headers: str) -> Head:
        """A head of this door; `_` in a header's name stands for `-`."""
        raw = {name.replace("_", "-").encode(): text.encode("latin-1") for name, text in headers.items()}
        found = self.inference.read_head(method, path, raw)
        assert found is not None
        return found

    def refuse(self, method: str = "POST", path: str = "/predict", **headers: str) -> Answer | None:
        """The answer by the head alone; None where the body is wanted."""
        return self.inference.refuse(self.head(method, path, **headers))

    def counted(self, code: str, model: str = "", version: str = "") -> float:
        exposition = self.metrics.exposition().decode()
        return value(exposition, "bonsai_requests_total", code=code, model=model, version=version)


def headers(answer: Answer) -> dict[str, str]:
    """Header values by name; no name comes twice."""
    found = answer.header_list()
    assert len({name for name, _ in found}) == len(found)
    return {name.decode(): text.decode() for name, text in found}


async def exchange(door: InferenceDoor, *received: dict[str, Any], path: str = "/predict", **scope: Any) -> list[Any]:
    """What the door sends for these messages; it must not ask for more."""
    waiting = list(received)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await door({"type": "http", "method": "POST", "path": path, "headers": [], **scope}, receive, send)
    return sent


def chunk(body: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}
