"""Every datatype through the whole application and back, in JSON and in binary; odd names, scalars, empty tensors."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper

from app.contract.tensors import DataType
from app.protocol.messages import DTYPES
from tests import graphs
from tests.api.application import Application, running
from tests.runtime import made

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False, False, True],
    "FP16": [0.5, -65504.0, 6e-08, 0.0],
    "FP32": [0.1, -3.4028235e38, 1e-45, 0.0],
    "FP64": [0.1, -1.7976931348623157e308, 5e-324, 0.0],
    "BF16": [0x3F80, 0x7F80, 0x7FC0, 0x8000],  # as bits: 1, infinity, NaN and -0
    "BYTES": ["", "ä€😀", "nul\0in it", '\\"quoted" \n line'],
}
VALUES |= {
    f"{sign}INT{bits}": [0, 1, low, high]
    for bits in (8, 16, 32, 64)
    for sign, low, high in (("", -(2 ** (bits - 1)), 2 ** (bits - 1) - 1), ("U", 0, 2**bits - 1))
}
IN_JSON = [name for name in graphs.KINDS if name not in ("FP16", "BF16")]


def several(path: Path) -> Path:
    """Inputs of four datatypes under odd names, one of them a scalar -> outputs of three, one of them a scalar."""
    nodes = [
        helper.make_node("Cast", ["a/b:0"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "factor"], ["out/Identity:0"]),
        helper.make_node("Identity", ["Wörter"], ["words out"]),
        helper.make_node("Size", ["is it"], ["0"]),
    ]
    inputs = [
        graphs.tensor("a/b:0", ["N", 2], TensorProto.INT64),
        graphs.tensor("factor", []),
        graphs.tensor("Wörter", ["M"], TensorProto.STRING),
        graphs.tensor("is it", ["K", 1], TensorProto.BOOL),
    ]
    outputs = [
        graphs.tensor("out/Identity:0", ["N", 2]),
        graphs.tensor("words out", ["M"], TensorProto.STRING),
        graphs.tensor("0", [], TensorProto.INT64),
    ]
    return graphs.save(path, nodes, inputs, outputs)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """A model for every datatype, that gives back x [N, 4] as y; free, scalars and several."""
    folder = tmp_path_factory.mktemp("datatypes")
    models = folder / "models"
    for name, kind in graphs.KINDS.items():
        graphs.identity(models / name / "model.onnx", kind)
    graphs.identity(models / "free" / "model.onnx", TensorProto.FLOAT, ("A", "B", "C"))
    graphs.identity(models / "words" / "model.onnx", TensorProto.STRING, ("N", "T"))
    made.scalars(models / "scalars" / "model.onnx")
    several(models / "several" / "model.onnx")
    with running(models, folder / "state", poll_seconds=0.05) as application:
        while len(application.parts.repository.names()) < len(graphs.KINDS) + 4:
            application.run(application.parts.repository.refresh())
        yield application


def packed(values: list[Any], datatype: str) -> bytes:
    """A raw tensor, written without the code under test."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)
    if datatype == "BF16":
        return struct.pack(f"<{len(values)}H", *values)
    return np.array(values, DTYPES[datatype]).astype(DTYPES[datatype].newbyteorder("<")).tobytes()


def ask(application: Application, model: str, document: dict[str, Any], raw: bytes = b"") -> httpx.Response:
    text = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if raw else {}
    return application.post(f"/v2/models/{model}/infer", text + raw, **headers)


def outputs(answer: httpx.Response) -> dict[str, tuple[list[int], str, Any]]:
    """Shape, datatype and data by name; the data of a binary output as its bytes."""
    assert answer.status_code == 200, answer.text
    end = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    found, start = {}, end
    for output in json.loads(answer.content[:end])["outputs"]:
        data = output.get("data")
        if data is None:
            stop = start + output["parameters"]["binary_data_size"]
            data, start = answer.content[start:stop], stop
        found[output["name"]] = (output["shape"], output["datatype"], data)
    assert start == len(answer.content)
    return found


