"""The Open Inference Protocol's JSON: every row of the table of hostile bodies, ids, parameters, outputs."""

import json
from typing import Any

import numpy as np
import pytest

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.errors import NotRepresentable
from app.protocol import oip
from tests.protocol.bodies import encoded, oip_inputs, oip_request, refusal, signature, tensor

GOOD = tensor([1, 2, 3], [1, 3])


def without(member: str) -> dict[str, Any]:
    return {"inputs": [{key: value for key, value in GOOD.items() if key != member}]}


def changed(**members: Any) -> dict[str, Any]:
    return {"inputs": [GOOD | members]}


def with_parameters(**parameters: Any) -> dict[str, Any]:
    return {"inputs": [GOOD], "parameters": parameters}


REFUSED = {
    "empty body": (b"", "body"),
    "not json": (b"hello", "body"),
    "truncated json": (json.dumps({"inputs": [GOOD]}).encode()[:-5], "body"),
    "json null": (b"null", "body"),
    "json list": (b"[]", "body"),
    "trailing text": (json.dumps({"inputs": [GOOD]}).encode() + b"}", "body"),
    "no inputs": ({}, "inputs"),
    "inputs empty": ({"inputs": []}, "inputs"),
    "inputs null": ({"inputs": None}, "inputs"),
    "inputs object": ({"inputs": {"x": GOOD}}, "inputs"),
    "input no object": ({"inputs": [[1]]}, "inputs[0]"),
    "input missing name": (without("name"), "inputs[0].name"),
    "input name no string": (changed(name=1), "inputs[0].name"),
    "unknown input name": (changed(name="z"), "inputs[0].name"),
    "extra input": ({"inputs": [GOOD, GOOD | {"name": "z"}]}, "inputs[1].name"),
    "input twice": ({"inputs": [GOOD, GOOD]}, "inputs[1].name"),
    "missing shape": (without("shape"), "inputs[0].shape"),
    "missing datatype": (without("datatype"), "inputs[0].datatype"),
    "missing data": (without("data"), "inputs[0].data"),
    "unknown datatype": (changed(datatype="FP31"), "inputs[0].datatype"),
    "datatype in lower case": (changed(datatype="fp32"), "inputs[0].datatype"),
    "datatype no string": (changed(datatype=1), "inputs[0].datatype"),
    "wrong datatype INT32": (changed(datatype="INT32"), "input 'x'"),
    "data null": (changed(data=None), "inputs[0].data"),
    "data a number": (changed(data=1), "inputs[0].data"),
    "data a string": (changed(data="123"), "inputs[0].data"),
    "data an object": (changed(data={"0": 1}), "inputs[0].data"),
    "data bool in FP32": (changed(data=[True, 2, 3]), "inputs[0].data[0]"),
    "data null in FP32": (changed(data=[1, None, 3]), "inputs[0].data[1]"),
    "data string in FP32": (changed(data=[1, 2, "3"]), "inputs[0].data[2]"),
    "NaN literal": (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', "body"),
    "ragged nested": (changed(data=[[1, 2], [3]]), "inputs[0].data"),
    "id not string": ({"inputs": [GOOD], "id": 7}, "id"),
    "id with CRLF": ({"inputs": [GOOD], "id": "a\r\nb"}, "id"),
    "id with NUL": ({"inputs": [GOOD], "id": "a\0b"}, "id"),
    "id with DEL": ({"inputs": [GOOD], "id": "\x7f"}, "id"),
    "id with a line separator": ({"inputs": [GOOD], "id": "\u2028"}, "id"),
    "id too long": ({"inputs": [GOOD], "id": "x" * 257}, "id"),
    "lone surrogate id": (b'{"id": "\\ud800", ' + json.dumps({"inputs": [GOOD]}).encode()[1:], "body"),
    "invalid utf8": (b'{"id": "\xff", ' + json.dumps({"inputs": [GOOD]}).encode()[1:], "body"),
    "utf8 BOM": (b"\xef\xbb\xbf" + json.dumps({"inputs": [GOOD]}).encode(), "body"),
    "params not object": ({"inputs": [GOOD], "parameters": [1]}, "parameters"),
    "params nested obj": (with_parameters(mine={"a": 1}), "parameters"),
    "params nested list": (with_parameters(mine=[1]), "parameters"),
    "params null": (with_parameters(mine=None), "parameters"),
    "input params nested": (changed(parameters={"a": {}}), "inputs[0].parameters"),
    "timeout string": (with_parameters(timeout="5"), "parameters.timeout"),
    "timeout a long string": (with_parameters(timeout="5" * 100_000), "parameters.timeout"),
    "timeout bool": (with_parameters(timeout=True), "parameters.timeout"),
    "timeout fraction": (with_parameters(timeout=1.5), "parameters.timeout"),
    "timeout negative": (with_parameters(timeout=-1), "parameters.timeout"),
    "timeout 1e400": (b'{"parameters": {"timeout": 1%s}, "inputs": [%s]}', "parameters.timeout"),
    "priority -1": (with_parameters(priority=-1), "parameters.priority: expected an integer from 0 (default) to 3"),
    "priority 4": (with_parameters(priority=4), "parameters.priority"),
    "priority a fraction": (with_parameters(priority=1.5), "parameters.priority"),
    "priority 1.0": (with_parameters(priority=1.0), "parameters.priority"),
    "priority a string": (with_parameters(priority="1"), "parameters.priority"),
    "priority a bool": (with_parameters(priority=True), "parameters.priority"),
    "priority 2^63": (with_parameters(priority=2**63), "parameters.priority"),
    "sequence_id on stateless": (with_parameters(sequence_id=1), "parameters.sequence_id"),
    "sequence_id 0": (with_parameters(sequence_id=0), "parameters.sequence_id"),
    "sequence_start": (with_parameters(sequence_start=True), "parameters.sequence_start"),
    "sequence_end": (with_parameters(sequence_end=True), "parameters.sequence_end"),
    "binary_data_output no bool": (with_parameters(binary_data_output=1), "parameters.binary_data_output"),
    "data and binary_data_size": (changed(parameters={"binary_data_size": 12}), "inputs[0].data"),
    "binary_data_size without bytes": (
        {"inputs": [{**without("data")["inputs"][0], "parameters": {"binary_data_size": 12}}]},
        "inputs[0].parameters.binary_data_size",
    ),
    "shared memory in": (
        changed(parameters={"shared_memory_region": "r"}),
        "inputs[0].parameters.shared_memory_region",
    ),
    "output no object": ({"inputs": [GOOD], "outputs": ["y"]}, "outputs[0]"),
    "output without name": ({"inputs": [GOOD], "outputs": [{}]}, "outputs[0].name"),
    "dup output": ({"inputs": [GOOD], "outputs": [{"name": "y"}, {"name": "y"}]}, "outputs"),
    "outputs null": ({"inputs": [GOOD], "outputs": None}, "outputs"),
}
for member in (
    "shared_memory_region",
    "shared_memory_offset",
    "shared_memory_byte_size",
    "classification",
    "binary_data_size",
    "binary_data",
):
    REFUSED[f"output {member}"] = (
        {"inputs": [GOOD], "outputs": [{"name": "y", "parameters": {member: 1}}]},
        f"outputs[0].parameters.{member}",
    )
REFUSED["timeout 1e400"] = (
    REFUSED["timeout 1e400"][0] % (b"0" * 400, json.dumps(GOOD).encode()),
    "parameters.timeout",
)


@pytest.mark.parametrize(("document", "field"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_body_is_refused_with_the_field(document: Any, field: str) -> None:
    assert refusal(lambda: oip_inputs(document)).startswith(field)


ACCEPTED = {
    "plain": {"inputs": [GOOD]},
    "dup json keys, last wins": json.dumps({"inputs": [GOOD | {"data": [9, 9, 9]}]}).encode()[:-1]
    + b", "
    + json.dumps({"inputs": [GOOD]}).encode()[1:],
    "outputs empty": {"inputs": [GOOD], "outputs": []},
    "outputs": {"inputs": [GOOD], "outputs": [{"name": "y"}]},
    "output parameters": {"inputs": [GOOD], "outputs": [{"name": "y", "parameters": {"binary_data": False}}]},
    "id null": {"inputs": [GOOD], "id": None},
    "custom parameters": with_parameters(mine=1, other="x", third=1.5, fourth=True),
    "custom parameters of an input": changed(parameters={"mine": 1}),
    "unknown members": {"inputs": [GOOD | {"extra": 1}], "extra": [1]},
    "switched off": with_parameters(binary_data_output=False, sequence_start=False, sequence_end=False),
    "timeout 0": with_parameters(timeout=0),
}


@pytest.mark.parametrize("document", ACCEPTED.values(), ids=ACCEPTED)
def test_a_legal_body_is_read(document: Any) -> None:
    assert oip_inputs(document)["x"].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("microseconds", "seconds"), [(0, None), (1, 1e-6), (2_500_000, 2.5), (2**63 - 1, 2**63 / 1e6)]
)
def test_a_timeout_is_in_microseconds_and_0_is_none(microseconds: int, seconds: float | None) -> None:
    timeout = oip_request(with_parameters(timeout=microseconds)).timeout
    assert timeout == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(("parameters", "priority"), [({}, 2), *(({"priority": n}, n or 2) for n in range(4))])
def test_a_priority_is_1_to_3_and_0_stands_for_the_default(parameters: dict[str, int], priority: int) -> None:
    assert oip_request(with_parameters(**parameters)).priority == priority


def test_without_a_timeout_there_is_none() -> None:
    assert oip_request({"inputs": [GOOD]}).timeout is None


@pytest.mark.parametrize("name", ["", "a", "x" * 256, "Ünïcödé 🌳", "a b", "../../etc"])
def test_a_printable_id_comes_back(name: str) -> None:
    assert written({"inputs": [GOOD], "id": name})["id"] == name


def test_an_answer_has_an_id_only_where_one_was_sent() -> None:
    assert "id" not in written({"inputs": [GOOD]})


@pytest.mark.parametrize(
    ("outputs", "names"),
    [(None, None), ([], None), ([{"name": "y"}], ("y",)), ([{"name": "b"}, {"name": "a"}], ("b", "a"))],
)
def test_outputs_are_asked_for_by_name_in_order_and_all_by_default(
    outputs: list[Any] | None, names: tuple[str, ...] | None
) -> None:
    document = {"inputs": [GOOD]} if outputs is None else {"inputs": [GOOD], "outputs": outputs}
    assert oip_request(document).outputs == names


@pytest.mark.parametrize(
    ("asked", "answered"), [([], ["a", "b"]), (["b"], ["b"]), (["b", "a"], ["b", "a"]), (["a", "b"], ["a", "b"])]
)
def test_only_the_outputs_asked_for_are_answered_in_that_order(asked: list[str], answered: list[str]) -> None:
    two = Signature(
        inputs=signature().inputs,
        outputs=tuple(OutputSpec(name=name, datatype="FP32", shape=(-1, 1)) for name in ("a", "b")),
    )
    request = oip_request({"inputs": [GOOD], "outputs": [{"name": name} for name in asked]})
    outputs = {"a": np.array([[1]], np.float32), "b": np.array([[2]], np.float32)}
    document = json.loads(encoded(oip.encode, request, two, outputs).body)
    assert [(output["name"], output["data"]) for output in document["outputs"]] == [
        (name, outputs[name].ravel().tolist()) for name in answered
    ]


def test_a_missing_input_is_named() -> None:
    two = Signature(
        inputs=tuple(InputSpec(name=name, datatype="FP32", shape=(-1, 3)) for name in ("x", "other")),
        outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 3)),),
    )
    assert refusal(lambda: oip_inputs({"inputs": [GOOD]}, two)) == "inputs: expected an input 'other', got x"


