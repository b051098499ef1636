"""Raw bodies at /predict through the whole application: .npy both ways, text, images and sounds, and the query."""

import asyncio
import base64
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.contract.tensors import DataType, InputSpec, OutputSpec
from app.errors import DeadlineExceeded
from app.protocol.messages import Array
from app.repository.repository import Repository, State
from tests import graphs
from tests.api.application import Application, running
from tests.api.conftest import LABELLED
from tests.api.world import World
from tests.publishing import publish

NPY = "application/x-npy"
PNG = b"\x89PNG\r\n\x1a\n\0\0\xff\0z"
ROWS = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
NUMBERS = [name for name in graphs.KINDS if name != "BYTES"]
MEDIA = {"notes": ("text", "text/plain"), "pictures": ("image", "image/png"), "sounds": ("audio", "audio/flac")}


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """m with labels, an echo for every datatype, two outputs, two inputs, and models that declare a medium."""
    folder = tmp_path_factory.mktemp("raw")
    models, cache = folder / "models", folder / "cache"
    publish(models / "m" / "1", graphs.linear(folder / "m.onnx"), cache, outputs=(LABELLED,))
    for name in NUMBERS:
        graphs.identity(models / name / "1" / "model.onnx", graphs.KINDS[name])
    graphs.identity(models / "strings" / "1" / "model.onnx", graphs.KINDS["BYTES"])
    graphs.pooled(models / "two-outputs" / "1" / "model.onnx")
    graphs.outer_sum(models / "two-inputs" / "1" / "model.onnx")
    declared: Any = {"inputs": (InputSpec(name="x", datatype="FP32", shape=(-1, 4), medium="image"),)}
    publish(models / "pixels" / "1", graphs.linear(folder / "pixels.onnx"), cache, **declared)
    for name, (medium, _) in MEDIA.items():
        _publish_medium(folder, name, medium)
    (models / "deployments.toml").write_text('default_model = "m"\n')
    with running(models, folder / "state", poll_seconds=0.05) as application:
        while not _are_ready(application.parts.repository):
            application.run(asyncio.sleep(0.05))
        yield application


def _are_ready(repository: Repository) -> bool:
    slots = [slot for name in repository.names() for slot in repository.versions(name).values()]
    return len(slots) == len(NUMBERS) + len(MEDIA) + 5 and all(slot.state is State.READY for slot in slots)


def _publish_medium(folder: Path, name: str, medium: Any) -> None:
    graph = graphs.recognises(folder / f"{name}.onnx", "ä".encode() if medium == "text" else PNG)
    golden = np.array(["ä", "a"] * 4) if medium == "text" else np.array([PNG, b"a".ljust(len(PNG))] * 4, f"V{len(PNG)}")
    publish(
        folder / "models" / name / "1",
        graph,
        folder / "cache",
        {"x": golden},
        inputs=(InputSpec(name="x", datatype=DataType.BYTES, shape=(-1,), medium=medium),),
        outputs=(OutputSpec(name="y", datatype=DataType.BOOL, shape=(-1,)),),
    )


