"""Strings that are not UTF-8, such as the bytes of an image, as inputs of a graph.

ONNX Runtime's strings hold any bytes, but from an array of Python objects it takes text alone. From an array of void
(NumPy's dtype V) it takes every byte, though of elements of one length. So every row with such strings is a run of its
own: each gets the answer that it would get alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from app.contract.tensors import DataType, Signature
from app.protocol.messages import Array


def is_used(signature: Signature) -> bool:
    return any(spec.datatype is DataType.BYTES for spec in signature.inputs)


def run(session: Any, has_rows: bool, outputs: list[str], inputs: Mapping[str, Array], options: Any) -> list[Array]:
    """The outputs in this order. `has_rows` says that axis 0 of every input and output holds rows."""
    if not any(map(_is_raw, inputs.values())):
        answers: list[Array] = session.run(outputs, inputs, options)
        return answers
    if not has_rows:
        return _run(session, outputs, inputs, options)
    rows = range(len(next(iter(inputs.values()))))
    runs = [
        _run(session, outputs, {name: array[row : row + 1] for name, array in inputs.items()}, options) for row in rows
    ]
    return [np.concatenate(parts) for parts in zip(*runs, strict=True)]


def _run(session: Any, outputs: list[str], inputs: Mapping[str, Array], options: Any) -> list[Array]:
    given = {name: _as_void(array) if _is_raw(array) else array for name, array in inputs.items()}
    answers: list[Array] = session.run(outputs, given, options)
    return answers


def _is_raw(array: Array) -> bool:
    """Whether any of the strings are bytes: a request of text may share the batch."""
    return array.dtype == object and any(isinstance(element, bytes) for element in array.flat)


def _as_void(array: Array) -> Array:
    """Raises ValueError where the elements have different lengths."""
    (length,) = {len(element) for element in array.flat}
    return np.frombuffer(b"".join(array.flat), f"V{length}").reshape(array.shape)
