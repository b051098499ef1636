"""The golden sample: read strictly, replayed within its tolerance."""

import gc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from app.contract.manifest import Tolerance
from app.errors import LoadFailed
from app.protocol.messages import Array
from app.runtime.golden import Golden
from app.runtime.session import Session
from tests import graphs
from tests.runtime import made

TOLERANCE = Tolerance(rtol=1e-3, atol=1e-4)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A copy of x [N, 4]."""
    return made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", TensorProto.FLOAT))


def rows(value: float = 1.0, count: int = 3, width: int = 4) -> Array:
    return np.full((count, width), value, np.float32)


def golden(folder: Path, session: Session, x: Array, y: Array) -> Golden:
    """A golden sample, written and read."""
    np.savez(folder / "golden.npz", **{"inputs/x": x, "outputs/y": y})
    return Golden.read(folder / "golden.npz", session.signature)


def test_a_sample_comes_back_by_the_names_of_the_signature(tmp_path: Path, session: Session) -> None:
    sample = golden(tmp_path, session, rows(1), rows(2))
    np.testing.assert_array_equal(sample.inputs["x"], rows(1))
    np.testing.assert_array_equal(sample.outputs["y"], rows(2))


@pytest.mark.parametrize("off", [0.0, 0.0005, -0.0005])
def test_answers_within_the_tolerance_pass(tmp_path: Path, session: Session, off: float) -> None:
    golden(tmp_path, session, rows(1), rows(1 + off)).replay(session, TOLERANCE)


FAILING: dict[str, tuple[Array, Array, str]] = {
    "one value off": (rows(1), rows(1) + np.eye(3, 4, dtype=np.float32) / 100, "'y' is off by up to 0.01"),
    "all off": (rows(1), rows(2), "'y' is off by up to 1"),
    "not a number": (rows(np.nan), rows(1), "'y'"),
    "infinite": (rows(np.inf), rows(1), "'y'"),
    "fewer rows": (rows(1), rows(1, count=2), r"'y' has shape \[3, 4\], expected \[2, 4\]"),
    "another width": (rows(1), rows(1, width=1), r"'y' has shape \[3, 4\], expected \[3, 1\]"),
}


@pytest.mark.parametrize(("x", "y", "said"), FAILING.values(), ids=FAILING)
def test_answers_outside_the_tolerance_fail_and_say_how_far(
    tmp_path: Path, session: Session, x: Array, y: Array, said: str
) -> None:
    with pytest.raises(LoadFailed, match=f"golden sample: output {said}.* on this host"):
        golden(tmp_path, session, x, y).replay(session, TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "x", "y"),
    [
        (TensorProto.INT64, np.array([[1, 2]]), np.array([[1, 3]])),
        (TensorProto.BOOL, np.array([[True, True]]), np.array([[True, False]])),
    ],
)
def test_what_is_not_a_float_must_be_equal(tmp_path: Path, kind: int, x: Array, y: Array) -> None:
    session = made.session_of(graphs.identity(tmp_path / "m" / "model.onnx", kind, ("N", 2)))
    golden(tmp_path, session, x, x).replay(session, Tolerance(rtol=9, atol=9))
    with pytest.raises(LoadFailed, match="differs in 1 values"):
        golden(tmp_path, session, x, y).replay(session, Tolerance(rtol=9, atol=9))


def save_objects(path: Path) -> None:
    np.savez(path, **{"inputs/x": np.array([{"a": 1}], dtype=object), "outputs/y": rows()})


def save_lone_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, rows())


def save_truncated(path: Path) -> None:
    np.savez(path, **{"inputs/x": rows(), "outputs/y": rows()})
    path.write_bytes(path.read_bytes()[:200])


def save_damaged(path: Path) -> None:
    np.savez_compressed(path, **{"inputs/x": rows(count=500), "outputs/y": rows()})
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(500)),
    "a web page": lambda path: path.write_text("<!DOCTYPE html><html></html>"),
    "a folder": lambda path: path.mkdir(),
    "truncated": save_truncated,
    "damaged": save_damaged,
    "one array, not several": save_lone_array,
    "no input": lambda path: np.savez(path, **{"outputs/y": rows()}),
    "no output": lambda path: np.savez(path, **{"inputs/x": rows()}),
    "no prefix": lambda path: np.savez(path, x=rows(), y=rows()),
    "no rows": lambda path: np.savez(path, **{"inputs/x": rows(count=0), "outputs/y": rows(count=0)}),
    "pickled objects": save_objects,
}


@pytest.mark.parametrize("write", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_golden_sample_is_refused_without_its_path(
    tmp_path: Path, session: Session, write: Callable[[Path], object]
) -> None:
    path = tmp_path / "golden.npz"
    write(path)
    with pytest.raises(LoadFailed, match=r"golden\.npz: expected the golden sample") as raised:
        Golden.read(path, session.signature)
    assert str(tmp_path) not in str(raised.value)
    del raised
    gc.collect()  # a file that was left open shows itself here, as a ResourceWarning


class Planted:
    """Would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return plant, (str(self._path),)


def plant(path: str) -> None:
    Path(path).touch()


def test_a_pickle_in_the_sample_is_never_executed(tmp_path: Path, session: Session) -> None:
    np.savez(
        tmp_path / "golden.npz",
        **{"inputs/x": np.array([Planted(tmp_path / "planted")], dtype=object), "outputs/y": rows()},
    )
    with pytest.raises(LoadFailed):
        Golden.read(tmp_path / "golden.npz", session.signature)
    assert not (tmp_path / "planted").exists()
