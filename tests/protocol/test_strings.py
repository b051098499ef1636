"""How many strings a tensor may have, in every form that a client may send them in."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.contract.tensors import DataType
from app.errors import InvalidInput, TooLarge
from app.protocol import binary_tensors
from app.protocol.strings import MOST_STRINGS
from tests.protocol.bodies import native_inputs, oip_inputs, signature, tensor


def binary(count: int) -> int:
    raw = memoryview(b"\0\0\0\0" * count)
    return binary_tensors.read(raw, DataType.BYTES, (count // 2, 2), "inputs[0].data").size


def flat(count: int) -> int:
    given = {"inputs": [tensor([""] * count, [count // 2, 2], "BYTES")]}
    return oip_inputs(given, signature("BYTES", (-1, 2)))["x"].size


def nested(count: int) -> int:
    given = {"inputs": [tensor([["", ""]] * (count // 2), [count // 2, 2], "BYTES")]}
    return oip_inputs(given, signature("BYTES", (-1, 2)))["x"].size


def native(count: int) -> int:
    return native_inputs({"inputs": [["", ""]] * (count // 2)}, signature("BYTES", (-1, 2)))["x"].size


FORMS: dict[str, tuple[Callable[[int], int], str]] = {
    "binary": (binary, "inputs[0].data"),
    "flat JSON": (flat, "inputs[0].data"),
    "nested JSON": (nested, "inputs[0].data"),
    "/predict": (native, "inputs"),
}


@pytest.mark.parametrize(("read", "field"), FORMS.values(), ids=FORMS)
def test_a_tensor_has_no_more_strings_than_are_quickly_read(read: Callable[[int], int], field: str) -> None:
    assert read(MOST_STRINGS) == MOST_STRINGS
    with pytest.raises(TooLarge) as raised:
        read(MOST_STRINGS + 2)
    assert str(raised.value) == f"{field}: expected at most {MOST_STRINGS} strings, got {MOST_STRINGS + 2}"


def test_too_many_are_refused_before_one_is_read() -> None:
    """Their lengths are lies, which nobody gets to see."""
    raw = b"\xff" * (4 * MOST_STRINGS + 4)
    with pytest.raises(TooLarge):
        binary_tensors.read(memoryview(raw), DataType.BYTES, (MOST_STRINGS + 1,), "x")


@pytest.mark.parametrize("shape", [(MOST_STRINGS + 1,), (2**62, 4), (2**63 - 1,) * 32], ids=["many", "huge", "32 axes"])
def test_a_count_that_the_bytes_cannot_hold_is_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="expected at least"):
        binary_tensors.read(memoryview(b"\0" * 4 * MOST_STRINGS), DataType.BYTES, shape, "x")


@pytest.mark.parametrize("datatype", ["FP32", "UINT8", "BOOL"])
def test_numbers_are_bound_by_the_size_of_the_body_alone(datatype: str) -> None:
    raw: Any = memoryview(np.zeros(MOST_STRINGS + 1, DataType(datatype).numpy).tobytes())
    assert binary_tensors.read(raw, DataType(datatype), (MOST_STRINGS + 1,), "x").size == MOST_STRINGS + 1
