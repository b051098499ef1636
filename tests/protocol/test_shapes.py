"""Nesting and shapes: rank, ragged lists, empty batches, and shapes that no memory could hold."""

import subprocess
import sys
from typing import Any

import pytest

from tests.protocol.bodies import native_inputs, oip_inputs, refusal, signature, tensor

NATIVE = {
    "one row": ([[1, 2, 3]], (-1, 3), (1, 3)),
    "rows": ([[1, 2, 3], [4, 5, 6]], (-1, 3), (2, 3)),
    "free columns": ([[1, 2], [3, 4]], (-1, -1), (2, 2)),
    "no rows": ([], (-1, 3), (0, 3)),
    "no rows of images": ([], (-1, 8, 8), (0, 8, 8)),
    "no rows of anything": ([], (-1, -1, 8), (0, 0, 8)),
    "rows of length 0": ([[], []], (-1, -1), (2, 0)),
    "rows of length 0 and more axes": ([[], []], (-1, -1, 8), (2, 0, 8)),
    "rows of a fixed length 0": ([[], []], (-1, 0), (2, 0)),
    "a scalar": (7, (), ()),
}


@pytest.mark.parametrize(("inputs", "spec", "shape"), NATIVE.values(), ids=NATIVE)
@pytest.mark.parametrize("datatype", ["FP32", "INT64"])
def test_nesting_becomes_the_shape(inputs: Any, spec: tuple[int, ...], shape: tuple[int, ...], datatype: str) -> None:
    assert native_inputs({"inputs": inputs}, signature(datatype, spec))["x"].shape == shape


RAGGED = {
    "longer": ([[1, 2, 3], [1, 2, 3, 4]], (-1, 3)),
    "shorter": ([[1, 2, 3], [1, 2]], (-1, 3)),
    "all ragged": ([[1, 2], [1]], (-1, -1)),
    "an empty row": ([[1, 2, 3], []], (-1, 3)),
    "an empty row first": ([[], [1, 2, 3]], (-1, 3)),
    "deep": ([[[1, 2], [3]]], (-1, -1, -1)),
    "deep across rows": ([[[1]], [[1], [2]]], (-1, -1, -1)),
    "only empty lists, not as deep": ([[[]], []], (-1, -1, -1)),
}


@pytest.mark.parametrize("datatype", ["FP32", "INT64", "BOOL", "BYTES"])
@pytest.mark.parametrize(("inputs", "spec"), RAGGED.values(), ids=RAGGED)
def test_ragged_lists_are_refused_for_every_kind(inputs: Any, spec: tuple[int, ...], datatype: str) -> None:
    inputs = _mapped(inputs, {"BOOL": bool, "BYTES": str}.get(datatype, int))
    refusal(lambda: native_inputs({"inputs": inputs}, signature(datatype, spec)))
    shape = [len(inputs), *(max(dim, 1) for dim in spec[1:])]
    refusal(lambda: oip_inputs({"inputs": [tensor(inputs, shape, datatype)]}, signature(datatype, spec)))


WRONG_RANK = {
    "too flat": ([1, 2, 3], (-1, 3)),
    "much too flat": ([1], (-1, 8, 8)),
    "too deep": ([[[1, 2, 3]]], (-1, 3)),
    "a scalar": (1, (-1,)),
    "a list for a scalar": ([1], ()),
    "a string": ("abc", (-1, 3)),
    "null": (None, (-1, 3)),
    "wrong width": ([[1, 2]], (-1, 3)),
    "empty rows": ([[]], (-1, 3)),
    "empty rows of images": ([[], []], (-1, 8, 8)),
    "empty images": ([[[]]], (-1, 8, 8)),
}


@pytest.mark.parametrize(("inputs", "spec"), WRONG_RANK.values(), ids=WRONG_RANK)
def test_another_shape_is_refused(inputs: Any, spec: tuple[int, ...]) -> None:
    assert "x" in refusal(lambda: native_inputs({"inputs": {"x": inputs}}, signature("FP32", spec)))


@pytest.mark.parametrize("depth", [4, 1000, 5000, 200_000])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_deep_nesting_is_refused(depth: int, closed: bool) -> None:
    nested = b"[" * depth + b"1" + b"]" * depth * closed
    refusal(lambda: native_inputs(b'{"inputs": %s}' % nested))
    document = b'{"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": %s}]}' % nested
    refusal(lambda: oip_inputs(document))


