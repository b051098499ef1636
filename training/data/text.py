"""Texts with their labels, one to a line, as rows of bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.errors import DataBroken

PADDING = 0
"""Behind the end of a text; no text holds this byte."""


def read_texts(path: Path, classes: Sequence[str], length: int) -> Dataset:
    """The lines `label TAB text` of a UTF-8 file, with any line ends and no quoting.

    Inputs are uint8 [rows, length], as `to_bytes` makes them; targets are the places of the labels in `classes`. Raises
    DataBroken, which names the line that is not of this form.
    """
    texts: list[bytes] = []
    targets: list[int] = []
    # Split at line ends alone: `splitlines` would also split at the rarer ones that texts hold.
    for number, line in enumerate(path.read_bytes().rstrip(b"\r\n").split(b"\n"), start=1):
        label, tab, text = line.rstrip(b"\r").partition(b"\t")
        if not tab or label.decode("utf-8", "replace") not in classes:
            raise DataBroken(f"{path.name}, line {number}: expected {' or '.join(classes)}, a TAB and a text")
        texts.append(_utf8(text, f"{path.name}, line {number}"))
        targets.append(classes.index(label.decode()))
    return Dataset(to_bytes(texts, length), np.array(targets, np.int64))


def _utf8(text: bytes, place: str) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise DataBroken(f"{place}: expected UTF-8, got {error.reason} at byte {error.start} of the text") from error
    if PADDING in text:
        raise DataBroken(f"{place}: expected no byte of value {PADDING} in a text, got one")
    return text


def to_bytes(texts: Sequence[bytes], length: int) -> NDArray[np.uint8]:
    """Each text cut after `length` bytes, which may be inside a character, or padded to them; uint8 [rows, length]."""
    rows = np.full((len(texts), length), PADDING, np.uint8)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = np.frombuffer(text[:length], np.uint8)
    return rows


def distinct(dataset: Dataset) -> Dataset:
    """The rows without those whose inputs were there before, so that no split can have one text on both sides.

    Raises DataBroken where the same inputs have two targets.
    """
    first: dict[bytes, int] = {}
    for row, (inputs, target) in enumerate(zip(dataset.inputs, dataset.targets, strict=True)):
        earlier = first.setdefault(inputs.tobytes(), row)
        if dataset.targets[earlier] != target:
            raise DataBroken(f"rows {earlier} and {row}: expected one target for the same inputs, got two")
    return dataset.take(np.fromiter(first.values(), np.intp))
