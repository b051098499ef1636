"""Holes that servers of this kind have had, by class, each closed here by design.

Who may reach which door, external data of a graph and operators that take all memory have suites of their own.
"""

import gzip
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from onnx import TensorProto

from tests import graphs
from tests.hostile.witness import memory
from tests.http.carriers import COMMANDS, Carrier, carrying
from tests.http.wire import Wire, infer, request
from tests.keys import KEY, ONLY_ADMIN, WITH_KEY
from tests.serving import serving, wait_for

WIDE = 4096
QUICK = 'default_model = "m"\n[defaults]\ninstances = 1\nthreads = 1\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carrier]:
    """m: x [N, 4] -> y [N, 3]. echo: x [N, 4], text: strings, each as it is.
    raises: fails on what is not 0 to 3. outside: a link to a model that is not in the repository."""
    folder = tmp_path_factory.mktemp("models")
    secret = tmp_path_factory.mktemp("secret")
    graphs.linear(folder / "m" / "1" / "model.onnx")
    graphs.identity(folder / "echo" / "1" / "model.onnx", TensorProto.FLOAT)
    graphs.identity(folder / "text" / "1" / "model.onnx", TensorProto.STRING)
    graphs.refuses_negative(folder / "raises" / "1" / "model.onnx")
    graphs.linear(secret / "1" / "model.onnx")
    (folder / "outside").symlink_to(secret)
    (folder / "deployments.toml").write_text(QUICK)
    state = tmp_path_factory.mktemp("state")
    with serving(folder, BONSAI_STATE=str(state), BONSAI_KEYS=ONLY_ADMIN) as running:
        yield Carrier(running)


def post(server: Carrier, target: str, document: object, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}{target}", json=document, headers=WITH_KEY | headers, timeout=30)


def test_framing_crash_by_tiny_chunks(server: Carrier) -> None:
    body = json.dumps({"inputs": [[1, 2, 3, 4]]}).encode().ljust(60_000)
    for size, status in ((60_000, 200), (70_000, 413)):
        wire = Wire(server.url).send(request(chunks=[b"%c" % byte for byte in body.ljust(size)]))
        assert wire.reply().status == status
        wire.close()


@pytest.mark.parametrize(
    "shape", [[2**62, 64], [2**32, 2**32], [2**61, 8], [2**63 - 1, 2], [2**31, 2**31, 4], [2**62 + 1, 4]]
)
def test_integer_overflow_in_shapes(shape: list[int], server: Carrier) -> None:
    """The product of each is small, or 0, in 64 bits."""
    before = memory(server)
    for tensor, raw in (({"data": [1, 2, 3, 4]}, b""), ({"parameters": {"binary_data_size": 16}}, bytes(16))):
        text = json.dumps({"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", **tensor}]}).encode()
        length = {"inference-header-content-length": str(len(text))} if raw else {}
        answer = httpx.post(f"{server.url}/v2/models/echo/infer", content=text + raw, headers=length)
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("inputs[0].data")
    assert memory(server) - before < 5


def test_internals_leaked_in_errors(server: Carrier) -> None:
    """The log has what the answer has not."""
    answer = post(server, "/predict", {"model": "raises", "inputs": [[0, 1, 2, 99]]})
    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    for internal in ("Gather", "indices", "/", "0x", "ONNXRuntimeError", "Traceback", ".cc", ".py"):
        assert internal not in answer.json()["error"]
    wait_for(lambda: any("Gather" in json.dumps(log) for log in server.server.logs), "the log to say what happened")
    for name, value in answer.headers.items():
        assert "python" not in value.lower(), name
        assert "uvicorn" not in value.lower(), name


@pytest.mark.parametrize(
    "name", ["outside", "..%2fsecret", "m%2f..%2foutside", "%2e%2e%2foutside", "outside%00", ".%2foutside"]
)
def test_path_traversal_in_model_names(name: str, server: Carrier) -> None:
    for target in (
        f"/v2/models/{name}/infer",
        f"/v2/repository/models/{name}/load",
        f"/v2/repository/models/{name}/unload",
    ):
        wire = Wire(server.url).send(
            request(b"{}" if "repository" in target else infer(1).split(b"\r\n\r\n")[1], target=target, X_API_Key=KEY)
        )
        assert wire.reply().status == 404
        wire.close()
    assert "outside" not in httpx.get(f"{server.url}/v2/models").json()["models"]


