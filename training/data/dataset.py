"""A dataset, and its split into train, validation and test."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import RepeatedStratifiedKFold, train_test_split


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows with their right answers.

    `inputs` is [rows, ...], as the net takes them; `targets` is int64 [rows].
    """

    inputs: NDArray[Any]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def sha256(self) -> str:
        """Digest of every row in its place: type, shape and bytes of both arrays."""
        return digest(self)

    def take(self, rows: NDArray[np.intp]) -> "Dataset":
        """The rows at these indices, in their order."""
        return Dataset(self.inputs[rows], self.targets[rows])


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts that share no row.

    The net learns from `train`. `validation` is for every choice and proof on the way. `test` is for the published
    figure and for comparing two forms of the finished net: nothing is ever chosen by it.
    """

    train: Dataset
    validation: Dataset
    test: Dataset

    @property
    def development(self) -> Dataset:
        """Train and validation together: everything but the test rows."""
        return Dataset(
            np.concatenate((self.train.inputs, self.validation.inputs)),
            np.concatenate((self.train.targets, self.validation.targets)),
        )

    @property
    def sha256(self) -> str:
        """Digest of every row, in its part and place: type, shape and bytes of the six arrays."""
        return digest(self.train, self.validation, self.test)


def digest(*parts: Dataset) -> str:
    """sha256 over the arrays of the parts, one after the other: type, shape and bytes of each."""
    return array_sha256(*(array for part in parts for array in (part.inputs, part.targets)))


def array_sha256(*arrays: NDArray[Any]) -> str:
    """sha256 over type, shape and bytes of each array."""
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(f"{array.dtype.str}{array.shape}".encode())
        sha256.update(np.ascontiguousarray(array).tobytes())
    return sha256.hexdigest()


def stratified(dataset: Dataset, *, validation: float, test: float, seed: int) -> Split:
    """Splits by shares of all rows, each class in the same proportion everywhere."""
    rest, tested = train_test_split(
        np.arange(len(dataset)), test_size=test, stratify=dataset.targets, random_state=seed
    )
    trained, validated = train_test_split(
        rest, test_size=round(validation * len(dataset)), stratify=dataset.targets[rest], random_state=seed
    )
    return Split(dataset.take(trained), dataset.take(validated), dataset.take(tested))


def stratified_folds(dataset: Dataset, *, folds: int, repeats: int, seed: int) -> Iterator[tuple[Dataset, Dataset]]:
    """(train, held out) of each fold of each repeat; within a repeat every row is held out once."""
    indices = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    for trained, held_out in indices.split(dataset.targets, dataset.targets):
        yield dataset.take(trained), dataset.take(held_out)
