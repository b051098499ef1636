"""Plain infer requests: one raw tensor each, whose JSON has come before, and nothing asked for but raw tensors."""

import math
from functools import lru_cache
from typing import NamedTuple

from app.contract.tensors import DataType
from app.protocol import binary_tensors, infer_header
from app.protocol.layout import Layout
from app.protocol.messages import DTYPES, Inputs, Outputs, ServedModel
from app.protocol.plain import cut

Names = tuple[str, ...] | None
"""Of the outputs asked for; None for all."""


class RawInfer(NamedTuple):
    """A body whose layout is known."""

    model: str
    version: str | None
    inputs: tuple[Layout, bytes]
    asks: Names


class TensorRows:
    """Plain requests with a raw tensor for a model's only input."""

    __slots__ = ("_served", "_spec")

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._spec = served.signature.inputs[0]

    def read(self, inputs: tuple[Layout, bytes]) -> list[bytes]:
        layout, body = inputs
        count = layout.rows(self._served.signature)
        if not count:
            raise ValueError("no rows, or not known to be right")
        raw = layout.raw(body)
        return cut(raw, len(raw) // count)

    def inputs(self, rows: list[bytes]) -> Inputs:
        spec = self._spec
        array = binary_tensors.view(b"".join(rows), spec.datatype, len(rows) * math.prod(spec.shape[1:]))
        return {spec.name: array.reshape(len(rows), *spec.shape[1:])}

    def bodies(self, outputs: Outputs) -> "TensorBodies":
        return TensorBodies(self._served, outputs)


@lru_cache
def plain_rows(served: ServedModel) -> TensorRows | None:
    """None where the model has more inputs, a row of its input may have several shapes, or an output is text."""
    spec, *others = served.signature.inputs
    has_texts = any(output.datatype is DataType.BYTES for output in served.signature.outputs)
    return None if others or has_texts or min(spec.shape[1:], default=1) < 1 else TensorRows(served)


class _Frame(NamedTuple):
    """What answers of a run with as many rows of the same outputs have in common."""

    text: bytes
    raws: list[tuple[bytes, int]]
    """Of each output, the bytes of the whole run, and how many of them a row has."""


class TensorBodies:
    """The bodies of answers to plain requests that shared a run."""

    __slots__ = ("_frames", "_outputs", "_served")
    media_type = infer_header.BINARY_TYPE.encode()

    def __init__(self, served: ServedModel, outputs: Outputs) -> None:
        self._served = served
        self._outputs = outputs
        self._frames: dict[tuple[Names, int], _Frame] = {}

    def of(self, names: Names, start: int, stop: int, queue: float, total: float) -> tuple[bytes, int]:
        rows = stop - start
        frame = self._frames.get((names, rows))
        if frame is None:
            frame = self._frames[names, rows] = self._frame(names, rows)
        text, raws = frame
        return b"".join((text, *[raw[start * size : stop * size] for raw, size in raws])), len(text)

    def _frame(self, names: Names, rows: int) -> _Frame:
        specs, raws, sizes = infer_header.wanted(self._served, names), [], []
        for spec in specs:
            array = self._outputs.arrays[spec.name]
            raw = binary_tensors.write(array, spec.datatype)
            raws.append((raw, len(raw) // len(array)))
            sizes.append(array.shape[1:])
        return _Frame(_text(self._served, names, rows, tuple(sizes)), raws)


@lru_cache(maxsize=1024)
def _text(served: ServedModel, names: Names, rows: int, shapes: tuple[tuple[int, ...], ...]) -> bytes:
    """The JSON of an answer, for the shapes that a row of each output has."""
    outputs = [
        infer_header.raw_output(spec, [rows, *shape], rows * math.prod(shape) * DTYPES[spec.datatype].itemsize)
        for spec, shape in zip(infer_header.wanted(served, names), shapes, strict=True)
    ]
    return infer_header.write(served, outputs)