def saved(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def loaded(answer: httpx.Response) -> Array:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == NPY
    array: Array = np.load(io.BytesIO(answer.content), allow_pickle=False)
    return array


def ask(
    application: Application, body: bytes, query: str = "", media_type: str = NPY, **headers: str
) -> httpx.Response:
    given = {"Content-Type": media_type, "Accept-Encoding": "identity"}
    return application.post(f"/predict{query}", body, **given | {k.replace("_", "-"): v for k, v in headers.items()})


def error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    text: str = answer.json()["error"]
    return text


def in_json(application: Application, document: Any, query: str = "", **headers: str) -> httpx.Response:
    return ask(application, json.dumps(document).encode(), query, "application/json", **headers)


def without_timing(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json().items() if name != "timing_ms"}


def test_an_array_is_answered_as_the_same_json_is(application: Application) -> None:
    expected = without_timing(in_json(application, {"inputs": ROWS.tolist()}))
    assert without_timing(ask(application, saved(ROWS))) == expected
    assert without_timing(ask(application, saved(np.asfortranarray(ROWS)))) == expected


@pytest.mark.parametrize("name", NUMBERS)
def test_every_datatype_comes_back_as_itself(application: Application, name: str) -> None:
    array = np.arange(8).astype("uint16" if name == "BF16" else DataType(name).numpy)
    array = array.view("V2").reshape(2, 4) if name == "BF16" else array.reshape(2, 4)
    answer = ask(application, saved(array), f"?model={name}", Accept=NPY)
    assert answer.content == saved(array)
    assert answer.headers["x-model-version"] == "1"


def test_nan_and_infinity_go_both_ways(application: Application) -> None:
    array = np.array([[np.nan, np.inf, -np.inf, -0.0]], np.float32)
    assert ask(application, saved(array), "?model=FP32", Accept=NPY).content == saved(array)
    assert "NaN" in error(ask(application, saved(array), "?model=FP32"), 400)


def test_no_rows_go_both_ways(application: Application) -> None:
    assert loaded(ask(application, saved(ROWS[:0]), Accept=NPY)).shape == (0, 3)


@pytest.mark.parametrize(
    ("accept", "is_npy"),
    [
        (NPY, True),
        ("Application/X-NPY; q=0.5, application/json", True),
        ("*/*", False),
        ("application/*", False),
        (f"{NPY};q=0", False),
        ("application/x-npy-2", False),
        ("", False),
    ],
)
def test_json_is_answered_with_an_array_where_that_is_named(
    application: Application, accept: str, is_npy: bool
) -> None:
    expected = in_json(application, {"inputs": ROWS.tolist()}).json()["outputs"]["y"]
    answer = in_json(application, {"inputs": ROWS.tolist()}, Accept=accept)
    got = loaded(answer).tolist() if is_npy else answer.json()["outputs"]["y"]
    np.testing.assert_array_equal(np.array(got, np.float32), np.array(expected, np.float32))


def test_of_several_outputs_one_is_picked(application: Application) -> None:
    body = {"model": "two-outputs", "inputs": [[1, 2, 3]]}
    outputs = in_json(application, body).json()["outputs"]
    for name in ("y", "t"):
        np.testing.assert_array_equal(
            loaded(in_json(application, body, f"?output={name}", Accept=NPY)), np.array(outputs[name], np.float32)
        )
        ids = saved(np.array([[1, 2, 3]]))
        got = loaded(ask(application, ids, f"?output={name}&model=two-outputs", Accept=NPY))
        np.testing.assert_array_equal(got, np.array(outputs[name], np.float32))
    assert error(in_json(application, body, Accept=NPY), 400).startswith("query.output: expected one of y, t")
    assert "got 'z'" in error(in_json(application, body, "?output=z", Accept=NPY), 400)
    assert error(in_json(application, body, "?output=y"), 400).startswith("query.output: expected the header accept")


def test_strings_are_no_array(application: Application) -> None:
    assert "pickle" in error(ask(application, saved(np.array([["a"] * 4])), "?model=strings"), 400)
    answer = in_json(application, {"model": "strings", "inputs": [["a"] * 4]}, Accept=NPY)
    assert error(answer, 400).startswith("output 'y' is BYTES")


WRONG = {
    "another shape": (saved(ROWS[:, :3]), "input 'x': expected shape [-1, 4]"),
    "another rank": (saved(ROWS[0]), "input 'x': expected shape [-1, 4]"),
    "another dtype": (saved(ROWS.astype("<f8")), "body.header.descr: expected '<f4', exactly the FP32 of input 'x'"),
    "a byte more": (saved(ROWS) + b"\0", "body.data: expected 32 bytes"),
    "no array": (b"[[1, 2, 3, 4]]", "body: expected .npy"),
    "nothing": (b"", "body: expected .npy"),
}


@pytest.mark.parametrize(("body", "message"), WRONG.values(), ids=WRONG)
def test_another_array_is_400(application: Application, body: bytes, message: str) -> None:
    assert error(ask(application, body), 400).startswith(message)


def test_two_inputs_are_no_array(application: Application) -> None:
    text = error(ask(application, saved(ROWS), "?model=two-inputs"), 400)
    assert text == "content-type: expected application/json with the inputs a, b, got application/x-npy"


def test_the_query_says_what_a_body_of_json_would(application: Application) -> None:
    asked = {"model": "m", "version": 1, "parameters": {"top_k": 2, "priority": 1, "timeout_ms": 5000}}
    expected = without_timing(in_json(application, {"inputs": ROWS.tolist(), **asked}))
    assert len(expected["predictions"][0]["top"]) == 2
    query = "?model=m&version=1&top_k=2&priority=1&timeout_ms=5000"
    assert without_timing(ask(application, saved(ROWS), query)) == expected


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("?model=cats", 404, ""),
        ("?version=7", 404, ""),
        ("?top_k=0", 400, "query.top_k: expected int >= 1"),
        ("?top_k=1&model=FP32", 400, "query.top_k: expected a model whose output has labels"),
        ("?batch=1", 400, "query: expected only model, version, timeout_ms, priority, top_k, output, got 'batch'"),
        ("?model=m&model=m", 400, "query.model: expected it once"),
        ("?model", 400, "query: expected name=value"),
        ("?timeout_ms=0", 400, "query.timeout_ms"),
        ("?priority=9", 400, "query.priority"),
    ],
)
def test_a_wrong_query_is_refused(application: Application, query: str, status: int, message: str) -> None:
    assert error(ask(application, saved(ROWS), query), status).startswith(message)


@pytest.mark.parametrize("query", ["?model=m", "?top_k=1", "?output=y&version=1", "?priority=1"])
def test_beside_json_the_body_says_it(application: Application, query: str) -> None:
    text = error(in_json(application, {"inputs": ROWS.tolist()}, query, Accept=NPY), 400)
    assert text == "query: expected only output beside a JSON body, whose members say the rest, got more"


