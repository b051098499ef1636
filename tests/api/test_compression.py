"""Compressed requests and answers through the whole application."""

import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from app.protocol.compression import SMALLEST
from tests.api.application import Application

INFER = "/v2/models/m/infer"
CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress}
ROWS = 300

coding = pytest.mark.parametrize(("coding", "pack"), CODINGS.items(), ids=CODINGS)


def ask(application: Application, path: str, body: bytes, **headers: str) -> httpx.Response:
    """httpx unpacks an answer by its header, and offers codings unless told."""
    return application.post(path, body, **{"Accept-Encoding": "identity"} | headers)


def plain(rows: int = 1) -> bytes:
    data = np.arange(4 * rows, dtype=float).tolist()
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": data}
    return json.dumps({"id": "7", "inputs": [tensor]}).encode()


@coding
def test_json_may_be_compressed(application: Application, coding: str, pack: Callable[[bytes], bytes]) -> None:
    expected = ask(application, INFER, plain())
    answer = ask(application, INFER, pack(plain()), **{"Content-Encoding": coding})
    assert (answer.status_code, answer.content) == (200, expected.content)


@coding
def test_the_native_door_takes_it_too(application: Application, coding: str, pack: Callable[[bytes], bytes]) -> None:
    body = pack(b'{"model": "m", "inputs": [[1, 2, 3, 4]]}')
    assert ask(application, "/predict", body, **{"Content-Encoding": coding}).status_code == 200


@coding
def test_the_json_length_counts_what_is_inside(
    application: Application, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    text = json.dumps({"inputs": [tensor]}).encode()
    body = pack(text + np.arange(4, dtype="<f4").tobytes())
    headers = {"Content-Encoding": coding, "Inference-Header-Content-Length": str(len(text))}
    answer = ask(application, INFER, body, **headers)
    assert answer.json()["outputs"] == ask(application, INFER, plain()).json()["outputs"]


@coding
def test_a_long_answer_is_compressed_where_that_is_asked_for(
    application: Application, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    expected = ask(application, INFER, plain(ROWS))
    answer = ask(application, INFER, plain(ROWS), **{"Accept-Encoding": coding})
    assert answer.headers["content-encoding"] == coding
    assert int(answer.headers["content-length"]) < len(expected.content)
    assert answer.json() == expected.json()


def test_the_json_length_of_a_compressed_answer_counts_what_is_inside(application: Application) -> None:
    document = json.loads(plain(ROWS)) | {"parameters": {"binary_data_output": True}}
    answer = ask(application, INFER, json.dumps(document).encode(), **{"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.content[:length])["outputs"]
    assert len(answer.content) - length == output["parameters"]["binary_data_size"] == ROWS * 3 * 4


@pytest.mark.parametrize(("rows", "accepted"), [(ROWS, "gzip, deflate"), (ROWS, "gzip;q=0"), (ROWS, "br"), (1, "gzip")])
def test_other_answers_are_not_compressed(application: Application, rows: int, accepted: str) -> None:
    answer = ask(application, INFER, plain(rows), **{"Accept-Encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert (len(answer.content) >= SMALLEST) == (rows == ROWS)


@pytest.mark.parametrize("body", [b"", b"{}", gzip.compress(b"{}", mtime=0)[:-1]])
def test_what_is_not_compressed_as_the_header_says_is_400(application: Application, body: bytes) -> None:
    answer = ask(application, INFER, body, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("body: expected gzip, as content-encoding says")


def test_a_bomb_is_413(application: Application) -> None:
    limit = application.parts.inference.max_body_bytes
    answer = ask(application, INFER, gzip.compress(bytes(limit + 1)), **{"Content-Encoding": "gzip"})
    assert (answer.status_code, "once decompressed" in answer.json()["error"]) == (413, True)
