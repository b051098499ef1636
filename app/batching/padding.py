"""Padding: requests of different lengths share a run, each padded to the longest, and get their own lengths back."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from app.protocol.messages import Array, Column, Inputs

AXIS = 1
BUCKETS_AN_OCTAVE = 4
"""Lengths of one bucket differ by a factor of at most 2^(1/4) = 1.19, so that a batch wastes 9 % or so on padding."""


class Bucket(NamedTuple):
    """The shape key of requests that are padded: of about the same length, and alike in all else."""

    length: int
    """The largest length in it."""
    others: Hashable


@dataclass(frozen=True, slots=True)
class Padding:
    """How a model's inputs may be lengthened along axis 1 without changing the answers."""

    values: Mapping[str, float]
    """Pad value of every input that has the length."""
    outputs: frozenset[str]
    """Outputs that have the length too."""

    def length(self, inputs: Inputs) -> int | None:
        """The one length of a request's padded inputs; None where they do not agree."""
        lengths = {np.shape(inputs[name])[AXIS] for name in self.values}
        return lengths.pop() if len(lengths) == 1 else None

    def join(self, parts: Sequence[Inputs], length: int) -> Inputs:
        """The rows of all parts, those inputs that have the length padded to it."""
        return {
            name: _padded([np.asarray(part[name]) for part in parts], length, self.values[name])
            if name in self.values
            else _concatenated([part[name] for part in parts])
            for name in parts[0]
        }


def bucket_length(length: int) -> int:
    """The largest length of the bucket that holds `length`: buckets grow geometrically, and short ones are exact."""
    top = 1
    while top < length:
        top = max(top + 1, int(top * 2 ** (1 / BUCKETS_AN_OCTAVE)))
    return top


def joined(parts: Sequence[Inputs]) -> Inputs:
    """The rows of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    return {name: _concatenated([part[name] for part in parts]) for name in parts[0]}


def _concatenated(columns: list[Column]) -> Column:
    arrays = [column for column in columns if not isinstance(column, list)]
    if not arrays:
        return [row for column in columns for row in column]
    if len(arrays) == len(columns):
        return np.concatenate(arrays)
    return np.concatenate([np.asarray(column, arrays[0].dtype) for column in columns])


def _padded(arrays: list[Array], length: int, value: float) -> Array:
    rows = sum(len(array) for array in arrays)
    whole = np.full((rows, length, *arrays[0].shape[AXIS + 1 :]), value, arrays[0].dtype)
    start = 0
    for array in arrays:
        whole[start : start + len(array), : array.shape[AXIS]] = array
        start += len(array)
    return whole
