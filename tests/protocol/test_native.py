"""The native dialect: the members of a /predict body, and its answer."""

import json
from typing import Any

import numpy as np
import pytest

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.protocol import native
from app.protocol.messages import Timings
from tests.protocol.bodies import encoded, native_inputs, native_request, refusal, signature

ROW = [[1, 2, 3]]
LABELLED = signature("FP32", (-1, 3), labels=("a", "b", "c"))
TWO = Signature(
    inputs=(
        InputSpec(name="left/0", datatype="FP32", shape=(-1, 2)),
        InputSpec(name="right:0", datatype="INT64", shape=(-1,)),
    ),
    outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 2)),),
)


def test_only_the_inputs_are_needed() -> None:
    request = native_request({"inputs": ROW})
    assert (request.model, request.version, request.timeout, request.top_k) == (None, None, None, None)
    assert (request.outputs, request.id) == (None, None)


def test_every_member_is_read() -> None:
    request = native_request(
        {"model": "m", "version": 2, "inputs": ROW, "parameters": {"timeout_ms": 1500, "top_k": 2}}
    )
    assert (request.model, request.version, request.timeout, request.top_k) == ("m", "2", 1.5, 2)


@pytest.mark.parametrize(("parameters", "priority"), [({}, 2), *(({"priority": n}, n or 2) for n in range(4))])
def test_a_priority_is_1_to_3_and_0_stands_for_the_default(parameters: dict[str, int], priority: int) -> None:
    assert native_request({"inputs": ROW, "parameters": parameters}).priority == priority


@pytest.mark.parametrize(
    ("version", "read"), [(3, "3"), ("3", "3"), ("stable", "stable"), ("", ""), (None, None), (2**62, str(2**62))]
)
def test_a_version_is_a_number_or_a_string(version: Any, read: str | None) -> None:
    assert native_request({"inputs": ROW, "version": version}).version == read


@pytest.mark.parametrize("wrapped", [True, False], ids=["by name", "alone"])
@pytest.mark.parametrize("space", ["", " ", "\n\t "], ids=repr)
def test_the_only_input_may_be_named_or_not(wrapped: bool, space: str) -> None:
    inputs = json.dumps({"x": ROW} if wrapped else ROW)
    document = f'{space}{{{space}"inputs"{space}:{space}{inputs}{space}}}{space}'
    assert native_inputs(document.encode())["x"].tolist() == ROW


def test_several_inputs_go_by_name_in_any_order() -> None:
    inputs = native_inputs({"inputs": {"right:0": [5, 6], "left/0": [[1, 2], [3, 4]]}}, TWO)
    assert {name: array.tolist() for name, array in inputs.items()} == {
        "left/0": [[1, 2], [3, 4]],
        "right:0": [5, 6],
    }


def test_of_duplicate_keys_the_last_wins() -> None:
    assert native_inputs(b'{"inputs": [[9, 9, 9]], "inputs": [[1, 2, 3]]}')["x"].tolist() == ROW
    assert native_request(b'{"inputs": [], "model": "a", "model": "b"}').model == "b"


