"""Triton's own client for Python over HTTP, unmodified: tritonclient.http.InferenceServerClient."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

triton = pytest.importorskip(
    "tritonclient.http", reason="tritonclient is not installed here: make wire", exc_type=ImportError
)
from tritonclient.utils import InferenceServerException  # noqa: E402

from tests.keys import WITH_KEY  # noqa: E402

A = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int32)
B = np.array([[1, 1, 1, 1], [2, 2, 2, 2]], np.int32)
WORDS = np.array([["", "ä€😀"], ["a b", "\0"]], object)

both_ways = pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
codings = pytest.mark.parametrize("coding", ["gzip", "deflate"])


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address, concurrency=4) as client:
        yield client


def given(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> Any:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def two(binary: bool = True, a: np.ndarray = A, b: np.ndarray = B) -> list[Any]:
    return [given("a", a, "INT32", binary), given("b", b, "INT32", binary)]


def test_is_server_live(client: Any) -> None:
    assert client.is_server_live() is True


def test_is_server_ready(client: Any) -> None:
    assert client.is_server_ready() is True


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("simple", "", True), ("simple", "1", True), ("simple", "9", False), ("cats", "", False)],
)
def test_is_model_ready(client: Any, name: str, version: str, expected: bool) -> None:
    assert client.is_model_ready(name, version) is expected


def test_get_server_metadata(client: Any) -> None:
    found = client.get_server_metadata()
    assert found["name"] == "bonsai"
    assert {"binary_tensor_data", "model_repository", "model_configuration", "statistics"} <= set(found["extensions"])


@pytest.mark.parametrize("version", ["", "1"])
def test_get_model_metadata(client: Any, version: str) -> None:
    found = client.get_model_metadata("simple", version)
    assert (found["name"], found["versions"], found["platform"]) == ("simple", ["1", "2"], "onnx_onnxv1")
    assert found["inputs"] == [{"name": name, "datatype": "INT32", "shape": [-1, 4]} for name in ("a", "b")]
    assert [output["name"] for output in found["outputs"]] == ["sum", "difference"]


@pytest.mark.parametrize("version", ["", "1"])
def test_get_model_config(client: Any, version: str) -> None:
    found = client.get_model_config("simple", version)
    assert (found["name"], found["max_batch_size"]) == ("simple", 128)
    assert found["input"] == [{"name": name, "data_type": "TYPE_INT32", "dims": [4]} for name in ("a", "b")]


def test_get_model_repository_index(client: Any) -> None:
    found = {(entry["name"], entry["version"]): entry["state"] for entry in client.get_model_repository_index()}
    assert found[("simple", "2")] == "READY"


def test_unload_model_and_load_model(client: Any) -> None:
    client.unload_model("held", headers=WITH_KEY)
    assert not client.is_model_ready("held")
    client.unload_model("held", headers=WITH_KEY, unload_dependents=True)
    client.load_model("held", headers=WITH_KEY)
    assert client.is_model_ready("held")


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_to_load_or_unload_what_is_not_there_is_404(client: Any, call: str) -> None:
    with pytest.raises(InferenceServerException) as raised:
        getattr(client, call)("cats", headers=WITH_KEY)
    assert raised.value.status() == "404"
    assert raised.value.message() == "no model 'cats'"


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_to_load_or_unload_without_a_key_is_401(client: Any, call: str) -> None:
    with pytest.raises(InferenceServerException) as raised:
        getattr(client, call)("held")
    assert raised.value.status() == "401"
    assert client.is_model_ready("held")


def test_load_model_with_a_config_of_its_own_is_501(client: Any) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.load_model("held", headers=WITH_KEY, config='{"max_batch_size": 8}')
    assert raised.value.status() == "501"


def test_get_inference_statistics(client: Any) -> None:
    def counts() -> tuple[int, int]:
        (found,) = client.get_inference_statistics("simple", "1")["model_stats"]
        return found["inference_count"], found["inference_stats"]["success"]["count"]

    rows, requests = counts()
    client.infer("simple", two(), model_version="1")
    assert counts() == (rows + 2, requests + 1)
    assert {found["name"] for found in client.get_inference_statistics()["model_stats"]} >= {"simple", "words"}


@both_ways
@pytest.mark.parametrize("version", ["", "1"])
def test_infer(client: Any, binary: bool, version: str) -> None:
    result = client.infer("simple", two(binary), model_version=version)
    np.testing.assert_array_equal(result.as_numpy("sum"), A + B)
    np.testing.assert_array_equal(result.as_numpy("difference"), A - B)
    assert result.get_response()["model_version"] == (version or "2")
    assert "id" not in result.get_response()


def test_infer_with_inputs_of_both_kinds(client: Any) -> None:
    result = client.infer("simple", [two(binary=False)[0], two(binary=True)[1]])
    np.testing.assert_array_equal(result.as_numpy("sum"), A + B)


@both_ways
def test_infer_with_outputs_asked_for(client: Any, binary: bool) -> None:
    asked = [triton.InferRequestedOutput("difference", binary_data=binary)]
    result = client.infer("simple", two(), outputs=asked)
    np.testing.assert_array_equal(result.as_numpy("difference"), A - B)
    assert result.as_numpy("sum") is None
    assert ("data" in result.get_output("difference")) is not binary


def test_infer_with_an_id_a_priority_a_timeout_and_parameters(client: Any) -> None:
    result = client.infer("simple", two(), request_id="seven", priority=1, timeout=10_000_000, parameters={"mine": "x"})
    assert result.get_response()["id"] == "seven"


def test_infer_after_its_timeout_is_an_error(client: Any) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.infer("simple", two(), timeout=1)
    assert raised.value.status() in ("503", "504")


@codings
@both_ways
def test_infer_with_compression(client: Any, coding: str, binary: bool) -> None:
    many = np.arange(4000, dtype=np.int32).reshape(1000, 4)
    result = client.infer(
        "simple",
        two(binary, many, many),
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    np.testing.assert_array_equal(result.as_numpy("sum"), many + many)


@both_ways
def test_infer_with_strings(client: Any, binary: bool) -> None:
    asked = [triton.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer("words", [given("x", WORDS, "BYTES", binary)], outputs=asked)
    found = result.as_numpy("y")
    assert found.shape == WORDS.shape
    texts = [text.decode() if isinstance(text, bytes) else text for text in found.ravel()]
    assert texts == list(WORDS.ravel())


def test_infer_with_halves(client: Any) -> None:
    halves = np.array([[0.5, np.inf], [-0.0, np.nan]], np.float16)
    result = client.infer("halves", [given("x", halves, "FP16")])
    np.testing.assert_array_equal(result.as_numpy("y"), halves)


def test_infer_without_rows(client: Any) -> None:
    result = client.infer("simple", two(a=A[:0], b=B[:0]))
    assert result.as_numpy("sum").shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "version", "status", "text"),
    [("cats", "", "404", "no model 'cats'"), ("simple", "9", "404", "model 'simple' has no version 9; it has 1, 2")],
)
def test_an_error_of_infer_has_a_status_and_a_message(
    client: Any, name: str, version: str, status: str, text: str
) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.infer(name, two(), model_version=version)
    assert (raised.value.status(), raised.value.message()) == (status, text)


def test_a_sequence_is_refused(client: Any) -> None:
    with pytest.raises(InferenceServerException) as raised:
        client.infer("simple", two(), sequence_id=7, sequence_start=True)
    assert raised.value.status() == "400"
    assert raised.value.message().startswith("parameters.sequence_id: expected")


def test_async_infer(client: Any) -> None:
    asked = [client.async_infer("simple", two(a=A + step), request_id=str(step)) for step in range(8)]
    for step, request in enumerate(asked):
        result = request.get_result()
        assert result.get_response()["id"] == str(step)
        np.testing.assert_array_equal(result.as_numpy("sum"), A + step + B)
