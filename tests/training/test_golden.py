"""The golden sample: real rows, the trained net's answers, the same bytes each time."""

from pathlib import Path

import numpy as np
from torch import nn

from training import golden
from training.compress.evaluating import net_answers
from training.data.dataset import Split
from training.recipes.digits import DIGITS


def write(net: nn.Module, split: Split, folder: Path) -> None:
    rows = split.test.inputs[:16]
    golden.write(rows, net_answers(net, rows), DIGITS.input, DIGITS.output, folder)


def test_it_holds_rows_and_answers(net: nn.Module, split: Split, tmp_path: Path) -> None:
    write(net, split, tmp_path)
    with np.load(tmp_path / golden.FILENAME) as arrays:
        assert set(arrays) == {"inputs/image", "outputs/logits"}
        assert np.array_equal(arrays["inputs/image"], split.test.inputs[:16])
        assert np.array_equal(arrays["outputs/logits"], net_answers(net, split.test.inputs[:16]))


def test_it_is_the_same_to_the_byte(net: nn.Module, split: Split, tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write(net, split, folder)
        written.append((folder / golden.FILENAME).read_bytes())
    assert written[0] == written[1]
    # A zip entry's date, so that the two are not equal only because they were written within one second.
    assert b"\x00\x00\x21\x00" in written[0][:20]
