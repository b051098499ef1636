"""A wall clock that jumps: deadlines, time-outs and durations are told by the monotonic clock."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import graphs
from tests.http.carriers import Carrier
from tests.http.conftest import Connect
from tests.http.wire import infer, request
from tests.serving import serving

SCRIPT = str(Path(__file__).with_name("jumping_clock.py"))


@pytest.fixture
def jumping(models: Path) -> Iterator[Carrier]:
    graphs.linear(models / "fast" / "1" / "model.onnx")
    graphs.slow(models / "slow" / "1" / "model.onnx", repeats=2000)
    limits = "[defaults]\ninstances = 1\n[models.slow.limits]\nmax_batch_rows = 1\n"
    (models / "deployments.toml").write_text(limits)
    with serving(models, command=(SCRIPT,), BONSAI_READ_SECONDS="1") as server:
        server.wait_until("/v2/models/slow/ready")
        yield Carrier(server)


def test_a_wall_clock_that_jumps_changes_nothing(jumping: Carrier, connect: Connect) -> None:
    wire = connect(jumping)
    for n in range(100):
        reply = wire.send(infer(n, X_Request_Timeout_Ms="5000")).reply()
        assert (reply.status, reply.json()["id"]) == (200, str(n))
        total = next(part for part in reply.headers["server-timing"].split(", ") if part.startswith("total"))
        assert 0 <= float(total.partition("dur=")[2]) < 5000
    assert wire.send(infer(1, "slow", [0.5] * 512, X_Request_Timeout_Ms="3")).reply().status in (503, 504)
    unfinished = connect(jumping).send(request()[:-5])
    begun = time.monotonic()
    assert unfinished.reply().status == 408
    assert 0.9 < time.monotonic() - begun < 4
