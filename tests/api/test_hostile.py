"""Hostile and careless requests through the whole application: the status, the one error form, and a server that
goes on. What each dialect makes of a body is in tests/protocol; this is the class of it, through every layer."""

import json
from typing import Any

import httpx
import pytest

from tests.api.application import Application

GOOD = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
INFER = "/v2/models/m/infer"


def lives_on(application: Application) -> bool:
    """It is live, and a neighbour's good request is answered."""
    good = application.request("POST", INFER, json={"inputs": [GOOD]})
    return application.get("/v2/health/live").status_code == 200 and good.status_code == 200


def message(answer: httpx.Response) -> str:
    """The error; the body holds nothing else, and no path, address or traceback."""
    assert list(answer.json()) == ["error"]
    text: str = answer.json()["error"]
    for secret in ("Traceback", "/tmp/", "/home/", ".py", " at 0x"):
        assert secret not in text
    assert len(text) < 1000
    return text


def changed(**members: Any) -> Any:
    return {"inputs": [GOOD | members]}


INFERS = {
    "empty body": (b"", 400),
    "not json": (b"hello", 400),
    "truncated json": (b'{"inputs": [{"name"', 400),
    "json null": (None, 400),
    "no inputs": ({}, 400),
    "inputs empty": ({"inputs": []}, 400),
    "unknown input name": (changed(name="z"), 400),
    "extra input": ({"inputs": [GOOD, GOOD | {"name": "z"}]}, 400),
    "wrong datatype INT32": (changed(datatype="INT32"), 400),
    "negative dim": (changed(shape=[-1, 4]), 400),
    "zero batch": (changed(shape=[0, 4], data=[]), 200),
    "bool dim": (changed(shape=[True, 4]), 400),
    "string dim": (changed(shape=["1", 4]), 400),
    "wrong rank": (changed(shape=[4]), 400),
    "wrong rank, nested": (changed(shape=[1, 1, 4], data=[[[1, 2, 3, 4]]]), 400),
    "overflow shape 2^62 x 64": (changed(shape=[2**62, 64]), 400),
    "overflow shape without rows": (changed(shape=[0, 2**62], data=[]), 400),
    "overflow shape of many axes": (changed(shape=[2**62] * 300), 400),
    "dim > u64": (changed(shape=[2**64, 4]), 400),
    "dim > u64 without rows": (changed(shape=[0, 2**64], data=[]), 400),
    "huge but legal batch 1e9": (changed(shape=[10**9, 4]), 400),
    "data too few": (changed(data=[1, 2, 3]), 400),
    "data too many": (changed(data=[1, 2, 3, 4, 5]), 400),
    "ragged nested": (changed(data=[[1, 2], [3, 4, 5]]), 400),
    "data null": (changed(data=None), 400),
    "data bool in FP32": (changed(data=[True, 2, 3, 4]), 400),
    "NaN literal": (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', 400),
    "deep nesting 5000": (b'{"inputs": %s}' % (b"[" * 5000 + b"]" * 5000), 400),
    "deep nesting 200k": (b'{"inputs": %s' % (b"[" * 200_000), 400),
    "dup json keys": (b'{"id": "a", "id": "b", ' + json.dumps({"inputs": [GOOD]}).encode()[1:], 200),
    "unknown output": ({"inputs": [GOOD], "outputs": [{"name": "z"}]}, 400),
    "dup output": ({"inputs": [GOOD], "outputs": [{"name": "y"}, {"name": "y"}]}, 400),
    "outputs empty": ({"inputs": [GOOD], "outputs": []}, 200),
    "id not string": ({"inputs": [GOOD], "id": 7}, 400),
    "id with CRLF/NUL": ({"inputs": [GOOD], "id": "a\r\n\0"}, 400),
    "lone surrogate id": (b'{"id": "\\ud800", ' + json.dumps({"inputs": [GOOD]}).encode()[1:], 400),
    "params not object": ({"inputs": [GOOD], "parameters": 1}, 400),
    "params nested obj": ({"inputs": [GOOD], "parameters": {"a": {}}}, 400),
    "timeout string": ({"inputs": [GOOD], "parameters": {"timeout": "5"}}, 400),
    "timeout of 400 digits": ({"inputs": [GOOD], "parameters": {"timeout": 10**400}}, 400),
    "priority 3": ({"inputs": [GOOD], "parameters": {"priority": 3}}, 200),
    "priority 4": ({"inputs": [GOOD], "parameters": {"priority": 4}}, 400),
    "priority 2^63": ({"inputs": [GOOD], "parameters": {"priority": 2**63}}, 400),
    "sequence_id on stateless": ({"inputs": [GOOD], "parameters": {"sequence_id": 1}}, 400),
    "custom parameters": ({"inputs": [GOOD], "parameters": {"mine": 1}}, 200),
    "invalid utf8": (b'{"inputs": "\xff"}', 400),
    "utf8 BOM": (b"\xef\xbb\xbf" + json.dumps({"inputs": [GOOD]}).encode(), 400),
}


@pytest.mark.parametrize(("document", "status"), INFERS.values(), ids=INFERS)
def test_an_infer_body_gets_its_status(application: Application, document: Any, status: int) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = application.post(INFER, body)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert message(answer)
    assert lives_on(application)


def sized(size: Any, **members: Any) -> bytes:
    """The JSON of a request whose input lies behind it."""
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [tensor | members]}).encode()


