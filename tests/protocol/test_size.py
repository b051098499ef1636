"""How many elements and lists JSON may have: they are read one by one, while others wait."""

from collections.abc import Callable
from typing import Any

import pytest

from app.errors import InvalidInput, TooLarge
from app.protocol.json_tensors import MOST_ELEMENTS, MOST_LISTS
from tests.protocol.bodies import native_inputs, oip_inputs, signature, tensor


def flat(beyond: int) -> Any:
    count = MOST_ELEMENTS + beyond
    return oip_inputs({"inputs": [tensor([1] * count, [count])]}, signature("FP32", (-1,)))["x"]


def rows(beyond: int) -> Any:
    return native_inputs({"inputs": [[1, 2]] * (MOST_LISTS - 1 + beyond)}, signature("FP32", (-1, 2)))["x"]


def empty(beyond: int) -> Any:
    return native_inputs({"inputs": [[]] * (MOST_LISTS - 1 + beyond)}, signature("FP32", (-1, 0)))["x"]


@pytest.mark.parametrize("read", [flat, rows, empty])
def test_no_more_is_read_than_is_quick(read: Callable[[int], Any]) -> None:
    read(0)
    with pytest.raises(TooLarge, match=rf"expected at most {MOST_ELEMENTS} elements in {MOST_LISTS} lists, got \d+ in"):
        read(1)


def test_text_may_be_full_of_commas() -> None:
    text = "," * (MOST_ELEMENTS + 10) + "[" * (MOST_LISTS + 10)
    assert native_inputs({"inputs": [text]}, signature("BYTES", (-1,)))["x"][0] == text


def test_of_many_unknown_inputs_one_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"^inputs: expected only x, got no0$"):
        native_inputs({"inputs": {f"no{number}": 0 for number in range(50_000)}})
