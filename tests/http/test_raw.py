"""Raw bodies and their query over both carriers."""

import io

import numpy as np

from tests.http.carriers import Carrier
from tests.http.conftest import Connect
from tests.http.wire import BODY, request

NPY = "application/x-npy"


def saved(rows: int, width: int = 4) -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(rows * width, dtype=np.float32).reshape(rows, width))
    return file.getvalue()


def array(body: bytes) -> np.ndarray:
    return np.load(io.BytesIO(body), allow_pickle=False)


def test_an_array_goes_both_ways_whole_or_in_chunks(carrier: Carrier, connect: Connect) -> None:
    wire, body = connect(carrier), saved(2)
    headers = {"Content_Type": NPY, "Accept": NPY}
    for raw in (request(body, **headers), request(body, **headers), request(chunks=[body[:50], body[50:]], **headers)):
        reply = wire.send(raw).reply()
        assert (reply.status, reply.headers["content-type"]) == (200, NPY), reply.body
        assert array(reply.body).shape == (2, 3)


def test_heads_that_differ_by_their_query_alone_are_different(carrier: Carrier, connect: Connect) -> None:
    wire, body = connect(carrier), saved(1)
    for _ in range(2):
        for query, status in (
            ("?model=fast", 200),
            ("?model=cats", 404),
            ("?model=wide", 400),
            ("?model", 400),
            ("", 200),
        ):
            reply = wire.send(request(body, target=f"/predict{query}", Content_Type=NPY)).reply()
            assert reply.status == status, (query, reply.body)


def test_heads_that_differ_by_what_they_accept_are_different(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for _ in range(2):
        for accept in (NPY, "application/json", NPY):
            reply = wire.send(request(BODY, Accept=accept)).reply()
            assert (reply.status, reply.headers["content-type"]) == (200, accept)


def test_a_wrong_query_is_refused_before_its_body(carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for _ in range(2):
        reply = wire.send(request(saved(1), target="/predict?top_k=1&top_k=1", Content_Type=NPY)).reply()
        assert (reply.status, reply.error) == (400, "query.top_k: expected it once, got it twice")
    assert wire.send(request()).reply().status == 200


def test_a_large_array_goes_both_ways(carrier: Carrier, connect: Connect) -> None:
    body = saved(8, 100_000)
    reply = connect(carrier).send(request(body, target="/predict?model=wide", Content_Type=NPY, Accept=NPY)).reply()
    assert (reply.status, reply.body) == (200, body)


def test_a_medium_that_no_input_declares_is_415(carrier: Carrier, connect: Connect) -> None:
    reply = connect(carrier).send(request(b"hello", Content_Type="text/plain")).reply()
    assert reply.status == 415
    assert reply.error.startswith("content-type: expected one of application/json, application/x-npy for input 'x'")
