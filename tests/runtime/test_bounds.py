"""What a run may take: time, memory, and bytes of its answer."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import ExecutionFailed
from app.protocol.messages import Halt
from app.runtime import memory
from app.runtime.guard import Graph
from app.runtime.watchdog import POLL_SECONDS, Watchdog
from tests import bombs, graphs
from tests.runtime import made

FOREVER = {"x": np.array([[2**62]], np.int64)}
ONCE = {"x": np.array([[1]], np.int64)}


@pytest.mark.parametrize("halt", [None, Halt()], ids=["at load", "that may be halted"])
def test_a_loop_without_end_is_ended(tmp_path: Path, halt: Halt | None) -> None:
    session = made.session_of(bombs.endless(tmp_path / "m" / "model.onnx"))
    session.limit(0.2, 1000)
    started = time.monotonic()
    with pytest.raises(ExecutionFailed, match=r"longer on this input than 200 ms \(max_run_ms\)"):
        session.run(FOREVER, halt)
    assert time.monotonic() - started < 5
    assert session.run(ONCE)["y"].tolist() == [[1]]


@pytest.mark.parametrize("operator", ["Expand", "Tile", "ConstantOfShape"])
@pytest.mark.parametrize("elements", [2**36, 2**61])
def test_a_run_that_makes_more_than_there_is_fails_alone(tmp_path: Path, operator: str, elements: int) -> None:
    session = made.session_of(bombs.expanding(tmp_path / "m" / "model.onnx", operator))
    with pytest.raises(ExecutionFailed):
        session.run({"x": np.array([[elements]], np.int64)})
    assert session.run({"x": np.array([[5]], np.int64)})["y"].tolist() == [5]


def test_what_a_run_lacks_is_said_to_be_memory(tmp_path: Path) -> None:
    session = made.session_of(bombs.expanding(tmp_path / "m" / "model.onnx"))
    with pytest.raises(ExecutionFailed, match="BONSAI_MEMORY_MB"):
        session.run({"x": np.array([[2**38]], np.int64)})


def test_outputs_over_the_limit_are_refused_by_name(tmp_path: Path) -> None:
    session = made.session_of(bombs.repeated(tmp_path / "m" / "model.onnx"))
    session.limit(9, 4000)
    assert session.run({"x": np.array([[1000]], np.int64)})["y"].shape == (1000,)
    with pytest.raises(ExecutionFailed, match=r"output 'y': expected at most 4000 bytes .*max_output_mb.*, got 4004"):
        session.run({"x": np.array([[1001]], np.int64)})


@pytest.mark.parametrize("operator", ["Expand", "Tile", "ConstantOfShape"])
@pytest.mark.parametrize(("elements", "times"), [(2**38, 1), (2**24, 100)], ids=["one", "many"])
def test_constants_that_are_too_large_are_not_made_at_load(
    tmp_path: Path, operator: str, elements: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = bombs.constant(tmp_path / "m" / "model.onnx", operator, elements, times)
    monkeypatch.setattr(memory, "_bound", 1 << 30)
    before = peak()
    made.session_of(graph)
    assert peak() - before < 300


def peak() -> float:
    """The most megabytes of memory that this process has had since this was asked last."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


OPEN: dict[str, tuple[Any, bool]] = {
    "a loop": (bombs.endless, True),
    "as many as a value says": (bombs.expanding, True),
    "a product": (graphs.linear, False),
    "a table": (graphs.refuses_negative, False),
    "a pad by a constant": (made.masked_mean, False),
    "constants": (lambda path: bombs.constant(path, "Tile", 10), False),
}


@pytest.mark.parametrize(("make", "expected"), OPEN.values(), ids=OPEN)
def test_whether_a_run_depends_on_values(tmp_path: Path, make: Any, expected: bool) -> None:
    assert Graph.open(make(tmp_path / "model.onnx")).facts.is_open_ended is expected


def test_a_watchdog_asks_what_is_late_and_nothing_else() -> None:
    dog = Watchdog()
    late, asked = Halt(), threading.Event()
    late.by(asked.set)
    kept, done = Halt(), Halt()
    watched = dog.watch(late, 0.0)
    long, ended = dog.watch(kept, 100.0), dog.watch(done, 0.3)
    dog.forget(ended)
    assert asked.wait(5)
    assert watched.rang
    dog.forget(watched)
    time.sleep(0.3 + 2 * POLL_SECONDS)
    assert not (kept.asked or done.asked or long.rang)
    dog.forget(long)
    time.sleep(2 * POLL_SECONDS)  # it sleeps, and wakes up for the next
    again = Halt()
    woken = threading.Event()
    again.by(woken.set)
    dog.watch(again, 0.0)
    assert woken.wait(5)


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({}, "0::/\n", None),
        ({"memory.max": "max\n"}, "0::/\n", None),
        ({"memory.max": "1048576\n"}, "0::/\n", 1 << 20),
        ({"memory.max": "max\n", "a/memory.max": "4096\n", "a/b/memory.max": "8192\n"}, "0::/a/b\n", 4096),
        ({"memory/memory.limit_in_bytes": "5000\n"}, "4:memory:/docker/x\n", 5000),
        ({"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, "4:memory:/\n", None),
    ],
)
def test_memory_is_the_smallest_limit(
    tmp_path: Path, files: dict[str, str], membership: str, expected: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    machine = memory.available(tmp_path / "none", tmp_path / "none")
    assert memory.available(tmp_path, tmp_path / "membership") == (expected or machine)
