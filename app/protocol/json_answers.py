"""Arrays to JSON. orjson writes NumPy arrays directly, with the shortest digits that give the same float32.

A run's output is written once, and its text is cut into the rows of the requests that shared the run.
"""

from typing import Any

import numpy as np
import orjson

from app.errors import NotRepresentable
from app.protocol.messages import Array, Share

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
_NULL = b"null"
"""So orjson writes NaN and infinities, and no other number."""


def encode(document: Any) -> bytes:
    """JSON; NumPy arrays become nested lists."""
    return orjson.dumps(document, option=_OPTIONS)


def nested(share: Share, name: str) -> bytes:
    """A request's part of an output as a nested list. Raises NotRepresentable for NaN and infinities."""
    outputs = share.outputs
    text: RunText | None = outputs.written.get(name)
    if text is None:
        array = outputs.arrays[name]
        if not _is_shared(share, name, array):
            return _whole(share.array(name), name)
        text = outputs.written[name] = RunText(array)
    return text.part(share, name)


def flat(share: Share, name: str) -> bytes:
    """A request's part of an output as one list, row-major. Raises NotRepresentable."""
    text: RunText | None = share.outputs.written.get((name, "flat"))
    if text is None:
        array = share.outputs.arrays[name]
        if not _is_shared(share, name, array):
            return _whole(share.array(name).reshape(-1), name)
        text = share.outputs.written[name, "flat"] = RunText(array.reshape(len(array), -1), (b"[", b",", b"]"))
    return text.part(share, name)


def _is_shared(share: Share, name: str, array: Array) -> bool:
    """Whether a run's output has rows of other requests too, and its text falls into rows."""
    if share.stop is None or share.stop - share.start == len(array):
        return False
    return name not in share.outputs.lengths and _falls_into_rows(array)


def _falls_into_rows(array: Array) -> bool:
    return array.size > 0 and array.dtype.kind not in "OV"


def brackets(rank: int) -> tuple[bytes, bytes, bytes]:
    """What stands before, between and behind the rows of a nested list."""
    opened, closed = b"[" * rank, b"]" * rank
    return opened, closed[1:] + b"," + opened[1:], closed


def _within_brackets(array: Array) -> bytes:
    """The text of an array with rows, without what stands before and behind them."""
    return encode(np.ascontiguousarray(array))[array.ndim : -array.ndim]


def row_texts(array: Array, name: str, between: bytes) -> list[bytes]:
    """The rows of an output as text, each without the brackets around it. `between` is what stands between them.

    Raises NotRepresentable where the output is empty, or has what JSON cannot carry.
    """
    if not _falls_into_rows(array):
        raise not_representable(name)
    text = _within_brackets(array)
    if _NULL in text:
        raise not_representable(name)
    return text.split(between)


class RunText:
    """The rows of a run's output, each as text."""

    __slots__ = ("_between", "_close", "_open", "_rows")

    def __init__(self, array: Array, frame: tuple[bytes, bytes, bytes] | None = None) -> None:
        """`frame`: what stands before, between and behind the rows; by default what makes them one nested list."""
        nested = brackets(array.ndim)
        self._open, self._between, self._close = frame or nested
        self._rows = _within_brackets(array).split(nested[1])

    def part(self, share: Share, name: str) -> bytes:
        """The list of a request's rows. Raises NotRepresentable."""
        text = self._between.join(self._rows[share.start : share.stop])
        if _NULL in text:
            raise not_representable(name)
        return self._open + text + self._close


def _whole(array: Array, name: str) -> bytes:
    kind = array.dtype.kind
    if kind == "V":
        raise NotRepresentable(f"output '{name}' is BF16, which JSON cannot carry; .npy and binary tensors can")
    # orjson takes neither strings nor scalars
    text = encode(array.tolist() if kind == "O" or array.ndim == 0 else np.ascontiguousarray(array))
    if kind == "f" and _NULL in text:
        raise not_representable(name)
    return text


def not_representable(name: str) -> NotRepresentable:
    return NotRepresentable(
        f"output '{name}' holds NaN or infinity, which JSON cannot carry; .npy and binary tensors can"
    )