ROW = bytes(16)
LENGTH = len(sized(16))
BINARY: dict[str, tuple[bytes, bytes, int | None, int]] = {
    "good": (sized(16), ROW, None, 200),
    "bin size > body": (sized(16), ROW[1:], None, 400),
    "bin trailing bytes": (sized(16), ROW + b"\0", None, 400),
    "bin size negative": (sized(-16), ROW, None, 400),
    "bin size 2^63": (sized(2**63), ROW, None, 400),
    "bin size a string": (sized("16"), ROW, None, 400),
    "bin size + data both": (sized(16, data=[1, 2, 3, 4]), ROW, None, 400),
    "bin zero batch": (sized(0, shape=[0, 4]), b"", None, 200),
    "bin overflow shape 2^62 x 64": (sized(16, shape=[2**62, 64]), ROW, None, 400),
    "NaN, with the answer in JSON": (sized(16), b"\xff" * 16, None, 400),
    "hdr len > body": (sized(16), ROW, LENGTH + 17, 400),
    "hdr len negative": (sized(16), ROW, -1, 400),
    "hdr len 99999999999": (sized(16), ROW, 99999999999, 400),
    "hdr len 2^63": (sized(16), ROW, 2**63, 400),
    "hdr len splits json": (sized(16), ROW, LENGTH - 1, 400),
    "hdr len into the tensor": (sized(16), ROW, LENGTH + 1, 400),
    "raw": (b"", ROW * 2, 0, 200),
    "raw, nothing": (b"", b"", 0, 200),
    "raw hdr=0 wrong size": (b"", ROW[1:], 0, 400),
    "raw hdr=0 json": (b" " * (33 - LENGTH % 16) + sized(16), b"", 0, 400),
}


@pytest.mark.parametrize(("text", "tensor", "length", "status"), BINARY.values(), ids=BINARY)
def test_a_binary_body_gets_its_status(
    application: Application, text: bytes, tensor: bytes, length: int | None, status: int
) -> None:
    """A length of None is the true one."""
    header = str(len(text) if length is None else length)
    given = {"inference-header-content-length": header, "content-type": "application/octet-stream"}
    answer = application.post(INFER, text + tensor, **given)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert message(answer)
    assert lives_on(application)


