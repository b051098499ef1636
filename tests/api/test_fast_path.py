"""Requests of several connections that come in one turn: by the fast path each gets what it would get by itself."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import Mock

import numpy as np
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from app.access.keys import Keys, digest_of
from app.api.connections import Common, Handle
from app.api.heads import Heads
from app.api.http_protocol import HttpProtocol
from app.protocol import native
from app.protocol.plain import Form
from tests import graphs
from tests.api.application import Application, running
from tests.api.conftest import LABELLED
from tests.api.inbox import asleep, inbox, one_by_one
from tests.api.transport import FakeTransport
from tests.api.world import chunk, exchange
from tests.http.wire import request
from tests.keys import KEY, WITH_KEY
from tests.metrics import value
from tests.publishing import publish

LENGTH = "Inference-Header-Content-Length"
MOVING = re.compile(rb"(date|x-request-id|server-timing): [^\r]*\r\n")
Reply = tuple[int, bytes, Any]


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """m is labelled, root answers NaN to negative values, picky fails on them, large takes long."""
    folder = tmp_path_factory.mktemp("fast")
    models, cache = folder / "models", folder / "cache"
    publish(models / "m" / "1", graphs.linear(folder / "m.onnx"), cache, outputs=(LABELLED,))
    publish(models / "root" / "1", graphs.square_root(folder / "root.onnx"), cache)
    publish(models / "picky" / "1", graphs.refuses_negative(folder / "picky.onnx"), cache)
    publish(models / "slow" / "1", graphs.slow(folder / "slow.onnx", 50, 256), cache)
    (models / "deployments.toml").write_text('schema_version = 1\ndefault_model = "m"\n')
    with running(models, folder / "state") as application:
        yield application


class Crowd:
    """Connections of one server."""

    def __init__(self, application: Application, size: int, handle: Handle | None = None, **headers: str) -> None:
        """`handle` is the fast path, unless another is given. Their heads are known from the start."""
        self._application = application
        self._headers = headers
        self.inference = application.parts.inference
        loop = application.run(_running_loop())
        entrance = application.parts.inbox if handle is None else inbox(handle)
        common = Common(self.inference, Heads(), entrance, asleep(), 10.0, 1000)
        config = uvicorn.Config(application.parts.app, interface="asgi3", ws="none", log_config=None)
        state = ServerState()
        self.protocols = [
            HttpProtocol(common=common, config=config, server_state=state, app_state={}, _loop=loop)
            for _ in range(size)
        ]
        for protocol in self.protocols:
            protocol.connection_made(FakeTransport())

    def ask(self, *asked: "Asked", then: Callable[[], None] = lambda: None) -> list[Reply]:
        """The answers to what comes in one turn, one request a connection; `then` is called before the turn ends."""
        return self._application.run(self._ask([whole(each) for each in asked], then))

    async def _ask(self, wholes: Sequence["Whole"], then: Callable[[], None]) -> list[Reply]:
        asked = self.protocols[: len(wholes)]
        requests = [request(each.body, target=each.target, **self._headers, **each.headers) for each in wholes]
        for protocol, raw, each in zip(asked, requests, wholes, strict=True):
            await self._make_known(protocol, raw, raw[: -4 - len(each.body)])
        for protocol, raw in zip(asked, requests, strict=True):
            protocol.data_received(raw)
        then()
        for protocol in asked:
            await asyncio.wait_for(_answered(protocol), 20)
        return [reply(protocol.transport.written) for protocol in asked]

    async def _make_known(self, protocol: HttpProtocol, raw: bytes, head: bytes) -> None:
        """By asking until it is."""
        while head not in protocol._heads:
            protocol.data_received(raw)
            await _answered(protocol)
        protocol.transport.written = b""


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def _answered(protocol: HttpProtocol) -> None:
    while protocol.direct is not None:  # noqa: ASYNC110 - a protocol has no event to wait for
        await asyncio.sleep(0)


def reply(written: bytes) -> Reply:
    """Status, header lines and document, without what differs from time to time."""
    if not written:
        return 0, b"", None
    head, _, body = written.partition(b"\r\n\r\n")
    lines = MOVING.sub(b"", head + b"\r\n")
    return int(head[9:12]), re.sub(rb"\r\ncontent-length: \d+\r\n", b"\r\n", lines), document_of(body)


def document_of(body: bytes) -> Any:
    """The raw bytes where raw tensors follow the JSON."""
    try:
        document = json.loads(body)
    except ValueError:
        return body
    document.pop("timing_ms", None)
    return document


async def asked_by_asgi(application: Application, asked: Sequence["Asked"]) -> list[tuple[int, Any]]:
    """Status and document of what comes in one turn under a foreign server."""
    door = application.parts.app
    sent = await asyncio.gather(*(exchanged(door, whole(each)) for each in asked))
    return [(start["status"], document_of(content["body"])) for start, content in sent]


async def exchanged(door: Any, each: "Whole") -> list[Any]:
    fields = [(name.lower().encode(), text.encode()) for name, text in each.headers.items()]
    return await exchange(door, chunk(each.body), path=each.target, headers=fields)


class Whole(NamedTuple):
    """A request to another path than /predict."""

    body: bytes
    target: str = "/predict"
    headers: Mapping[str, str] = MappingProxyType({})


Asked = bytes | Whole
"""A body for /predict, or a whole request."""


def whole(asked: Asked) -> Whole:
    return asked if isinstance(asked, Whole) else Whole(asked)


def body(inputs: Any, **members: Any) -> bytes:
    return json.dumps({"inputs": inputs, **members}).encode()


def infer(values: Any, path: str = "m", datatype: str = "FP32", cut: int = 0, **members: Any) -> Whole:
    """An infer request with its values as a raw tensor, and raw tensors wanted; `cut` bytes are missing at its end."""
    array = np.array(values, "<f4")
    raw = array.tobytes()
    tensor = {"name": "x", "shape": array.shape, "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    document = {"inputs": [tensor], "parameters": {"binary_data_output": True}} | members
    text = json.dumps(document).encode()
    return Whole((text + raw)[: len(text + raw) - cut], f"/v2/models/{path}/infer", {LENGTH: str(len(text))})


def flat(values: Any, path: str = "m", datatype: str = "FP32", data: Any = None, **members: Any) -> Whole:
    """An infer request with its values as a flat list, unless other data are given."""
    array = np.array(values, np.float32)
    data = array.ravel().tolist() if data is None else data
    tensor = {"name": "x", "shape": array.shape, "datatype": datatype, "data": data}
    return Whole(json.dumps({"inputs": [tensor], **members}).encode(), f"/v2/models/{path}/infer")


ROW = [1, 2, 3, 0.5]
FLAT = [
    flat([ROW]),
    flat([ROW, [3, 1, 0, 2]]),
    flat([[3, 1, 0, 2]], "m/versions/1"),
    flat([ROW], id="7"),
    flat([ROW], id='"%b" ä'),
    flat([[4, 9, 16, 25]], "root"),
    flat([[-4, 9, 16, 25]], "root"),
    flat([[3, 0, 0, 0]], "picky"),
]
RAW = [
    infer([ROW]),
    infer([[0, 1, 0, 0]]),
    infer([ROW, [3, 1, 0, 2]]),
    infer([[3, 1, 0, 2]], "m/versions/1"),
    infer([ROW], outputs=[{"name": "y"}]),
    infer([[-4, 9, 16, 25]], "root"),
    infer([[3, 0, 0, 0]], "picky"),
]
PLAIN = [
    body([ROW]),
    body([ROW, [0, 0, 0, 0]]),
    body([[3, 1, 0, 2]], model="m"),
    body([[3, 1, 0, 2]], model="m", version=1),
    body([[3, 1, 0, 2]], version="1"),
    body([[4, 9, 16, 25]], model="root"),
    body([[-4, 9, 16, 25]], model="root"),
    body([[3, 0, 0, 0]], model="picky"),
]
UNUSUAL = [
    body([[-9, 0, 0, 0]], model="picky"),
    body([ROW], parameters={"top_k": 2}),
    body([ROW], parameters={"timeout_ms": 5000}),
    body({"x": [ROW]}),
    body([]),
    body([[]]),
    body([[1, 2, 3]]),
    body([ROW, [1, 2, 3]]),
    body([["a", 2, 3, 4]]),
    body([[1e39, 2, 3, 4]]),
    body([ROW], model="nobody"),
    body([ROW], version=7),
    body([ROW], more=1),
    body([ROW] * 200),
    body([[0.5] * 256], model="slow"),
    b"[1]",
    b"{",
    b"\xff",
    b'{"inputs": [[1, 2, 3, ' + b"4" * 5000 + b"]]}",
    infer([[-9, 0, 0, 0]], "picky"),
    infer([ROW], id="7"),
    infer([ROW], parameters={}),
    infer([ROW], parameters={"binary_data_output": True, "priority": 1}),
    infer([ROW], parameters={"binary_data_output": True, "timeout": 5_000_000}),
    infer([ROW], outputs=[{"name": "y", "parameters": {"binary_data": False}}]),
    infer([ROW], outputs=[{"name": "z"}]),
    infer([ROW], datatype="INT32"),
    infer([ROW], cut=1),
    infer(ROW),
    infer([[1, 2, 3]]),
    infer(np.zeros((0, 4))),
    infer([ROW], "nobody"),
    infer([ROW], "m/versions/7"),
    infer([ROW] * 200),
    infer([[0.5] * 256], "slow"),
    flat([[-9, 0, 0, 0]], "picky"),
    flat([ROW], data=[ROW]),
    flat([ROW], data=[1, 2, 3]),
    flat([ROW], data=["1", 2, 3, 4]),
    flat([ROW], data=[1e39, 2, 3, 4]),
    flat([ROW], datatype="FP64"),
    flat([ROW], id="\n"),
    flat([ROW], id="7" * 300),
    flat([ROW], parameters={"priority": 1}),
    flat([ROW], parameters={"binary_data_output": True}),
    flat([ROW], outputs=[{"name": "y"}]),
    flat([ROW], outputs=[{"name": "z"}]),
    flat([ROW], more=1),
    flat(ROW),
    flat([[1, 2, 3]]),
    flat(np.zeros((0, 4))),
    flat([ROW], "nobody"),
    flat([ROW] * 200),
    flat([[0.5] * 256], "slow"),
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PLAIN * 2 + FLAT * 2 + RAW * 2 + UNUSUAL), min_size=1, max_size=12))
def test_in_company_a_request_gets_what_it_gets_by_itself(application: Application, asked: list[Asked]) -> None:
    together = Crowd(application, len(asked)).ask(*asked)
    alone = [Crowd(application, 1, one_by_one).ask(each)[0] for each in asked]
    assert together == alone


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PLAIN * 2 + FLAT * 2 + RAW * 2 + UNUSUAL), min_size=1, max_size=12))
def test_under_a_foreign_server_a_request_gets_the_same(application: Application, asked: list[Asked]) -> None:
    together = application.run(asked_by_asgi(application, asked))
    alone = [Crowd(application, 1, one_by_one).ask(each)[0] for each in asked]
    assert together == [(status, document) for status, _, document in alone]


def test_under_a_foreign_server_plain_requests_share_a_run_too(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application.parts.inference, "handle", None)
    before = application.get("/metrics").text
    replies = application.run(asked_by_asgi(application, PLAIN[:2] * 2))
    assert [status for status, _ in replies] == [200] * 4
    after = application.get("/metrics").text
    for name, count in (("bonsai_batch_rows_sum", 6), ("bonsai_batch_rows_count", 1)):
        assert value(after, name, model="m", version="1") == value(before, name, model="m", version="1") + count


@pytest.mark.parametrize("plain", [PLAIN[:5], FLAT[:5], RAW[:5]], ids=["native", "flat", "raw"])
def test_plain_requests_share_a_run_and_none_goes_the_ordinary_way(
    application: Application, monkeypatch: pytest.MonkeyPatch, plain: list[Asked]
) -> None:
    crowd = Crowd(application, 6)
    crowd.ask(*plain)  # their heads are known now
    monkeypatch.setattr(crowd.inference, "handle", None)
    before = application.get("/metrics").text
    replies = crowd.ask(*plain)
    assert [status for status, _, _ in replies] == [200] * 5
    after = application.get("/metrics").text

    def moved(name: str, **labels: str) -> float:
        return value(after, name, model="m", version="1", **labels) - value(
            before, name, model="m", version="1", **labels
        )

    assert moved("bonsai_batch_rows_sum") == 6
    assert moved("bonsai_batch_rows_count") == 1  # however they name the model
    assert sum(moved("bonsai_batches_total", reason=reason) for reason in ("idle", "full")) == 1
    assert moved("bonsai_requests_total", code="ok") == 5
    assert moved("bonsai_request_seconds_count") == 5


def test_those_of_each_form_share_a_run_of_their_own(application: Application) -> None:
    crowd = Crowd(application, 6)
    asked = [PLAIN[0], RAW[0], FLAT[0], PLAIN[1], RAW[2], FLAT[1]]
    crowd.ask(*asked)
    before = application.get("/metrics").text
    assert [status for status, _, _ in crowd.ask(*asked)] == [200] * 6
    after = application.get("/metrics").text
    for name, count in (("bonsai_batch_rows_sum", 9), ("bonsai_batch_rows_count", 3)):
        assert value(after, name, model="m", version="1") == value(before, name, model="m", version="1") + count


def test_other_json_before_raw_tensors_is_read_anew(application: Application) -> None:
    crowd = Crowd(application, 1)
    right, other = infer([ROW]), infer([ROW], outputs=[{"name": "y"}], parameters={"binary_data_output": False})
    wrong = Whole(right.body.replace(b'"x"', b'"z"'), right.target, right.headers)  # with the same head
    for asked, status in ((right, 200), (wrong, 400), (right, 200), (other, 200), (right, 200)):
        assert crowd.ask(asked)[0][0] == status


def test_an_answer_that_json_cannot_carry_is_its_own_requests_alone(application: Application) -> None:
    crowd = Crowd(application, 3)
    replies = crowd.ask(PLAIN[5], PLAIN[6], PLAIN[5])
    assert [status for status, _, _ in replies] == [200, 400, 200]
    failed = {"model": "root", "version": "1", "code": "not_representable"}
    before = value(application.get("/metrics").text, "bonsai_requests_total", **failed)
    crowd.ask(PLAIN[6])
    assert value(application.get("/metrics").text, "bonsai_requests_total", **failed) == before + 1


def test_a_client_that_has_gone_is_not_served_and_others_are(application: Application) -> None:
    crowd = Crowd(application, 3)
    crowd.ask(*[PLAIN[0]] * 3)
    before = value(application.get("/metrics").text, "bonsai_batch_rows_sum", model="m", version="1")
    replies = crowd.ask(*[PLAIN[0]] * 3, then=lambda: crowd.protocols[1].connection_lost(None))
    assert [status for status, _, _ in replies] == [200, 0, 200]
    assert value(application.get("/metrics").text, "bonsai_batch_rows_sum", model="m", version="1") == before + 2


def test_a_connection_that_fails_takes_no_other_along(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = Crowd(application, 3)
    crowd.ask(*[PLAIN[0]] * 3)

    def broken(_: bytes) -> None:
        raise RuntimeError("a fault of this server")

    monkeypatch.setattr(crowd.protocols[0].transport, "write", broken)
    replies = crowd.ask(*[PLAIN[0]] * 3)
    assert [status for status, _, _ in replies] == [0, 200, 200]
    assert crowd.protocols[0].transport.end == "abort"


def at_a_rate(models: Path, state: Path, burst: int) -> AbstractContextManager[Application]:
    """Only picky, and a key for `burst` requests; without it there is no rate."""
    publish(models / "picky" / "1", graphs.refuses_negative(models.parent / "picky.onnx"), state / "graphs")
    key = {"sha256": digest_of(KEY), "scopes": ["infer"], "requests_per_second": 0.001, "burst": burst}
    return running(models, state, keys=Keys.of({"robot": key, "anonymous": {"scopes": ["infer"]}}))


def test_each_request_is_counted_against_its_callers_rate(models: Path, state: Path) -> None:
    with at_a_rate(models, state, burst=7) as application:
        crowd = Crowd(application, 6, **WITH_KEY)
        crowd.ask(body([ROW]))  # three requests: two until the head is known
        replies = crowd.ask(*[body([ROW])] * 6)
        assert sorted(status for status, _, _ in replies) == [200] * 4 + [429] * 2


def test_a_caller_over_its_rate_does_not_keep_others_from_sharing_a_run(
    models: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at_a_rate(models, state, burst=5) as application:
        short, others = Crowd(application, 4, **WITH_KEY), Crowd(application, 3)
        short.ask(body([ROW]))  # three requests: two are left
        others.ask(*[body([ROW])] * 3)
        handled = Mock(wraps=application.parts.inference.handle)
        monkeypatch.setattr(application.parts.inference, "handle", handled)
        arrived = [(protocol, request(body([ROW]), **WITH_KEY)) for protocol in short.protocols]
        arrived += [(protocol, request(body([ROW]))) for protocol in others.protocols]
        replies = application.run(asked_together(arrived))
        assert sorted(replies[:4]) == [200] * 2 + [429] * 2
        assert replies[4:] == [200] * 3
        assert handled.call_count == 4


async def asked_together(arrived: Sequence[tuple[HttpProtocol, bytes]]) -> list[int]:
    """The statuses of what comes in one turn."""
    for protocol, raw in arrived:
        protocol.transport.written = b""
        protocol.data_received(raw)
    for protocol, _ in arrived:
        await asyncio.wait_for(_answered(protocol), 20)
    return [reply(protocol.transport.written)[0] for protocol, _ in arrived]


def test_a_request_that_goes_on_to_the_ordinary_way_is_counted_once(models: Path, state: Path) -> None:
    with at_a_rate(models, state, burst=7) as application:
        crowd = Crowd(application, 4, **WITH_KEY)
        crowd.ask(body([ROW], parameters={"timeout_ms": 5000}))  # three requests: two until the head is known
        replies = crowd.ask(*[body([ROW], parameters={"timeout_ms": 5000})] * 4)
        assert [status for status, _, _ in replies] == [200] * 4
        ((status, _, _),) = crowd.ask(body([ROW], parameters={"timeout_ms": 5000}))
        assert status == 429


def test_what_is_run_again_for_another_requests_fault_is_counted_once(models: Path, state: Path) -> None:
    with at_a_rate(models, state, burst=7) as application:
        crowd = Crowd(application, 4, **WITH_KEY)
        good, bad = body([[0.5, 1, 2, 3]]), body([[-15, 1, 2, 3]])  # of one length, so that they have one head
        crowd.ask(good)
        replies = crowd.ask(good, bad, good, good)
        assert [status for status, _, _ in replies] == [200, 500, 200, 200]


def test_a_server_that_drains_refuses(models: Path, state: Path) -> None:
    publish(models / "m" / "1", graphs.linear(models.parent / "m.onnx"), state / "graphs")
    with running(models, state) as application:
        crowd = Crowd(application, 2)
        crowd.ask(*[body([ROW])] * 2)
        application.parts.dataplane.drain()
        replies = crowd.ask(*[body([ROW])] * 2)
        assert [status for status, _, _ in replies] == [503, 503]


def test_requests_of_a_model_with_a_deadline_go_the_ordinary_way(models: Path, state: Path) -> None:
    publish(models / "m" / "1", graphs.linear(models.parent / "m.onnx"), state / "graphs")
    (models / "deployments.toml").write_text("schema_version = 1\n[defaults.limits]\nslo_ms = 5000\n")
    with running(models, state) as application:
        assert application.parts.repository.acquire("m", None).express is None
        replies = Crowd(application, 3).ask(*[body([ROW])] * 3)
        assert [status for status, _, _ in replies] == [200] * 3


def test_the_inputs_of_a_model_on_threads_are_not_read_twice(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = Form(Mock(wraps=native.PLAIN.read), rows=Mock())
    monkeypatch.setattr(native, "PLAIN", form)
    assert application.parts.repository.acquire("slow", None).express is None
    ((status, _, _),) = Crowd(application, 1).ask(body([[0.5] * 256], model="slow"))
    assert status == 200
    form.read.assert_called()
    form.rows.assert_not_called()