SHAPED = {
    "flat": ([1, 2, 3, 4, 5, 6], [2, 3]),
    "nested": ([[1, 2, 3], [4, 5, 6]], [2, 3]),
    "no rows": ([], [0, 3]),
}


@pytest.mark.parametrize(("data", "shape"), SHAPED.values(), ids=SHAPED)
def test_data_is_flat_or_nested_row_major(data: Any, shape: list[int]) -> None:
    array = oip_inputs({"inputs": [tensor(data, shape)]})["x"]
    assert array.shape == tuple(shape)
    assert array.ravel().tolist() == [1, 2, 3, 4, 5, 6][: array.size]


def test_a_tensor_of_rank_0_holds_one_value() -> None:
    assert oip_inputs({"inputs": [tensor([7], [])]}, signature("FP32", ()))["x"].shape == ()


MISMATCHED = {
    "too few": ([1, 2, 3, 4, 5], [2, 3]),
    "too many": ([1, 2, 3, 4, 5, 6, 7], [2, 3]),
    "nested the other way": ([[1, 2], [3, 4], [5, 6]], [2, 3]),
    "nested in one row": ([[1, 2, 3, 4, 5, 6]], [2, 3]),
    "nested too deep": ([[[1, 2, 3]], [[4, 5, 6]]], [2, 3]),
    "nothing": ([], [2, 3]),
    "something for no rows": ([1], [0, 3]),
}


@pytest.mark.parametrize(("data", "shape"), MISMATCHED.values(), ids=MISMATCHED)
def test_data_that_does_not_fill_the_shape_is_refused(data: Any, shape: list[int]) -> None:
    assert refusal(lambda: oip_inputs({"inputs": [tensor(data, shape)]})).startswith("inputs[0].data")


HUGE = str(2**62)
SHAPES = {
    "negative": "[-1, 3]",
    "bool": "[true, 3]",
    "string": '["1", 3]',
    "float": "[1.0, 3]",
    "null": "[null, 3]",
    "nested": "[[1], 3]",
    "no list": "3",
    "one axis less": "[3]",
    "one axis more": "[1, 3, 1]",
    "a huge batch": "[1000000000, 3]",
    "2^62 x 64": f"[{HUGE}, 64]",
    "2^62 x 4, which wraps to 0": f"[{HUGE}, 4]",
    "2^63": f"[{2**63}, 3]",
    "more than u64": f"[{2**64}, 3]",
    "no rows of 2^62 x 64": f"[0, {HUGE}, 64]",
    "no rows of 2^64": f"[0, {2**64}]",
    "4000 digits": f"[1{'0' * 4000}, 1{'0' * 4000}]",
    "5000 digits": f"[1{'0' * 5000}, 3]",
    "65 axes, one more than NumPy has": f"[{'1,' * 64} 1]",
    "300 huge axes": f"[{f'{HUGE},' * 299} 1]",
    "20000 huge axes": f"[{f'{HUGE},' * 19_999} 1]",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("data", ["[]", "[1, 2, 3]"], ids=["no data", "data"])
def test_a_hostile_shape_is_refused_before_anything_is_allocated(shape: str, data: str) -> None:
    document = f'{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": "FP32", "data": {data}}}]}}'
    refusal(lambda: oip_inputs(document.encode()))


@pytest.mark.parametrize("axes", [1000, 100_000])
def test_a_shape_of_many_axes_with_nested_data_cannot_harm_the_process(axes: int) -> None:
    """In a process of its own, since a decoder that deep overflows the C stack."""
    script = (
        "from tests.protocol.bodies import oip_inputs, refusal\n"
        f"shape, data = b'1,' * {axes - 1} + b'1', b'[' * 60 + b'1' + b']' * 60\n"
        'tensor = b\'{"name": "x", "shape": [%s], "datatype": "FP32", "data": %s}\' % (shape, data)\n'
        "print(refusal(lambda: oip_inputs(b'{\"inputs\": [%s]}' % tensor)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-300:])


def _mapped(value: Any, kind: type) -> Any:
    return [_mapped(element, kind) for element in value] if isinstance(value, list) else kind(value)