BODIES = {
    "empty": (b"", "body"),
    "blank": (b"  ", "body"),
    "not json": (b"hello", "body"),
    "trailing text": (b'{"inputs": [[1, 2, 3]]} x', "body"),
    "two documents": (b'{"inputs": []}{"inputs": []}', "body"),
    "byte order mark": (b'\xef\xbb\xbf{"inputs": []}', "body"),
    "utf-16": (json.dumps({"inputs": ROW}).encode("utf-16"), "body"),
    "invalid utf-8": (b'{"inputs": [], "model": "\xff"}', "body"),
    "overlong utf-8": (b'{"inputs": [], "model": "\xc0\xaf"}', "body"),
    "lone surrogate": (rb'{"inputs": [], "model": "\ud800"}', "body"),
    "control character": (b'{"inputs": [], "model": "a\x01"}', "body"),
    "null": (b"null", "body"),
    "list": (b"[[1, 2, 3]]", "body"),
    "number": (b"1", "body"),
    "no inputs": (b"{}", "inputs"),
    "unknown member": ({"inputs": ROW, "input": 1}, "input:"),
    "model no string": ({"inputs": ROW, "model": 1}, "model"),
    "version a bool": ({"inputs": ROW, "version": True}, "version"),
    "version a fraction": ({"inputs": ROW, "version": 1.5}, "version"),
    "version a list": ({"inputs": ROW, "version": [1]}, "version"),
    "version of 5000 digits": (b'{"inputs": [], "version": 1%s}' % (b"0" * 5000), "version"),
    "parameters null": ({"inputs": ROW, "parameters": None}, "parameters"),
    "parameters a list": ({"inputs": ROW, "parameters": []}, "parameters"),
    "unknown parameter": ({"inputs": ROW, "parameters": {"topk": 1}}, "parameters.topk"),
    "timeout 0": ({"inputs": ROW, "parameters": {"timeout_ms": 0}}, "parameters.timeout_ms"),
    "timeout negative": ({"inputs": ROW, "parameters": {"timeout_ms": -1}}, "parameters.timeout_ms"),
    "timeout a string": ({"inputs": ROW, "parameters": {"timeout_ms": "5"}}, "parameters.timeout_ms"),
    "timeout a bool": ({"inputs": ROW, "parameters": {"timeout_ms": True}}, "parameters.timeout_ms"),
    "timeout 1e999": (b'{"inputs": [], "parameters": {"timeout_ms": 1e999}}', "parameters.timeout_ms"),
    "priority -1": ({"inputs": ROW, "parameters": {"priority": -1}}, "parameters.priority"),
    "priority 4": ({"inputs": ROW, "parameters": {"priority": 4}}, "parameters.priority"),
    "priority 2^63": ({"inputs": ROW, "parameters": {"priority": 2**63}}, "parameters.priority"),
    "priority a fraction": ({"inputs": ROW, "parameters": {"priority": 1.5}}, "parameters.priority"),
    "priority a string": ({"inputs": ROW, "parameters": {"priority": "1"}}, "parameters.priority"),
    "priority a bool": ({"inputs": ROW, "parameters": {"priority": True}}, "parameters.priority"),
    "priority null": ({"inputs": ROW, "parameters": {"priority": None}}, "parameters.priority"),
    "top_k 0": ({"inputs": ROW, "parameters": {"top_k": 0}}, "parameters.top_k"),
    "top_k a fraction": ({"inputs": ROW, "parameters": {"top_k": 1.5}}, "parameters.top_k"),
    "top_k a bool": ({"inputs": ROW, "parameters": {"top_k": True}}, "parameters.top_k"),
}


@pytest.mark.parametrize(("document", "field"), BODIES.values(), ids=BODIES)
def test_a_wrong_body_is_refused_with_the_field(document: Any, field: str) -> None:
    assert refusal(lambda: native_request(document)).startswith(field)


@pytest.mark.parametrize("where", ["model", "inputs", "a key"])
def test_bytes_that_are_no_utf8_are_named_as_that(where: str) -> None:
    document = {
        "model": b'{"inputs": [], "model": "\xff"}',
        "inputs": b'{"inputs": [["\xff", "b", "c"]]}',
        "a key": b'{"inputs": [], "\xff": 1}',
    }[where]
    assert "UTF-8" in refusal(lambda: native_inputs(document, signature("BYTES")))


INPUTS = {
    "unknown name": ({"inputs": {"z": ROW}}, "inputs: expected only x, got z"),
    "one too many": ({"inputs": {"x": ROW, "z": ROW}}, "inputs: expected only x, got z"),
    "none": ({"inputs": {}}, "inputs: expected an input 'x', got none"),
    "a string": ({"inputs": "abc"}, "inputs: expected array, got str"),
    "null": ({"inputs": None}, "inputs: expected array, got null"),
    "named null": ({"inputs": {"x": None}}, "inputs.x: expected array, got null"),
    "located": ({"inputs": [[1, 2, 3], [4, True, 6]]}, "inputs[1][1]: expected float, got bool"),
    "located by name": ({"inputs": {"x": [[1, 2, None]]}}, "inputs.x[0][2]: expected float, got null"),
}