@pytest.mark.parametrize("member", ["name", "datatype"])
def test_a_long_value_makes_no_long_message(member: str) -> None:
    refusal(lambda: oip_inputs(changed(**{member: "z" * 100_000})))


def written(document: Any, array: Any = None, given: Signature | None = None) -> dict[str, Any]:
    """The answer to a body, when the model gave this array for y."""
    given = given or signature()
    outputs = {"y": np.zeros((1, 3), np.float32) if array is None else array}
    answer: dict[str, Any] = json.loads(encoded(oip.encode, oip_request(document), given, outputs).body)
    return answer


def test_an_answer_has_these_members_and_flat_data() -> None:
    assert written({"inputs": [GOOD]}, np.arange(6, dtype=np.float32).reshape(2, 3)) == {
        "model_name": "m",
        "model_version": "2",
        "outputs": [{"name": "y", "shape": [2, 3], "datatype": "FP32", "data": [0, 1, 2, 3, 4, 5]}],
    }


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), ()])
def test_an_output_of_any_shape_is_written_flat(shape: tuple[int, ...]) -> None:
    output = written({"inputs": [GOOD]}, np.ones(shape, np.float32), signature("FP32", shape))["outputs"][0]
    assert (output["shape"], output["data"]) == (list(shape), [1.0] * int(np.prod(shape)))


def test_an_fp16_output_does_not_travel_in_the_protocols_json() -> None:
    with pytest.raises(NotRepresentable, match=r"'y'.*FP16.*binary"):
        written({"inputs": [GOOD]}, np.ones((1, 3), np.float16), signature("FP16"))
