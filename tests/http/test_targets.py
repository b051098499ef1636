"""Methods, paths and queries."""

import pytest

from tests.http.carriers import Carrier, only_protocol
from tests.http.conftest import Connect
from tests.http.wire import Reply, infer, request

TARGETS = {
    "/predict": 200,
    "/predict?": 200,
    "/predict?a=b&c=%00": 400,
    "/%70redict": 200,
    "/predic%74?": 200,
    "/predic%74?x": 400,
    "/predict/": 404,
    "/predict%20": 404,
    "/predict%3Fx": 404,
    "//predict": 404,
    "/./predict": 404,
    "/Predict": 404,
    "/predict;a": 404,
    "/": 405,
    "/%": 404,
    "/%zz": 404,
    "/%c3%28": 404,
    "/v2/models/fast": 405,
    "/v2/models/fast/infer/": 404,
    "/v2/models//infer": 404,
    "http://localhost/predict": 200,
    "http://localhost:80/predict?": 200,
    "http://localhost:80/predict?x": 400,
    "HTTP://LOCALHOST/nope": 404,
}


@pytest.mark.parametrize(("target", "status"), TARGETS.items(), ids=TARGETS)
def test_a_target_is_answered_by_whom_it_names(target: str, status: int, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for _ in range(2):
        assert wire.send(request(target=target)).reply().status == status
    assert wire.send(infer(1)).reply().status == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v2/models/f%61st/infer", 200),
        ("/v2/models/fast/versions/1/infer?q", 200),
        ("/v2/models/fast/versions/%31/infer", 200),
        ("/v2/models/..%2f..%2fetc%2fpasswd/infer", 404),
        ("/v2/models/%2e%2e/infer", 404),
        ("/v2/models/%00/infer", 404),
        ("/v2/models/%ff/infer", 404),
        ("/v2/models/cats/infer", 404),
    ],
)
def test_an_infer_path_names_the_model(target: str, status: int, carrier: Carrier, connect: Connect) -> None:
    raw = infer(1).replace(b"/v2/models/fast/infer", target.encode())
    assert connect(carrier).send(raw).reply().status == status


@pytest.mark.parametrize("target", ["/predict", "/v2/models/fast/infer"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_another_method_is_405(method: str, target: str, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    for body in (b"", b"", b"x" * 100):
        reply = wire.send(request(body, method=method, target=target)).reply(method)
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
        assert int(reply.headers["content-length"]) > 0
    assert wire.send(infer(1)).reply().status == 200


@pytest.mark.parametrize("target", ["/livez", "/nope"])
def test_head_has_no_body(target: str, carrier: Carrier, connect: Connect) -> None:
    wire = connect(carrier)
    asked = wire.send(request(b"", method="GET", target=target)).reply()
    told = wire.send(request(b"", method="HEAD", target=target)).reply("HEAD")
    assert (told.status, told.body) == (asked.status, b"")
    assert told.headers["content-length"] == asked.headers["content-length"]
    assert wire.send(infer(1)).reply().status == 200


STRANGE = {
    "no path": ("PUT http://localhost HTTP/1.1", 405),
    "no path, a query": ("PUT http://localhost?x HTTP/1.1", 405),
    "asterisk": ("OPTIONS * HTTP/1.1", 400),
    "authority": ("CONNECT test:80 HTTP/1.1", 400),
    "another host": ("POST http://evil.example/predict HTTP/1.1", 403),
    "another host, elsewhere": ("GET http://evil.example/v2 HTTP/1.1", 403),
    "somebody in the authority": ("POST http://localhost@evil.example/predict HTTP/1.1", 403),
    "no target": ("GET HTTP/1.1", 400),
    "relative": ("GET predict HTTP/1.1", 400),
    "another scheme": ("GET ftp://test/predict HTTP/1.1", 400),
    "fragment": ("GET /predict#x HTTP/1.1", 400),
    "not ascii": ("GET /é HTTP/1.1", 400),
    "NUL": ("GET /\0 HTTP/1.1", 400),
    "space": ("GET /a b HTTP/1.1", 400),
    "connect to a path": ("CONNECT /predict HTTP/1.1", 405),
}


@only_protocol("stock uvicorn answers in text/plain, or fails on targets without a path")
@pytest.mark.parametrize(("line", "status"), STRANGE.values(), ids=STRANGE)
def test_a_strange_target_is_answered(line: str, status: int, carrier: Carrier, connect: Connect) -> None:
    reply: Reply = connect(carrier).send(f"{line}\r\nHost: localhost\r\n\r\n".encode("latin-1")).reply()
    assert reply.status == status
    assert reply.error
