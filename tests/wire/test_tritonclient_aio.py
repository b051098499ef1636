"""Triton's asyncio client for Python over HTTP, unmodified: tritonclient.http.aio.InferenceServerClient."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest

aio = pytest.importorskip(
    "tritonclient.http.aio", reason="tritonclient is not installed here: make wire", exc_type=ImportError
)
from tritonclient.utils import InferenceServerException  # noqa: E402

from tests.keys import WITH_KEY  # noqa: E402
from tests.wire.test_tritonclient import WORDS, A, B, both_ways, codings, given, triton, two  # noqa: E402

# The client leaves answers of which it wants the status alone unread, and with them their connections.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

T = TypeVar("T")
Play = Callable[[Callable[[Any], Awaitable[T]]], T]


@pytest.fixture
def play(address: str) -> Iterator[Play[Any]]:
    """Plays a scenario with a client on an event loop of its own."""

    async def run(scenario: Callable[[Any], Awaitable[T]]) -> T:
        async with aio.InferenceServerClient(address) as client:
            return await asyncio.wait_for(scenario(client), 30)

    yield lambda scenario: asyncio.run(run(scenario))
    gc.collect()


def test_is_server_live(play: Play[bool]) -> None:
    assert play(lambda client: client.is_server_live()) is True


def test_is_server_ready(play: Play[bool]) -> None:
    assert play(lambda client: client.is_server_ready()) is True


@pytest.mark.parametrize(
    ("name", "version", "expected"), [("simple", "", True), ("simple", "1", True), ("cats", "", False)]
)
def test_is_model_ready(play: Play[bool], name: str, version: str, expected: bool) -> None:
    assert play(lambda client: client.is_model_ready(name, version)) is expected


def test_get_server_metadata(play: Play[dict[str, Any]]) -> None:
    assert play(lambda client: client.get_server_metadata())["name"] == "bonsai"


def test_get_model_metadata(play: Play[dict[str, Any]]) -> None:
    assert play(lambda client: client.get_model_metadata("simple", "1"))["versions"] == ["1", "2"]


def test_get_model_config(play: Play[dict[str, Any]]) -> None:
    assert play(lambda client: client.get_model_config("simple"))["max_batch_size"] == 128


def test_get_model_repository_index(play: Play[list[dict[str, str]]]) -> None:
    found = play(lambda client: client.get_model_repository_index())
    assert {"name": "simple", "version": "1", "state": "READY", "reason": ""} in found


def test_unload_model_and_load_model(play: Play[list[bool]]) -> None:
    async def scenario(client: Any) -> list[bool]:
        await client.unload_model("held", headers=WITH_KEY)
        unloaded = await client.is_model_ready("held")
        await client.load_model("held", headers=WITH_KEY)
        return [unloaded, await client.is_model_ready("held")]

    assert play(scenario) == [False, True]


def test_get_inference_statistics(play: Play[list[int]]) -> None:
    async def rows(client: Any) -> int:
        found = await client.get_inference_statistics("simple", "1")
        count: int = found["model_stats"][0]["inference_count"]
        return count

    async def scenario(client: Any) -> list[int]:
        before = await rows(client)
        await client.infer("simple", two(), model_version="1")
        return [before, await rows(client)]

    before, after = play(scenario)
    assert after == before + 2


@both_ways
@pytest.mark.parametrize("version", ["", "1"])
def test_infer(play: Play[Any], binary: bool, version: str) -> None:
    async def scenario(client: Any) -> Any:
        return await client.infer("simple", two(binary), model_version=version, request_id="7", priority=3)

    result = play(scenario)
    np.testing.assert_array_equal(result.as_numpy("sum"), A + B)
    assert result.get_response()["id"] == "7"
    assert result.get_response()["model_version"] == (version or "2")


@both_ways
def test_infer_with_outputs_asked_for(play: Play[Any], binary: bool) -> None:
    asked = [triton.InferRequestedOutput("difference", binary_data=binary)]
    result = play(lambda client: client.infer("simple", two(binary), outputs=asked))
    np.testing.assert_array_equal(result.as_numpy("difference"), A - B)
    assert result.as_numpy("sum") is None


@codings
@both_ways
def test_infer_with_compression(play: Play[Any], coding: str, binary: bool) -> None:
    many = np.arange(4000, dtype=np.int32).reshape(1000, 4)

    async def scenario(client: Any) -> Any:
        return await client.infer(
            "simple",
            two(binary, many, many),
            request_compression_algorithm=coding,
            response_compression_algorithm=coding,
        )

    np.testing.assert_array_equal(play(scenario).as_numpy("sum"), many + many)


@both_ways
def test_infer_with_strings(play: Play[Any], binary: bool) -> None:
    found = play(lambda client: client.infer("words", [given("x", WORDS, "BYTES", binary)])).as_numpy("y")
    assert [text.decode() for text in found.ravel()] == list(WORDS.ravel())


def test_many_at_once(play: Play[list[Any]]) -> None:
    async def scenario(client: Any) -> list[Any]:
        return await asyncio.gather(*(client.infer("simple", two(a=A + step)) for step in range(16)))

    for step, result in enumerate(play(scenario)):
        np.testing.assert_array_equal(result.as_numpy("sum"), A + step + B)


def test_an_error_has_a_status_and_a_message(play: Play[Any]) -> None:
    with pytest.raises(InferenceServerException) as raised:
        play(lambda client: client.infer("cats", two()))
    assert (raised.value.status(), raised.value.message()) == ("404", "no model 'cats'")