def given(data: Any, shape: list[int], datatype: str, name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def announced(size: int, shape: list[int], datatype: str, name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}


@pytest.mark.parametrize("datatype", IN_JSON)
def test_json_in_and_out(application: Application, datatype: str) -> None:
    values = VALUES[datatype]
    answer = ask(application, datatype, {"inputs": [given(values, [1, 4], datatype)]})
    assert outputs(answer) == {"y": ([1, 4], datatype, values)}


@pytest.mark.parametrize("datatype", graphs.KINDS)
def test_binary_in_and_out(application: Application, datatype: str) -> None:
    raw = packed(VALUES[datatype] * 2, datatype)
    document = {"inputs": [announced(len(raw), [2, 4], datatype)], "parameters": {"binary_data_output": True}}
    assert outputs(ask(application, datatype, document, raw)) == {"y": ([2, 4], datatype, raw)}


@pytest.mark.parametrize("datatype", IN_JSON)
def test_binary_in_and_json_out(application: Application, datatype: str) -> None:
    raw = packed(VALUES[datatype], datatype)
    answer = ask(application, datatype, {"inputs": [announced(len(raw), [1, 4], datatype)]}, raw)
    assert outputs(answer) == {"y": ([1, 4], datatype, VALUES[datatype])}


@pytest.mark.parametrize("datatype", IN_JSON)
def test_json_in_and_binary_out(application: Application, datatype: str) -> None:
    document = {
        "inputs": [given(VALUES[datatype], [1, 4], datatype)],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }
    assert outputs(ask(application, datatype, document)) == {
        "y": ([1, 4], datatype, packed(VALUES[datatype], datatype))
    }


@pytest.mark.parametrize("datatype", [*IN_JSON, "FP16"])
def test_the_native_door(application: Application, datatype: str) -> None:
    body = {"model": datatype, "inputs": [VALUES[datatype]]}
    answer = application.request("POST", "/predict", json=body)
    assert answer.status_code == 200, answer.text
    got = np.array(answer.json()["outputs"]["y"], DTYPES[datatype])
    np.testing.assert_array_equal(got, np.array([VALUES[datatype]], DTYPES[datatype]))


@pytest.mark.parametrize("datatype", graphs.KINDS)
def test_a_raw_request(application: Application, datatype: str) -> None:
    raw = packed(VALUES[datatype], datatype)
    answer = application.post(f"/v2/models/{datatype}/infer", raw, **{"Inference-Header-Content-Length": "0"})
    if datatype == "BYTES":  # its length does not say how many there are
        assert answer.status_code == 400
    else:
        assert outputs(answer) == {"y": ([1, 4], datatype, raw)}


@pytest.mark.parametrize("datatype", graphs.KINDS)
def test_no_rows(application: Application, datatype: str) -> None:
    answer = ask(application, datatype, {"inputs": [announced(0, [0, 4], datatype)]})
    assert answer.status_code == (200 if datatype in IN_JSON else 400)  # it does not travel in JSON, not even empty
    document = {"inputs": [announced(0, [0, 4], datatype)], "parameters": {"binary_data_output": True}}
    assert outputs(ask(application, datatype, document)) == {"y": ([0, 4], datatype, b"")}


@pytest.mark.parametrize("shape", [[0, 2, 3], [2, 0, 3], [2, 3, 0], [0, 0, 0]], ids=str)
def test_empty_tensors_keep_their_shape(application: Application, shape: list[int]) -> None:
    expected = shape if shape[0] else [0, 0, 0]  # no rows are not run, so nobody knows the other free dimensions
    assert outputs(ask(application, "free", {"inputs": [given([], shape, "FP32")]})) == {"y": (expected, "FP32", [])}
    document = {"inputs": [announced(0, shape, "FP32")], "parameters": {"binary_data_output": True}}
    assert outputs(ask(application, "free", document)) == {"y": (expected, "FP32", b"")}


def test_an_empty_tensor_of_strings(application: Application) -> None:
    answer = ask(application, "words", {"inputs": [given([], [2, 0], "BYTES")]})
    assert outputs(answer) == {"y": ([2, 0], "BYTES", [])}


def test_scalars(application: Application) -> None:
    document: dict[str, Any] = {"inputs": [given([2.5], [], "FP32"), given([4], [], "FP32", "k")]}
    assert outputs(ask(application, "scalars", document)) == {"y": ([], "FP32", [10.0])}
    raw = np.array([2.5, 4], "<f4").tobytes()
    document = {"inputs": [announced(4, [], "FP32"), announced(4, [], "FP32", "k")]}
    document["parameters"] = {"binary_data_output": True}
    assert outputs(ask(application, "scalars", document, raw)) == {"y": ([], "FP32", np.float32(10).tobytes())}


def test_scalars_at_the_native_door(application: Application) -> None:
    body = {"model": "scalars", "inputs": {"x": 2.5, "k": 4}}
    answer = application.request("POST", "/predict", json=body)
    assert (answer.status_code, answer.json().get("outputs")) == (200, {"y": 10.0}), answer.text


def test_several_inputs_and_outputs_some_in_json_and_some_in_binary(application: Application) -> None:
    words, numbers = packed(["a", "ü"], "BYTES"), packed([1, 2, 3, 4], "INT64")
    document: dict[str, Any] = {
        "inputs": [
            announced(len(words), [2], "BYTES", "Wörter"),
            given([0.5], [], "FP32", "factor"),
            announced(len(numbers), [2, 2], "INT64", "a/b:0"),
            given([[True], [False], [True]], [3, 1], "BOOL", "is it"),
        ],
        "outputs": [
            {"name": "0"},
            {"name": "words out", "parameters": {"binary_data": True}},
            {"name": "out/Identity:0"},
        ],
    }
    assert outputs(ask(application, "several", document, words + numbers)) == {
        "0": ([], "INT64", [3]),
        "words out": ([2], "BYTES", words),
        "out/Identity:0": ([2, 2], "FP32", [0.5, 1.0, 1.5, 2.0]),
    }


@pytest.mark.parametrize("document", [{"inputs": [[1, 2, 3, 4]]}, {"inputs": []}], ids=str)
def test_bfloat16_does_not_travel_in_json(application: Application, document: dict[str, Any]) -> None:
    answer = application.request("POST", "/predict", json=document | {"model": "BF16"})
    assert answer.status_code == 400
    assert "BF16" in answer.json()["error"]
    raw = packed(VALUES["BF16"], "BF16")
    answer = ask(application, "BF16", {"inputs": [announced(len(raw), [1, 4], "BF16")]}, raw)
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("BF16, which JSON cannot carry here; binary tensors can")


def test_bfloat16_is_no_uint16(application: Application) -> None:
    raw = packed(VALUES["UINT16"], "UINT16")
    answer = ask(application, "BF16", {"inputs": [announced(len(raw), [1, 4], "UINT16")]}, raw)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("input 'x': expected datatype BF16, got uint16")


def test_every_datatype_is_here() -> None:
    assert graphs.KINDS.keys() == set(DataType)
