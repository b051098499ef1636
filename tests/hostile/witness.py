"""What must hold beside and after a hostile request."""

import threading
from pathlib import Path

from tests.hostile.case import INFER, Case
from tests.http.carriers import Carrier
from tests.http.wire import Reply, Wire, infer, request

_GOOD = request(b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}', target=INFER)
_LIVE = request(b"", method="GET", target="/v2/health/live")
_SECRETS = ("Traceback", "/tmp/", "/home/", "/usr/", "site-packages", ".py", " at 0x", "onnxruntime")
LONGEST_MESSAGE = 1000
PAUSE_SECONDS = 0.005


class Witness:
    """A server under attack, and a neighbour who asks it all the while."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self.ended = threading.Event()
        self.answered = 0
        self.faults: list[str] = []
        self._expected = self._ask().json()["outputs"]
        self.memory_at_first = memory(carrier)

    def keep_asking(self) -> None:
        """The neighbour: good requests, one after the other, until the end."""
        wire = Wire(self.carrier.url)
        while not self.ended.wait(PAUSE_SECONDS):
            try:
                reply = wire.send(infer(self.answered, "m")).reply()
                if reply.status != 200 or reply.json() != self._answer(self.answered):
                    self.faults.append(f"{reply.status} {reply.body!r}")
                self.answered += 1
            except Exception as error:  # noqa: BLE001 - told to the test that is running
                self.faults.append(repr(error))
                wire = Wire(self.carrier.url)
        wire.close()

    def assert_unharmed(self) -> None:
        """It is live, answers somebody new, and has answered the neighbour rightly."""
        assert self._ask(_LIVE).status == 200
        assert self._ask().json()["outputs"] == self._expected
        assert not self.faults, self.faults

    def _ask(self, sent: bytes = _GOOD) -> Reply:
        wire = Wire(self.carrier.url)
        reply = wire.send(sent).reply()
        wire.close()
        return reply

    def _answer(self, identity: int) -> object:
        return {"model_name": "m", "model_version": "1", "id": str(identity), "outputs": self._expected}


def memory(carrier: Carrier) -> float:
    """Megabytes of memory that the server has."""
    status = Path(f"/proc/{carrier.server.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def assert_answered(case: Case, reply: Reply) -> None:
    """The answer is the one that the case expects, in the form that all answers have."""
    assert reply.status == case.status, (reply.status, reply.body[:500])
    assert int(reply.headers["content-length"]) < 1 << 20
    assert ("allow" in reply.headers) == (case.status == 405)
    assert ("retry-after" in reply.headers) == (case.status in (429, 503))
    if case.method == "HEAD":
        return
    if case.status == 200:
        assert case.says in reply.body.decode("latin-1")
        return
    assert reply.headers["content-type"] == "application/json"
    assert case.says in reply.error
    assert len(reply.error) < LONGEST_MESSAGE
    assert reply.error.isprintable()
    assert not [secret for secret in _SECRETS if secret in reply.error], reply.error


def assert_goes_on_or_ends(reply: Reply, wire: Wire) -> None:
    """The connection answers the next request, or ends as its answer said."""
    if reply.headers.get("connection") == "close":
        wire.assert_ended()
    else:
        assert wire.send(_GOOD).reply().status == 200
