"""The inference door with a data plane that answers what a test says, and an ASGI server of a few lines."""

from collections.abc import Callable
from typing import Any

import numpy as np

from app.api.asgi import InferenceDoor
from app.api.inference import Head, Inference, Route, route
from app.api.status import Answer
from app.dataplane import Reply
from app.errors import BonsaiError
from app.protocol.messages import InferRequest, InferResponse
from app.telemetry.logging import RequestLog
from app.telemetry.metrics import Metrics
from tests.metrics import value
from tests.protocol.bodies import signature

LIMIT = 1000
BODY = b'{"inputs": [[1, 2, 3]]}'
Outcome = InferResponse | BonsaiError


def answered(request: InferRequest) -> InferResponse:
    """A good answer, a millisecond after each point."""
    request.resolved = ("m", 2)
    timings, start = request.timings, request.timings.received
    timings.decoded, timings.started, timings.computed = start + 0.001, start + 0.002, start + 0.003
    outputs = {"y": np.array([[1, 2, 3]], np.float32)}
    return InferResponse("m", 2, signature(), "CPUExecutionProvider", outputs, timings)


class FakeDataPlane:
    """Answers at once with what `outcome` makes of a request; keeps the request where that is None."""

    def __init__(self, outcome: Callable[[InferRequest], Outcome | None]) -> None:
        self.outcome = outcome
        self.requests: list[InferRequest] = []
        self.replies: list[Reply] = []

    def clock(self) -> float:
        return 1.005

    def infer(self, request: InferRequest, reply: Reply) -> None:
        self.requests.append(request)
        self.replies.append(reply)
        outcome = self.outcome(request)
        if outcome is not None:
            reply(outcome)


class World:
    """An inference door, everything that it is joined to, and what it answered."""

    def __init__(
        self, outcome: Callable[[InferRequest], Outcome | None] = answered, *, slow: float = 60.0, every: bool = False
    ) -> None:
        self.metrics = Metrics()
        self.dataplane = FakeDataPlane(outcome)
        log = RequestLog(every=every, slow_seconds=slow)
        self.inference = Inference(self.dataplane, self.metrics, log, LIMIT)  # type: ignore[arg-type]
        self.answers: list[Answer] = []

    def handle(
        self, body: bytes = BODY, path: str = "/predict", through: Route | None = None, **headers: str
    ) -> Answer:
        """The one answer to a request."""
        found = through or route(path)
        assert found is not None
        self.answers.clear()
        self.inference.handle(found, head(path=path, **headers), body, self.answers.append)
        assert len(self.answers) == 1
        return self.answers[0]

    def counted(self, code: str, model: str = "", version: str = "") -> float:
        exposition = self.metrics.exposition().decode()
        return value(exposition, "bonsai_requests_total", code=code, model=model, version=version)


def head(method: str = "POST", path: str = "/predict", **headers: str) -> Head:
    """A head; `_` in a header's name stands for `-`."""
    raw = {name.replace("_", "-").encode(): text.encode("latin-1") for name, text in headers.items()}
    return Head(method, path, raw, received=1.0)


def headers(answer: Answer) -> dict[str, str]:
    """Header values by name; no name comes twice."""
    assert len({name for name, _ in answer.headers}) == len(answer.headers)
    return {name.decode(): text.decode() for name, text in answer.headers}


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
