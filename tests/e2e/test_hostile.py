"""Bad input on a real socket: the status, one line that names the field, and a server that goes on."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests import graphs
from tests.digits import held_out
from tests.serving import Server, serving

IMAGE = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}

GARBAGE_FOR_PREDICT = {
    "empty": (b"", "body"),
    "not json": (b"hello", "body"),
    "truncated": (b'{"inputs": [[1', "body"),
    "null": (b"null", "body"),
    "binary": (bytes(range(256)), "body"),
    "no inputs": (b"{}", "inputs"),
    "unknown member": (b'{"inputs": [], "input": 1}', "input"),
    "unknown parameter": (b'{"inputs": [], "parameters": {"topk": 1}}', "parameters"),
    "wrong rank": (b'{"inputs": [1, 2]}', "inputs"),
    "ragged": (b'{"inputs": [[[1], [1, 2]]]}', "inputs"),
    "bool": (b'{"inputs": [[[true]]]}', "inputs[0][0][0]"),
    "null number": (b'{"inputs": [[[null]]]}', "inputs[0][0][0]"),
    "string": (b'{"inputs": "x"}', "inputs"),
    "wrong size": (b'{"inputs": [[[1, 2]]]}', "input 'image'"),
    "nan": (b'{"inputs": [[[NaN]]]}', "body"),
    "deep": (b'{"inputs": ' + b"[" * 200_000 + b"}", "body"),
    "wrong name": (b'{"inputs": {"picture": []}}', "inputs"),
    "float64 only": (b'{"inputs": [[[1e300]]]}', "inputs"),
    "version 2^70": (b'{"inputs": [], "version": %d}' % 2**70, "version"),
}


@pytest.mark.parametrize(("body", "field"), GARBAGE_FOR_PREDICT.values(), ids=GARBAGE_FOR_PREDICT)
def test_garbage_gets_400_that_names_the_field(digits_server: Server, body: bytes, field: str) -> None:
    answer = httpx.post(f"{digits_server.url}/predict", content=body)
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(field), answer.text
    assert httpx.get(f"{digits_server.url}/v2/health/live").status_code == 200
    assert digits_server.predict(held_out()[0][:1].tolist()).status_code == 200


def test_an_empty_batch_is_answered_with_empty_outputs(digits_server: Server) -> None:
    answer = digits_server.predict([])
    assert answer.status_code == 200
    assert answer.json()["outputs"] == {"logits": []}
    assert answer.json()["predictions"] == []
    tensor = IMAGE | {"shape": [0, 8, 8], "data": []}
    answer = httpx.post(f"{digits_server.url}/v2/models/digits/infer", json={"inputs": [tensor]})
    assert answer.json()["outputs"] == [{"name": "logits", "shape": [0, 10], "datatype": "FP32", "data": []}]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("PUT", "/v2/models/digits/infer", 405),
        ("DELETE", "/v2/models/digits", 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/nope", 404),
        ("POST", "/v2/models/..%2f..%2fetc%2fpasswd/infer", 404),
        ("POST", "/v2/models/%00/infer", 404),
        ("POST", "/v2/models/cats/infer", 404),
        ("POST", "/v2/models/digits/versions/9/infer", 404),
        ("POST", "/v2/models/digits/versions/latest/infer", 404),
        ("POST", f"/v2/models/digits/versions/{2**70}/infer", 400),
    ],
)
def test_wrong_paths_and_methods(digits_server: Server, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, digits_server.url + path, json={"inputs": [IMAGE]} if method == "POST" else None)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "image/png"}, 415),
        ({"content-encoding": "br"}, 415),
        ({"inference-header-content-length": "10"}, 501),
    ],
)
def test_what_is_not_read_here_is_refused_by_its_head(
    digits_server: Server, headers: dict[str, str], status: int
) -> None:
    answer = httpx.post(f"{digits_server.url}/predict", content=b"{}", headers=headers)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_a_body_over_the_limit_is_413_announced_or_in_chunks(models: Path) -> None:
    graphs.linear(models / "linear" / "1" / "model.onnx")
    with serving(models, BONSAI_MAX_BODY_BYTES="1000") as server:
        for content in (b"x" * 1001, iter([b"x" * 600] * 2)):
            answer = httpx.post(f"{server.url}/predict", content=content)
            assert answer.status_code == 413
            assert "1000" in answer.json()["error"]
        assert server.predict([[1, 2, 3, 4]]).status_code == 200


def test_one_bad_client_harms_nobody_else(models: Path) -> None:
    graphs.refuses_negative(models / "table" / "1" / "model.onnx")
    good, bad = [[0, 1, 2, 3]], [[0, 1, 2, 99]]

    with serving(models) as server, ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(server.predict, [good] * 15 + [bad] + [good] * 15 + [bad]))
        assert [answer.status_code for answer in answers] == ([200] * 15 + [500]) * 2
        assert all(answer.json()["outputs"]["y"] == [[10, 20, 30, 40]] for answer in answers if answer.is_success)
        assert "Gather" not in answers[15].text


def test_free_dimensions_that_are_no_rows_are_served_as_plain_onnx_runtime_would(models: Path) -> None:
    graphs.outer_sum(models / "outer" / "1" / "model.onnx")
    with serving(models) as server:
        answer = server.predict({"a": [[1, 2], [3, 4], [5, 6]], "b": [[1, 0], [0, 1]]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"]["y"] == [[1, 2], [3, 4], [5, 6]]


def test_a_full_queue_answers_503_with_retry_after(models: Path) -> None:
    graphs.slow(models / "slow" / "1" / "model.onnx", repeats=2000)
    (models / "deployments.toml").write_text("[defaults.limits]\nmax_batch_rows = 1\nmax_queue_rows = 2\n")
    with serving(models) as server, ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(server.predict, [[[0.5] * 512]] * 16))
    rejected = [answer for answer in answers if answer.status_code == 503]
    assert rejected
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in rejected)