@pytest.mark.parametrize(("document", "text"), INPUTS.values(), ids=INPUTS)
def test_wrong_inputs_are_refused_with_the_place(document: Any, text: str) -> None:
    assert refusal(lambda: native_inputs(document)) == text


def test_a_list_for_several_inputs_is_refused_with_their_names() -> None:
    assert "left/0, right:0" in refusal(lambda: native_inputs({"inputs": ROW}, TWO))


def test_inputs_of_different_numbers_of_rows_are_refused() -> None:
    text = refusal(lambda: native_inputs({"inputs": {"left/0": [[1, 2]], "right:0": [1, 2]}}, TWO))
    assert text == "inputs: expected the same number of rows in every input, got left/0 1, right:0 2"


def test_many_unknown_names_make_no_long_message() -> None:
    names = {f"name {number}" + "x" * 100: [] for number in range(1000)}
    refusal(lambda: native_inputs({"inputs": names}))


def test_top_k_needs_labels() -> None:
    document = {"inputs": ROW, "parameters": {"top_k": 2}}
    assert native_inputs(document, LABELLED)["x"].tolist() == ROW
    assert refusal(lambda: native_inputs(document, signature())).startswith("parameters.top_k: expected")


def answer(given: Signature, timings: Timings, top_k: int | None = None, **outputs: Any) -> dict[str, Any]:
    """What the native dialect answers with these outputs."""
    parameters = {} if top_k is None else {"top_k": top_k}
    request = native_request({"inputs": ROW, "parameters": parameters})
    arrays = {name: np.array(values, np.float32) for name, values in outputs.items()}
    request.timings = timings
    document: dict[str, Any] = json.loads(encoded(native.encode, request, given, arrays).body)
    return document


def test_an_answer_has_these_members_and_no_predictions_without_labels() -> None:
    document = answer(signature(), Timings(1.0, decoded=1.001, started=1.003, computed=1.007), y=[[1, 2, 3]])
    assert document == {
        "model": "m",
        "version": 2,
        "outputs": {"y": [[1, 2, 3]]},
        "timing_ms": {"queue": 2.0, "compute": 4.0, "total": 7.0},
    }


@pytest.mark.parametrize(("top_k", "count"), [(None, 3), (1, 1), (2, 2), (99, 3)])
def test_labels_give_a_prediction_a_row(top_k: int | None, count: int) -> None:
    document = answer(LABELLED, Timings(0.0), top_k, y=[[0.5, 0.25, 0.75], [3, 2, 1]])
    assert [prediction["label"] for prediction in document["predictions"]] == ["c", "a"]
    assert [len(prediction["top"]) for prediction in document["predictions"]] == [count, count]
    assert document["predictions"][0]["top"][0] == {"label": "c", "score": 0.75}


def test_predictions_are_of_the_output_that_has_labels() -> None:
    features = OutputSpec(name="features", datatype="FP32", shape=(-1, 2))
    both = LABELLED.model_copy(update={"outputs": (features, *LABELLED.outputs)})
    document = answer(both, Timings(0.0), features=[[9, 9]], y=[[0.5, 0.25, 0.75]])
    assert [prediction["label"] for prediction in document["predictions"]] == ["c"]
    assert document["outputs"] == {"features": [[9, 9]], "y": [[0.5, 0.25, 0.75]]}


def test_no_rows_give_no_predictions() -> None:
    document = answer(LABELLED, Timings(0.0), y=np.empty((0, 3)))
    assert (document["outputs"], document["predictions"]) == ({"y": []}, [])
