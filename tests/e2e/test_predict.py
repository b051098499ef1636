"""Real held-out digits through a real server, against direct calls of ONNX Runtime."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np

from tests import graphs
from tests.digits import held_out, logits
from tests.metrics import value
from tests.serving import Server, serving

CLIENTS = 64
IMAGE = {"name": "image", "shape": [1, 8, 8], "datatype": "FP32", "data": [0.0] * 64}
ROUNDS = 6


def test_a_held_out_digit_is_classified(digits_server: Server) -> None:
    images, digits = held_out()
    answer = digits_server.predict(images[:1].tolist())
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model"], body["version"]) == ("digits", 2)
    assert body["predictions"][0]["label"] == str(digits[0])
    assert body["predictions"][0]["score"] == body["predictions"][0]["top"][0]["score"] <= 1
    assert body["timing_ms"]["total"] >= body["timing_ms"]["compute"] > 0
    assert answer.headers["x-model-version"] == "2"
    assert answer.headers["x-execution-provider"] == "CPUExecutionProvider"
    assert answer.headers["server-timing"].startswith("decode;dur=")


def test_every_held_out_digit_gets_the_answer_of_a_direct_call(digits_server: Server) -> None:
    images, digits = held_out()
    body = digits_server.predict(images.tolist(), parameters={"top_k": 1}).json()
    np.testing.assert_allclose(body["outputs"]["logits"], logits(images), atol=1e-5, rtol=1e-5)
    labels = np.array([int(prediction["label"]) for prediction in body["predictions"]])
    np.testing.assert_array_equal(labels, logits(images).argmax(axis=1))
    assert (labels == digits).mean() > 0.97


def test_64_clients_with_mixed_batch_sizes_get_their_own_rows(digits_server: Server) -> None:
    images, _ = held_out()
    before = batches(digits_server)

    def client(number: int) -> None:
        random = np.random.default_rng(number)
        with httpx.Client() as http:
            for _ in range(ROUNDS):
                rows = images[random.integers(0, len(images), random.integers(1, 9))]
                answer = http.post(f"{digits_server.url}/predict", json={"inputs": rows.tolist()})
                assert answer.status_code == 200, answer.text
                np.testing.assert_allclose(answer.json()["outputs"]["logits"], logits(rows), atol=1e-5, rtol=1e-5)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(client, range(CLIENTS)))
    requests, runs = (after - first for after, first in zip(batches(digits_server), before, strict=True))
    assert requests == CLIENTS * ROUNDS
    assert runs < requests  # fewer runs than requests: some shared a batch


def batches(server: Server) -> tuple[float, float]:
    """Requests answered and runs made so far."""
    exposition = httpx.get(f"{server.url}/metrics").text
    labels = {"model": "digits", "version": "2"}
    return (
        value(exposition, "bonsai_requests_total", code="ok", **labels),
        value(exposition, "bonsai_batch_rows_count", **labels),
    )


def test_the_standard_protocol_gives_the_same_answer(digits_server: Server) -> None:
    images, _ = held_out()
    rows = images[:3]
    tensor = {"name": "image", "shape": [3, 8, 8], "datatype": "FP32", "data": rows.ravel().tolist()}
    for path in ("/v2/models/digits/infer", "/v2/models/digits/versions/2/infer"):
        answer = httpx.post(digits_server.url + path, json={"id": "seven", "inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["model_name"], body["model_version"], body["id"]) == ("digits", "2", "seven")
        output = body["outputs"][0]
        assert (output["name"], output["shape"], output["datatype"]) == ("logits", [3, 10], "FP32")
        np.testing.assert_allclose(np.reshape(output["data"], (3, 10)), logits(rows), atol=1e-5, rtol=1e-5)


def test_the_standard_protocol_takes_and_gives_raw_tensors(digits_server: Server) -> None:
    rows = held_out()[0][:3].astype("<f4")
    tensor = {"name": "image", "shape": [3, 8, 8], "datatype": "FP32", "parameters": {"binary_data_size": rows.nbytes}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    for sent, length in ((text + rows.tobytes(), len(text)), (rows.tobytes(), 0)):
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(length)}
        answer = httpx.post(f"{digits_server.url}/v2/models/digits/infer", content=sent, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/octet-stream"
        begin = int(answer.headers["inference-header-content-length"])
        assert json.loads(answer.content[:begin])["outputs"] == [
            {"name": "logits", "shape": [3, 10], "datatype": "FP32", "parameters": {"binary_data_size": 120}}
        ]
        got = np.frombuffer(answer.content[begin:], "<f4").reshape(3, 10)
        np.testing.assert_allclose(got, logits(rows), atol=1e-5, rtol=1e-5)


def test_the_server_describes_itself(digits_server: Server) -> None:
    get = lambda path: httpx.get(digits_server.url + path)  # noqa: E731
    assert get("/v2").json()["name"] == "bonsai"
    assert get("/v2/models/digits").json() == get("/v2/models/digits/versions/2").json()
    assert get("/v2/models/digits").json()["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8]}]
    for path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready", "/docs"):
        assert get(path).status_code == 200, path
    assert get("/").headers["location"] == "/docs"
    for path in ("/v2/models/cats", "/v2/models/digits/versions/7", "/v2/models/digits/versions/x/ready"):
        assert get(path).status_code == 404, path
        assert list(get(path).json()) == ["error"]


def test_an_empty_batch_is_answered_with_empty_outputs(digits_server: Server) -> None:
    answer = digits_server.predict([])
    assert answer.status_code == 200
    assert answer.json()["outputs"] == {"logits": []}
    assert answer.json()["predictions"] == []
    tensor = IMAGE | {"shape": [0, 8, 8], "data": []}
    answer = httpx.post(f"{digits_server.url}/v2/models/digits/infer", json={"inputs": [tensor]})
    assert answer.json()["outputs"] == [{"name": "logits", "shape": [0, 10], "datatype": "FP32", "data": []}]


def test_free_dimensions_that_are_no_rows_are_served_as_plain_onnx_runtime_would(models: Path) -> None:
    graphs.outer_sum(models / "outer" / "1" / "model.onnx")
    with serving(models) as server:
        answer = server.predict({"a": [[1, 2], [3, 4], [5, 6]], "b": [[1, 0], [0, 1]]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"]["y"] == [[1, 2], [3, 4], [5, 6]]
