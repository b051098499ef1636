"""The fast path: plain requests that arrived together are read, run and answered as one.

Around a small model, what Python does for a request takes several times as long as the request's part of the run
(docs/decisions/0006). A plain request has rows for a model's only input, in JSON or as a raw tensor, and asks for
nothing but the outputs (app/protocol/plain.py); its model runs on the event loop's thread. Everything that is not
plain, and whatever goes wrong here before an answer is there, is left to the ordinary way, which knows all cases and
says what is wrong.
"""

import random
from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from app.access.bucket import Bottomless
from app.api.answer_headers import SERVER_TIMING, answer_headers
from app.api.connections import Arrival, Connection
from app.api.direct import Direct
from app.api.inference import Inference
from app.api.status import Answer
from app.dataplane import DataPlane
from app.errors import BonsaiError
from app.protocol.json_tensors import SMALL
from app.protocol.messages import Inputs, Outputs, ServedModel
from app.protocol.plain import Bodies, Form, Plain
from app.telemetry.answers import RequestMetrics


class NotPlain(BonsaiError):
    """A request for the ordinary way."""


class Express(Protocol):
    """What runs a model on this thread, past the queue."""

    def room(self) -> int:
        """Rows that may run now; 0 where something waits."""

    def run(self, inputs: Inputs, rows: int, started: float, /) -> Outputs:
        """Runs so many rows that were put together at the instant `started`. Raises what the model raises."""


class FastPath:
    """Handles what has arrived in one turn of the event loop."""

    def __init__(self, inference: Inference, dataplane: DataPlane, requests: RequestMetrics) -> None:
        self._inference = inference
        self._requests = requests
        self._dataplane = dataplane
        self._clock = dataplane.clock

    def handle(self, arrived: Sequence[Arrival]) -> None:
        """Handles requests that have come whole, unless their clients have gone since."""
        since = self._clock()
        lanes, others = self._read(arrived, since)
        for lane in lanes:
            self._run(lane, since)
        for connection, direct, body in others:  # behind the plain ones: a model that has work would not take those
            connection.infer(direct, body)

    def _read(self, arrived: Sequence[Arrival], now: float) -> tuple[Iterable["_Lane"], Sequence[Arrival]]:
        """The plain requests in their lanes, with their inputs read, and all others."""
        paid = _paid(arrived, now)
        lanes: dict[Hashable, _Lane] = {}
        others: list[Arrival] = []
        for arrival in arrived:
            connection, direct, body = arrival
            form = direct.head.plain
            bucket = direct.head.caller.bucket
            try:
                if bucket not in paid or form is None or len(body) > SMALL or direct is not connection.direct:
                    raise NotPlain
                plain = form.read(body)
                key = form.rows, plain.model, plain.version
                lane = lanes.get(key)
                if lane is None:
                    lane = lanes[key] = self._lane(form, plain, lanes)
                rows = lane.read(plain.inputs)
                count = len(rows)
                if not 0 < count <= lane.room:
                    raise NotPlain
                lane.room -= count
                lane.rows += rows
                lane.members.append((connection, direct, body, plain.asks, count))
            except Exception:  # noqa: BLE001 - boundary: the ordinary way says what is wrong; others wait
                if bucket in paid:
                    bucket.give_back()
                others.append(arrival)
        return [lane for lane in dict.fromkeys(lanes.values()) if lane.members], others

    def _lane(self, form: Form, plain: Plain, lanes: Mapping[Hashable, "_Lane"]) -> "_Lane":
        """The lane of the model version that a request names: one of those that are there, where another request of the
        form has named it otherwise. Raises what says that there is none."""
        model = self._dataplane.acquire(plain.model, None if plain.version is None else str(plain.version))
        for lane in lanes.values():
            if lane.served is model.served and lane.form.rows is form.rows:
                return lane
        return _Lane(model.served, model.express, form)

    def _run(self, lane: "_Lane", since: float) -> None:
        """Runs what has been read since then, and answers it."""
        try:
            assert lane.express is not None
            assert lane.plain_rows is not None
            outputs = lane.express.run(lane.plain_rows.inputs(lane.rows), len(lane.rows), self._clock())
            bodies = lane.plain_rows.bodies(outputs)
        except Exception:  # noqa: BLE001 - boundary: run again the ordinary way, only the one whose input it was fails
            lane.give_back()
            for connection, direct, body, *_ in lane.members:
                connection.infer(direct, body)
            return
        self._answer(lane, outputs, bodies, since)

    def _answer(self, lane: "_Lane", outputs: Outputs, bodies: Bodies, since: float) -> None:
        """Answers what has been read since then, and run."""
        served, inference, clock = lane.served, self._inference, self._clock
        headers, length, slow = answer_headers(served, bodies.media_type), None, inference.log_seconds
        began, joined, computed = outputs.started, outputs.joined, outputs.computed
        reading, compute = began - since, 1e3 * (computed - began)
        first_id = random.getrandbits(63)
        points: list[float] = []
        stop = 0
        for connection, direct, _, asks, rows in lane.members:
            start, stop = stop, stop + rows
            received, read = direct.received, direct.read
            # They waited for each other before they were read: that is time in the queue, not of the reading.
            queue = 1e3 * (since - read)
            try:
                body, json_length = bodies.of(asks, start, stop, queue, 1e3 * (computed - received))
                written = clock()
                points += (received, read, read + reading, began, joined, computed, written)
                total, decode = written - received, read - received + reading
                timing = SERVER_TIMING % (1e3 * decode, queue, compute, 1e3 * (written - computed), 1e3 * total)
                request_id = direct.head.request_id or b"%016x" % (first_id + start)
                if total >= slow:
                    inference.log_good(direct.head, request_id, served, total)
                if json_length != length:
                    headers, length = answer_headers(served, bodies.media_type, None, json_length), json_length
                connection.answer(Answer(200, headers, body, request_id, timing))
            except Exception as fault:  # noqa: BLE001 - boundary: requests of other connections are answered behind it
                connection.fail(direct, fault)
        self._requests.answered(served.name, served.version, points)


def _paid(arrived: Sequence[Arrival], now: float) -> Container[Bottomless]:
    """The buckets that had a token for each of their callers' requests, and have given them."""
    asked: dict[Bottomless, int] = {}
    for _, direct, _ in arrived:
        bucket = direct.head.caller.bucket
        asked[bucket] = asked.get(bucket, 0) + 1
    for bucket, count in tuple(asked.items()):
        if not bucket.takes(count, now):
            del asked[bucket]
    return asked


class _Lane:
    """Plain requests of one turn, of one form and to one model version."""

    __slots__ = ("express", "form", "members", "plain_rows", "read", "room", "rows", "served")

    def __init__(self, served: ServedModel, express: Express | None, form: Form) -> None:
        """`express` is None where runs do not happen on the loop's thread."""
        self.served = served
        self.express = express
        self.form = form
        self.plain_rows = None if express is None else form.rows(served)
        self.room = 0 if express is None or self.plain_rows is None else express.room()
        """Rows that it takes beside those of its members."""
        self.read = self.plain_rows.read if self.plain_rows is not None and self.room else _no_rows
        self.rows: list[Any] = []
        """Those of all members, in order."""
        self.members: list[tuple[Connection, Direct, bytes, Any, int]] = []
        """With what each asks, and how many rows it has."""

    def give_back(self) -> None:
        """The members have not been answered: the ordinary way counts them anew."""
        for _, direct, *_ in self.members:
            direct.head.caller.bucket.give_back()


def _no_rows(_: Any) -> list[Any]:
    return []
