"""Strings of any bytes reach a graph as they are, whatever their lengths."""

from pathlib import Path

import numpy as np
import pytest

from app.errors import ExecutionFailed
from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph
from app.runtime.providers import Placement
from app.runtime.session import Session
from tests import graphs

PNG = b"\x89PNG\r\n\x1a\n\0\0\xff\0z"
OTHERS = [PNG[:-1], PNG + b"\0", b"\xff", PNG[:3], bytes(len(PNG))]


def opened(path: Path) -> Session:
    return Session.load(Graph.open(path), Placement(), 1, GraphCache(path.parent / "cache"))


def column(*rows: bytes | str) -> np.ndarray:
    made = np.empty(len(rows), object)
    made[:] = rows
    return made


def test_each_row_is_seen_to_the_byte(tmp_path: Path) -> None:
    session = opened(graphs.recognises(tmp_path / "model.onnx", PNG))
    for rows in ([PNG], [PNG, PNG], [PNG, *OTHERS, PNG], OTHERS):
        assert session.run({"x": column(*rows)})["y"].tolist() == [row == PNG for row in rows]


def test_rows_may_have_further_axes(tmp_path: Path) -> None:
    session = opened(graphs.recognises(tmp_path / "model.onnx", PNG, ("N", 1)))
    assert session.run({"x": column(PNG, b"a").reshape(2, 1)})["y"].tolist() == [[True], [False]]


def test_text_is_still_text(tmp_path: Path) -> None:
    session = opened(graphs.recognises(tmp_path / "model.onnx", "ä".encode()))
    assert session.run({"x": column("ä", "a")})["y"].tolist() == [True, False]
    assert session.run({"x": column()})["y"].tolist() == []


def test_where_there_are_no_rows_lengths_must_be_one(tmp_path: Path) -> None:
    session = opened(graphs.recognises(tmp_path / "model.onnx", PNG, (2,)))
    assert session.run({"x": column(PNG, bytes(len(PNG)))})["y"].tolist() == [True, False]
    with pytest.raises(ExecutionFailed):
        session.run({"x": column(PNG, b"a")})


@pytest.mark.parametrize("rows", [["a", PNG], [PNG, "a"], ["a", PNG, "ab", PNG[:-1]], ["PNG", PNG, "\x89PNG"]])
def test_text_and_bytes_share_a_batch(tmp_path: Path, rows: list[bytes | str]) -> None:
    """A request of text runs with one that brings a picture, whichever came first."""
    session = opened(graphs.recognises(tmp_path / "model.onnx", PNG))
    assert session.run({"x": column(*rows)})["y"].tolist() == [row == PNG for row in rows]