PREDICTS = {
    "priority 0": ({"inputs": [[1, 2, 3, 4]], "parameters": {"priority": 0}}, 200),
    "priority -1": ({"inputs": [[1, 2, 3, 4]], "parameters": {"priority": -1}}, 400),
    "priority 4": ({"inputs": [[1, 2, 3, 4]], "parameters": {"priority": 4}}, 400),
    "rows without columns": ({"inputs": [[], []]}, 400),
    "no rows": ({"inputs": []}, 200),
    "no rows of something else": ({"inputs": {"x": [[]]}}, 400),
    "top_k beyond the labels": ({"inputs": [[1, 2, 3, 4]], "parameters": {"top_k": 99}}, 200),
    "unknown model": ({"inputs": [], "model": "cats"}, 404),
    "model no name": ({"inputs": [], "model": "../m"}, 404),
    "unknown version": ({"inputs": [], "version": 7}, 404),
    "version as text": ({"inputs": [], "version": "1"}, 200),
    "version 0": ({"inputs": [], "version": 0}, 404),
    "version -1": ({"inputs": [], "version": -1}, 404),
    "non numeric version": ({"inputs": [], "version": "x"}, 404),
    "version 2^70": ({"inputs": [], "version": 2**70}, 400),
    "version of 5000 digits": ({"inputs": [], "version": "1" * 5000}, 400),
    "arabic digits": ({"inputs": [], "version": "\u0661"}, 404),
}


@pytest.mark.parametrize(("document", "status"), PREDICTS.values(), ids=PREDICTS)
def test_a_predict_body_gets_its_status(application: Application, document: Any, status: int) -> None:
    answer = application.request("POST", "/predict", json=document)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert message(answer)
    assert lives_on(application)


REQUESTS = {
    "unknown version": ("POST", "/v2/models/m/versions/9/infer", 404),
    "non numeric version": ("POST", "/v2/models/m/versions/latest/infer", 404),
    "version 2^70": ("POST", f"/v2/models/m/versions/{2**70}/infer", 400),
    "version 0": ("POST", "/v2/models/m/versions/0/infer", 404),
    "unknown model": ("POST", "/v2/models/cats/infer", 404),
    "model name encoded traversal": ("POST", "/v2/models/..%2f..%2fetc%2fpasswd/infer", 404),
    "model name %00": ("POST", "/v2/models/%00/infer", 404),
    "model name not utf-8": ("POST", "/v2/models/%ff/infer", 404),
    "model name of 10000 letters": ("POST", f"/v2/models/{'m' * 10_000}/infer", 404),
    "PUT infer": ("PUT", INFER, 405),
    "GET predict": ("GET", "/predict", 405),
    "DELETE model": ("DELETE", "/v2/models/m", 405),
    "POST health": ("POST", "/v2/health/live", 405),
    "unknown path": ("GET", "/nope", 404),
    "ready of unknown model": ("GET", "/v2/models/cats/ready", 404),
    "metadata of unknown model": ("GET", "/v2/models/cats", 404),
    "metadata of a long name": ("GET", f"/v2/models/{'m' * 10_000}", 404),
    "metadata of version 2^70": ("GET", f"/v2/models/m/versions/{2**70}", 400),
}


@pytest.mark.parametrize(("method", "path", "status"), REQUESTS.values(), ids=REQUESTS)
def test_a_wrong_path_or_method_gets_its_status(application: Application, method: str, path: str, status: int) -> None:
    content = {"json": {"inputs": [GOOD]}} if method in ("POST", "PUT") else {}
    answer = application.request(method, path, **content)
    assert answer.status_code == status, answer.text
    assert message(answer)
    assert ("allow" in answer.headers) == (status == 405)
    assert lives_on(application)


@pytest.mark.parametrize("parameters", [{"timeout": 1}, {"timeout": 2**63 - 1}, {"timeout": 0}], ids=str)
def test_a_deadline_that_has_passed_is_504_and_any_other_is_kept(
    application: Application, parameters: dict[str, int]
) -> None:
    answer = application.request("POST", INFER, json={"inputs": [GOOD], "parameters": parameters})
    assert answer.status_code == (504 if parameters == {"timeout": 1} else 200)
    assert lives_on(application)


LONG = "x" * 60_000


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", INFER, {"content-type": LONG}),
        ("POST", INFER, {"content-encoding": LONG}),
        ("GET", f"/v2/models/{LONG}/infer", {}),
        ("GET", f"/{LONG}", {}),
        ("DELETE", f"/v2/models/{LONG}", {}),
    ],
    ids=["content-type", "content-encoding", "a model's path", "no path", "no method"],
)
def test_what_is_endless_is_not_sent_back(
    application: Application, method: str, path: str, headers: dict[str, str]
) -> None:
    assert message(application.request(method, path, headers=headers))