def test_a_query_leaves_infer_paths_alone(application: Application) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    body = json.dumps({"inputs": [tensor]}).encode()
    assert application.post("/v2/models/m/infer?model=x&a", body, Accept=NPY).json()["model_name"] == "m"


def test_deadlines_and_priorities_come_by_query_and_by_header() -> None:
    def asked(query: bytes, **headers: str) -> tuple[float | None, int, int | None, str | None]:
        world = World(lambda _: DeadlineExceeded("late"))
        raw = {name.replace("_", "-").encode(): text.encode() for name, text in headers.items()}
        head = world.inference.read_head("POST", "/predict", {b"content-type": NPY.encode(), **raw}, query)
        assert head is not None
        world.inference.handle(head, saved(ROWS), 1.0, 1.0, "peer", world.answers.append)
        (request,) = world.dataplane.requests
        return request.timeout, request.priority, request.top_k, request.model

    assert asked(b"") == (None, 2, None, None)
    assert asked(b"timeout_ms=1500&priority=3&top_k=5&model=m") == (1.5, 3, 5, "m")
    assert asked(b"priority=0", x_request_timeout_ms="250") == (0.25, 2, None, None)
    assert asked(b"timeout_ms=1500", x_request_timeout_ms="250") == (1.5, 2, None, None)


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_arrays_may_be_compressed_both_ways(application: Application, coding: str, pack: Any) -> None:
    array = np.zeros((100, 4), np.float32)
    query = "?model=FP32"
    headers = {"Content_Encoding": coding, "Accept_Encoding": coding}
    answer = ask(application, pack(saved(array)), query, Accept=NPY, **headers)
    assert answer.headers["content-encoding"] == coding
    assert int(answer.headers["content-length"]) < 400
    np.testing.assert_array_equal(loaded(answer), array)  # httpx has unpacked it
    assert "gzip" in error(ask(application, b"", query, Content_Encoding="gzip"), 400)


def test_an_array_that_unpacks_over_the_limit_is_413(application: Application) -> None:
    limit = application.parts.inference.max_body_bytes
    body = gzip.compress(saved(np.zeros((limit // 16, 4), np.float32)))
    assert "once decompressed" in error(ask(application, body, Content_Encoding="gzip"), 413)


@pytest.mark.parametrize("name", MEDIA)
def test_a_medium_comes_as_a_body_or_in_json(application: Application, name: str) -> None:
    medium, media_type = MEDIA[name]
    rows = ["ä".encode(), b"a"] if medium == "text" else [PNG, PNG + b"\0"]
    for row, known in zip(rows, (True, False), strict=True):
        answer = ask(application, row, f"?model={name}", media_type)
        assert without_timing(answer)["outputs"] == {"y": [known]}
        assert loaded(ask(application, row, f"?model={name}", media_type, Accept=NPY)).tolist() == [known]
    inputs = [row.decode() if medium == "text" else base64.b64encode(row).decode() for row in rows]
    for given in (inputs, {"x": inputs}):
        outputs = without_timing(in_json(application, {"model": name, "inputs": given}))["outputs"]
        assert outputs == {"y": [True, False]}


def test_base64_that_is_wrong_names_its_row(application: Application) -> None:
    text = error(in_json(application, {"model": "pictures", "inputs": {"x": ["YWJj", "YR=="]}}), 400)
    assert text.startswith("inputs.x[1]: expected base64")


@pytest.mark.parametrize(
    ("model", "media_type"), [("m", "image/png"), ("pictures", "text/plain"), ("notes", "audio/wav")]
)
def test_another_medium_is_415(application: Application, model: str, media_type: str) -> None:
    text = error(ask(application, PNG, f"?model={model}", media_type), 415)
    assert text.startswith("content-type: expected one of application/json, application/x-npy")


def test_a_medium_for_numbers_is_501_and_numbers_are_taken(application: Application) -> None:
    assert "no decoder for images yet" in error(ask(application, PNG, "?model=pixels", "image/png"), 501)
    for inputs in (["YWJj"], {"x": ["YWJj"]}):
        text = error(in_json(application, {"model": "pixels", "inputs": inputs}), 501)
        assert "no decoder for images yet" in text
    for inputs in (ROWS.tolist(), {"x": ROWS.tolist()}):
        assert in_json(application, {"model": "pixels", "inputs": inputs}).status_code == 200
    assert ask(application, saved(ROWS), "?model=pixels").status_code == 200


def test_text_may_say_its_charset(application: Application) -> None:
    answer = ask(application, "ä".encode(), "?model=notes", 'text/plain; charset="UTF-8"')
    assert without_timing(answer)["outputs"] == {"y": [True]}
    assert "charset" in error(ask(application, b"\xe4", "?model=notes", "text/plain; charset=latin-1"), 415)
