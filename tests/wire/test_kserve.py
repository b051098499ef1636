"""KServe's client for Python, unmodified: kserve.InferenceRESTClient."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest

kserve = pytest.importorskip("kserve", reason="kserve is not installed here: make wire", exc_type=ImportError)

from kserve.protocol.infer_type import RequestedOutput  # noqa: E402

from tests.serving import Server  # noqa: E402

T = TypeVar("T")
Play = Callable[[Callable[[Any], Awaitable[T]]], T]

A = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.int32)
B = np.array([[1, 1, 1, 1], [2, 2, 2, 2]], np.int32)
WORDS = np.array([["", "ä€😀"], ["a b", "c"]], object)


@pytest.fixture
def play() -> Play[Any]:
    """Plays a scenario with a client on an event loop of its own."""

    async def run(scenario: Callable[[Any], Awaitable[T]]) -> T:
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2")) as client:
            return await asyncio.wait_for(scenario(client), 30)

    return lambda scenario: asyncio.run(run(scenario))


def given(name: str, array: np.ndarray, datatype: str, binary: bool) -> Any:
    tensor = kserve.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def request(inputs: list[Any], **members: Any) -> Any:
    return kserve.InferRequest(model_name="simple", infer_inputs=inputs, **members)


def two(binary: bool) -> list[Any]:
    return [given("a", A, "INT32", binary), given("b", B, "INT32", binary)]


def values(response: Any) -> dict[str, np.ndarray]:
    return {output.name: output.as_numpy() for output in response.outputs}


def test_is_server_live(play: Play[bool], server: Server) -> None:
    assert play(lambda client: client.is_server_live(server.url)) is True


def test_is_server_ready(play: Play[bool], server: Server) -> None:
    assert play(lambda client: client.is_server_ready(server.url)) is True


@pytest.mark.parametrize(("name", "expected"), [("simple", True), ("cats", False)])
def test_is_model_ready(play: Play[bool], server: Server, name: str, expected: bool) -> None:
    assert play(lambda client: client.is_model_ready(server.url, name)) is expected


@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "json out"])
@pytest.mark.parametrize("binary", [True, False], ids=["binary in", "json in"])
def test_infer(play: Play[Any], server: Server, binary: bool, binary_out: bool) -> None:
    asked = request(two(binary), request_id="7", parameters={"binary_data_output": binary_out})
    response = play(lambda client: client.infer(server.url, asked, model_name="simple"))
    assert (response.id, response.model_name) == ("7", "simple")  # the client drops model_version
    found = values(response)
    np.testing.assert_array_equal(found["sum"], A + B)
    np.testing.assert_array_equal(found["difference"], A - B)


def test_infer_with_inputs_of_both_kinds_and_an_output_asked_for(play: Play[Any], server: Server) -> None:
    inputs = [two(binary=False)[0], two(binary=True)[1]]
    asked = request(inputs, request_outputs=[RequestedOutput("difference", {"binary_data": True})])
    response = play(lambda client: client.infer(server.url, asked, model_name="simple"))
    np.testing.assert_array_equal(values(response)["difference"], A - B)
    assert [output.name for output in response.outputs] == ["difference"]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_infer_with_strings(play: Play[Any], server: Server, binary: bool) -> None:
    asked = kserve.InferRequest("words", [given("x", WORDS, "BYTES", binary)])
    response = play(lambda client: client.infer(server.url, asked, model_name="words"))
    texts = [text.decode() if isinstance(text, bytes) else text for text in values(response)["y"].ravel()]
    assert texts == list(WORDS.ravel())


def test_infer_with_halves(play: Play[Any], server: Server) -> None:
    halves = np.array([[0.5, 2.0]], np.float16)
    asked = kserve.InferRequest("halves", [given("x", halves, "FP16", True)], parameters={"binary_data_output": True})
    response = play(lambda client: client.infer(server.url, asked, model_name="halves"))
    np.testing.assert_array_equal(values(response)["y"], halves)


def test_infer_with_a_dictionary(play: Play[Any], server: Server) -> None:
    tensors = [
        {"name": name, "shape": [2, 4], "datatype": "INT32", "data": array.tolist()}
        for name, array in (("a", A), ("b", B))
    ]
    response = play(lambda client: client.infer(server.url, {"inputs": tensors}, model_name="simple"))
    np.testing.assert_array_equal(values(response)["sum"], A + B)


def test_an_error_has_its_message(play: Play[Any], server: Server) -> None:
    with pytest.raises(httpx.HTTPStatusError, match=r"no model 'cats', '404 Not Found'"):
        play(lambda client: client.infer(server.url, request(two(True)), model_name="cats"))
