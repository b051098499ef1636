"""Server processes that speak HTTP through one of the two carriers, with the models that the suite asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from onnx import TensorProto

from tests import graphs
from tests.http.wire import SLOW_ROW, Wire, request
from tests.metrics import total, value
from tests.serving import SERVE, Server, serving, wait_for

COMMANDS = {
    "protocol": SERVE,
    "asgi": (str(Path(__file__).with_name("stock_uvicorn.py")),),
}
WIDE = 100_000


def only_protocol(reason: str) -> pytest.MarkDecorator:
    """A test for `bonsai serve` alone; the reason is what stock uvicorn rightly does otherwise."""
    assert reason
    return pytest.mark.parametrize("shared", ["protocol"], indirect=True)


def make_models(folder: Path) -> Path:
    """fast: x [N, 4]. slow: x [N, 1024], one row a run. wide: x [N, WIDE], which comes back as it is."""
    graphs.linear(folder / "fast" / "1" / "model.onnx")
    graphs.slow(folder / "slow" / "1" / "model.onnx", repeats=200, size=len(SLOW_ROW))
    graphs.identity(folder / "wide" / "1" / "model.onnx", TensorProto.FLOAT, ("N", WIDE))
    (folder / "deployments.toml").write_text('default_model = "fast"\n[models.slow.limits]\nmax_batch_rows = 1\n')
    return folder


@dataclass
class Carrier:
    """A server that is ready."""

    server: Server

    @property
    def url(self) -> str:
        return self.server.url

    def exposition(self) -> str:
        wire = Wire(self.url).send(request(b"", method="GET", target="/metrics"))
        text = wire.reply().body.decode()
        wire.close()
        return text

    def metric(self, name: str, **labels: str) -> float:
        return value(self.exposition(), name, **labels)

    def failures(self, code: str) -> float:
        """Requests that got this error code before any model was known."""
        return self.metric("bonsai_requests_total", model="", version="", code=code)

    def in_flight(self) -> float:
        return total(self.exposition(), "bonsai_requests_in_flight")

    @contextmanager
    def staying_healthy(self) -> Iterator[None]:
        """Afterwards nothing is left of any request, and nothing has gone wrong that no client was told."""
        before = len(self.server.logs)
        yield
        wait_for(lambda: self.in_flight() == 0, "every request to end")
        wire = Wire(self.url).send(request())
        assert wire.reply().status == 200
        wire.close()
        faults = [line for line in self.server.logs[before:] if line.get("level") == "error" or "time" not in line]
        assert not faults, faults


@contextmanager
def carrying(name: str, models: Path, state: Path, **environment: str) -> Iterator[Carrier]:
    """A server of its own."""
    with serving(models, command=COMMANDS[name], BONSAI_STATE=str(state), **environment) as server:
        yield Carrier(server)
