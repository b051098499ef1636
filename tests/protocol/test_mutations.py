"""Damaged bodies: each is a request or InvalidInput, and never anything else."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.contract.tensors import InputSpec, OutputSpec, Signature
from app.errors import InvalidInput
from app.protocol.messages import Tensors
from tests.protocol.bodies import native_inputs, oip_inputs, tensor

SIGNATURE = Signature(
    inputs=(
        InputSpec(name="x", datatype="FP32", shape=(-1, 2)),
        InputSpec(name="n", datatype="INT8", shape=(-1, -1, 2)),
        InputSpec(name="s", datatype="BYTES", shape=(-1, 2)),
        InputSpec(name="b", datatype="BOOL", shape=(-1,)),
    ),
    outputs=(OutputSpec(name="y", datatype="FP32", shape=(-1, 2), labels=("a", "b")),),
)
VALUES = {"x": [[1.5, -2]], "n": [[[1, 2]]], "s": [["a", "🌳"]], "b": [True]}
SHAPES = {"x": [1, 2], "n": [1, 1, 2], "s": [1, 2], "b": [1]}
NATIVE = {"model": "m", "version": 1, "inputs": VALUES, "parameters": {"timeout_ms": 5, "top_k": 1}}
OIP = {
    "id": "7",
    "parameters": {"timeout": 5, "mine": 1.5},
    "inputs": [
        tensor(VALUES[spec.name], SHAPES[spec.name], str(spec.datatype), spec.name, parameters={"p": "q"})
        for spec in SIGNATURE.inputs
    ],
    "outputs": [{"name": "y", "parameters": {}}],
}
DIALECTS = [(native_inputs, NATIVE), (oip_inputs, OIP)]
dialect = pytest.mark.parametrize(("read", "valid"), DIALECTS, ids=["native", "oip"])
Read = Callable[[Any, Signature], Tensors]

PIECES = (
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b",",
    b":",
    b"\\",
    b"\\ud800",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\0",
    b"-",
    b"0",
    b".",
)
WORDS = (b"null", b"true", b"NaN", b"1e999", b"9" * 30, b"9" * 5000, b"[" * 3000)
INTERESTING = st.sampled_from(PIECES + WORDS)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("xnsby", max_size=2), inner, max_size=3)
)


def settles(read: Read, document: Any) -> None:
    """It is read as tensors that fit the signature, or refused; any other exception fails the test."""
    try:
        inputs = read(document, SIGNATURE)
    except InvalidInput:
        return
    assert inputs.keys() == VALUES.keys()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a document."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in members for found in [(*path, key), *places(inner, (*path, key))]]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@dialect
def test_the_undamaged_body_is_read(read: Read, valid: Any) -> None:
    assert {name: array.tolist() for name, array in read(valid, SIGNATURE).items()} == VALUES


@dialect
@settings(deadline=None, max_examples=250)
@given(data=st.data())
def test_damaged_bytes_are_a_request_or_invalid_input(read: Read, valid: Any, data: st.DataObject) -> None:
    raw = bytearray(json.dumps(valid, ensure_ascii=False).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 40)))
        copied = bytes(raw[start:end])
        raw[start:end] = data.draw(st.one_of(st.just(b""), st.just(copied * 2), INTERESTING, st.binary(max_size=3)))
    settles(read, bytes(raw))


@dialect
def test_every_beginning_of_a_body_is_invalid_input(read: Read, valid: Any) -> None:
    raw = json.dumps(valid).encode()
    for length in range(len(raw)):
        with pytest.raises(InvalidInput):
            read(raw[:length], SIGNATURE)


@dialect
@settings(deadline=None, max_examples=250)
@given(data=st.data())
def test_another_value_anywhere_is_a_request_or_invalid_input(read: Read, valid: Any, data: st.DataObject) -> None:
    document = copy.deepcopy(valid)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(document)))
        another = at(document, data.draw(st.sampled_from(places(document))))
        at(document, path[:-1])[path[-1]] = copy.deepcopy(data.draw(JSON | st.just(another)))
    settles(read, document)


@dialect
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_missing_or_an_additional_part_is_a_request_or_invalid_input(
    read: Read, valid: Any, data: st.DataObject
) -> None:
    document = copy.deepcopy(valid)
    path = data.draw(st.sampled_from(places(document)))
    parent = at(document, path[:-1])
    if data.draw(st.booleans()):
        del parent[path[-1]]
    elif isinstance(parent, list):
        parent.insert(path[-1], data.draw(JSON))
    else:
        parent[data.draw(st.text("xnsby", max_size=2))] = data.draw(JSON)
    settles(read, document)


@dialect
@settings(deadline=None)
@given(document=JSON)
@example(document={})
@example(document={"inputs": {}})
def test_any_json_is_a_request_or_invalid_input(read: Read, valid: Any, document: Any) -> None:
    settles(read, document)
    settles(read, valid | {"inputs": document})