def test_server_side_request_forgery(server: Carrier) -> None:
    """A listener that is named wherever a request has room for a string; nobody comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.3)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/model.onnx"
        tensor = {
            "name": url,
            "shape": [1, 4],
            "datatype": url,
            "data": [url] * 4,
            "parameters": {"shared_memory_region": url},
        }
        strings = {"name": "x", "shape": [1, 4], "datatype": "BYTES", "data": [url] * 4, "parameters": {"url": url}}
        names = ("referer", "x-forwarded-host", "x-original-url", "x-request-id", "forwarded", "link")
        headers = dict.fromkeys(names, url)
        for target, document in (
            ("/predict", {"model": url, "inputs": [[1, 2, 3, 4]]}),
            ("/predict", {"model": "text", "inputs": [[url] * 4]}),
            ("/predict", {"version": url, "inputs": url, "parameters": {"url": url}}),
            (
                "/v2/models/text/infer",
                {"id": url, "inputs": [tensor], "outputs": [{"name": url}], "parameters": {"a": url}},
            ),
            ("/v2/models/text/infer", {"id": url, "inputs": [strings], "parameters": {"callback": url}}),
            ("/v2/repository/models/m/load", {"parameters": {"config": json.dumps({"url": url})}}),
            ("/v2/repository/models/m/load", {"parameters": {"url": url}}),
            ("/v2/repository/models/m/load", {"parameters": {f"file:{url}": url}}),
            (f"/v2/models/{url.replace('/', '%2f')}/infer", {"inputs": []}),
            (f"/predict?model={url}&url={url}", {"inputs": [[1, 2, 3, 4]]}),
        ):
            post(server, target, document, **headers)
        absolute = Wire(server.url).send(request(target=url))  # as a proxy would be asked
        assert absolute.reply().status == 404
        absolute.close()
        with pytest.raises(TimeoutError):
            listener.accept()


def test_multipart_parsing(server: Carrier) -> None:
    """No body is parsed as multipart, and what could do it is not even loaded."""
    for boundary in ("b", "-" * 60_000, "", "\\", '"'):
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        for target in ("/predict", "/v2/models/m/infer"):
            body = b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n" * 1000
            assert httpx.post(f"{server.url}{target}", content=body, headers=headers).status_code == 415
    loads = "import sys, app.main, app.server; sys.exit(bool({'multipart', 'python_multipart'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-P", "-c", loads]).returncode == 0


@pytest.mark.parametrize(
    "given", ["bytes=0-0", f"bytes={'0-,' * 5000}0-", "bytes=-1", "bytes=9-1", "bytes=0-99999999999999999999"]
)
def test_range_parsing(given: str, server: Carrier) -> None:
    for path in ("/openapi.json", "/docs", "/metrics", "/v2"):
        answer = httpx.get(f"{server.url}{path}", headers={"range": given})
        assert answer.status_code == 200
        assert "content-range" not in answer.headers
        assert len(answer.content) > 1


SMUGGLED = b"POST /v2/repository/models/m/unload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
SMUGGLED += b"X-API-Key: %b\r\n\r\n" % KEY.encode()
AMBIGUOUS = {
    "CL and TE": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two CL": b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two TE": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "TE with a tab": b"Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n",
    "TE behind a bare LF": b"X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("fields", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_request_smuggling(fields: bytes, server: Carrier) -> None:
    """Nothing behind an ambiguous request is read: the model that it would unload is still there."""
    wire = Wire(server.url).send(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + fields + SMUGGLED)
    assert wire.reply().status in (400, 501)
    wire.assert_ended()
    wire.close()
    assert post(server, "/predict", {"inputs": [[1, 2, 3, 4]]}).status_code == 200


def test_decompression_bombs(server: Carrier) -> None:
    """Twenty at once, of half a gigabyte each."""
    bomb = gzip.compress(bytes(1 << 29), 1)
    before = memory(server)
    with ThreadPoolExecutor(20) as clients:
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        statuses = list(
            clients.map(
                lambda _: httpx.post(f"{server.url}/predict", content=bomb, headers=headers, timeout=60).status_code,
                range(20),
            )
        )
    assert statuses == [413] * 20
    assert memory(server) - before < 120
    assert post(server, "/predict", {"inputs": [[1, 2, 3, 4]]}).status_code == 200


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":[', b'{"inputs":['])
@pytest.mark.parametrize(
    "target", ["/predict", "/v2/models/m/infer", "/v2/repository/index", "/v2/repository/models/m/load"]
)
def test_deep_json(opening: bytes, target: str, server: Carrier) -> None:
    for depth in (1_000, 100_000, 1_000_000):
        answer = httpx.post(f"{server.url}{target}", content=b'{"inputs":' + opening * depth, headers=WITH_KEY)
        assert answer.status_code == 400


def test_huge_json(server: Carrier) -> None:
    """Just under the limit of a body: wrong at its end, of one kind of value each."""
    most = 16 << 20
    for piece in (b"0,", b'"",', b"[],", b'"\\u0000",', b"1e9,"):
        body = b'{"inputs":[' + piece * ((most - 20) // len(piece)) + b"x]}"
        assert httpx.post(f"{server.url}/predict", content=body, timeout=30).status_code == 400
    assert httpx.get(f"{server.url}/v2/health/live").status_code == 200


@pytest.mark.parametrize("carrier", COMMANDS)
def test_arena_memory_that_is_never_returned(carrier: str, models: Path, state: Path) -> None:
    """Requests that are large and run in parts: what one took is there for the next."""
    rows = 900
    graphs.identity(models / "wide" / "1" / "model.onnx", TensorProto.FLOAT, ("N", WIDE))
    (models / "deployments.toml").write_text("[defaults]\ninstances = 1\nthreads = 1\n")
    with carrying(carrier, models, state) as server:
        sizes = []
        for count in (rows, 1) * 8:
            sent = request(bytes(4 * WIDE * count), target="/v2/models/wide/infer", Inference_Header_Content_Length="0")
            wire = Wire(server.url).send(sent)
            assert wire.reply().status == 200
            wire.close()
            sizes.append(memory(server))
    # The allocator keeps some of it, now more and now less; what one sends and gets must not stay for each.
    assert min(sizes[8:]) - max(sizes[:4]) < 2 * 4 * WIDE * rows / (1 << 20), sizes


def test_cache_mix_ups(server: Carrier) -> None:
    """Heads that are the same byte for byte, with the same ids: everybody gets the answer to their own values."""

    def ask(client: int) -> bool:
        wire = Wire(server.url)
        for n in range(40):
            values = [client, n, client * n, 0.5]
            if (
                wire.send(infer("same", "echo", values, X_Request_Id="same")).reply().json()["outputs"][0]["data"]
                != values
            ):
                return False
        wire.close()
        return True

    with ThreadPoolExecutor(16) as clients:
        assert all(clients.map(ask, range(1, 17)))


def test_cache_mix_ups_of_models_and_headers(server: Carrier) -> None:
    """What is remembered of a head is of that head alone: dialect, coding, model, method and time-out."""
    wire = Wire(server.url)
    plain, packed = (
        json.dumps({"inputs": [[1, 2, 3, 4]]}).encode(),
        gzip.compress(json.dumps({"inputs": [[1, 2, 3, 4]]}).encode()),
    )
    expected = {
        request(plain): 200,
        request(packed, Content_Encoding="gzip"): 200,
        request(plain, Content_Encoding="gzip"): 400,
        request(packed): 400,
        request(plain, method="PUT"): 405,
        request(plain, X_Request_Timeout_Ms="0"): 400,
        request(plain, Content_Type="text/csv"): 415,
        request(plain, target="/v2/models/m/infer"): 400,
        request(plain, target="/v2/models/nobody/infer"): 400,
        infer(1, "echo"): 200,
        infer(1, "nobody"): 404,
    }
    for _ in range(3):
        for sent, status in expected.items():
            assert wire.send(sent).reply().status == status, sent
    wire.close()
