"""Texts as rows of bytes: what is read, what is cut, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from training.data.dataset import Dataset
from training.data.text import distinct, read_texts, to_bytes
from training.errors import DataBroken

CLASSES = ("ham", "spam")


def read(tmp_path: Path, content: bytes, length: int = 8) -> Dataset:
    path = tmp_path / "texts.tsv"
    path.write_bytes(content)
    return read_texts(path, CLASSES, length)


def texts(rows: Dataset) -> list[bytes]:
    return [row.tobytes() for row in rows.inputs]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", b"\n", b"\r\n"])
def test_lines_end_as_they_like(tmp_path: Path, end: bytes, last: bytes) -> None:
    rows = read(tmp_path, b"ham\tHello" + end + b"spam\tWIN!" + last)
    assert texts(rows) == [b"Hello\0\0\0", b"WIN!\0\0\0\0"]
    assert (rows.inputs.dtype, rows.targets.dtype, rows.targets.tolist()) == (np.uint8, np.int64, [0, 1])


def test_a_text_may_hold_quotes_tabs_and_rare_line_ends(tmp_path: Path) -> None:
    rows = read(tmp_path, 'ham\t"a\tb"\nham\ta\x85\u2028b\x0c\r\nham\t\n'.encode())
    assert texts(rows) == [b'"a\tb"\0\0\0', "a\x85\u2028b\x0c".encode(), b"\0" * 8]


def test_a_long_text_is_cut_also_inside_a_character(tmp_path: Path) -> None:
    euro = "\u20ac".encode()
    assert texts(read(tmp_path, b"ham\t" + 3 * euro)) == [2 * euro + euro[:2]]
    assert to_bytes([], 5).shape == (0, 5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ham\tHello\nham Hello", "line 2: expected ham or spam, a TAB and a text"),
        (b"ham\tHello\neggs\tHello", "line 2: expected ham or spam, a TAB and a text"),
        (b"ham\tHello\n\nham\tHello", "line 2: expected ham or spam, a TAB and a text"),
        (b"", "line 1: expected ham or spam, a TAB and a text"),
        (b"\xff\tHello", "line 1: expected ham or spam, a TAB and a text"),
        (b"ham\tHell\xff", "line 1: expected UTF-8, got invalid start byte at byte 4 of the text"),
        (b"ham\tHe\0llo", "line 1: expected no byte of value 0 in a text"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DataBroken, match=f"^texts.tsv, {reason}"):
        read(tmp_path, content)


def test_equal_rows_count_once(tmp_path: Path) -> None:
    rows = distinct(read(tmp_path, b"ham\tb\nspam\ta\nham\tb\nham\tc\nspam\ta"))
    assert (rows.inputs[:, 0].tobytes(), rows.targets.tolist()) == (b"bac", [0, 1, 0])


def test_one_text_of_two_labels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataBroken, match="rows 0 and 2: expected one target"):
        distinct(read(tmp_path, b"ham\tb\nspam\ta\nspam\tb"))
