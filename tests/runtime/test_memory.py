"""Memory: what a huge run has fetched goes back to the system, and what a graph's weights take is known."""

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import helper

from app.protocol.messages import Halt
from app.runtime import memory
from app.runtime import session as session_module
from app.runtime.session import SHRINK_SECONDS, Session
from tests import graphs
from tests.runtime import made

HUGE = 7000
FETCHED = HUGE * HUGE * 4 / 2**20
"""Megabytes of the largest array that a run of this length makes."""


def products(path: Path) -> Path:
    """x [N, T] -> y [N, T], each element times the sum of all: by way of all [N, T, T] products."""
    nodes = [
        helper.make_node("Unsqueeze", ["x", "last"], ["column"]),
        helper.make_node("Unsqueeze", ["x", "middle"], ["row"]),
        helper.make_node("Mul", ["column", "row"], ["products"]),
        helper.make_node("ReduceSum", ["products", "last"], ["y"], keepdims=0),
    ]
    weights = {"last": np.array([2], np.int64), "middle": np.array([1], np.int64)}
    shape = ["N", "T"]
    return graphs.save(path, nodes, [graphs.tensor("x", shape)], [graphs.tensor("y", shape)], **weights)


def run(session: Session, length: int, halt: Halt | None = None) -> None:
    x = np.ones((1, length), np.float32)
    np.testing.assert_array_equal(session.run({"x": x}, halt)["y"], x * length)


def held() -> float:
    """Megabytes of memory that this process has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture(autouse=True)
def _nothing_is_kept(tmp_path: Path) -> None:
    """All sessions of the process share one arena: what tests before have left in it goes back."""
    session = made.session_of(graphs.linear(tmp_path / "before" / "model.onnx"))
    session.return_memory()
    session.run({"x": np.ones((1, 4), np.float32)})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("halt", [None, Halt()], ids=["", "that may be halted"])
@pytest.mark.parametrize("returns", [True, False])
def test_what_a_huge_run_has_fetched_goes_back_with_a_run_some_seconds_later(
    tmp_path: Path, clock: Clock, returns: bool, halt: Halt | None
) -> None:
    session = made.session_of(products(tmp_path / "m" / "model.onnx"))
    if returns:
        session.return_memory()
    run(session, 10, halt)
    before = held()
    clock.now += SHRINK_SECONDS / 2
    run(session, HUGE, halt)
    run(session, 10, halt)
    assert held() > before + 0.8 * FETCHED  # not yet: no more often than so
    clock.now += SHRINK_SECONDS / 2
    run(session, 10, halt)
    assert (held() < before + 0.2 * FETCHED) is returns


def test_a_huge_run_after_a_quiet_time_gives_back_what_it_fetched_itself(tmp_path: Path, clock: Clock) -> None:
    session = made.session_of(products(tmp_path / "m" / "model.onnx"))
    run(session, 10)  # as a load does: ONNX Runtime never gives back what the first run of all has fetched
    session.return_memory()
    before = held()
    run(session, HUGE)
    assert held() < before + 0.2 * FETCHED


FREED = """
import resource, sys
from pathlib import Path
from app.runtime import memory

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def handle(size):
    body = bytearray(size)
    copy = bytes(body)

memory.return_large_blocks()
small, large = map(int, sys.argv[1:])
handle(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    handle(small)
fetched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = held()
kept = [bytes(bytearray(large)) for _ in range(10)]
grown = held() - before
del kept
print(fetched, grown, held() - before)
"""


def test_memory_of_a_body_stays_for_the_next_and_that_of_a_huge_one_goes_back() -> None:
    """In a process of its own, which has freed nothing else: a body as an image has, and huge ones."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc has the rule that is switched off")
    sizes = (600_000, memory.LARGE_BLOCK)
    pages, grown, left = map(int, subprocess.check_output([sys.executable, "-c", FREED, *map(str, sizes)]).split())
    assert pages < 100, "less than one page a body"
    assert grown >= 10 * memory.LARGE_BLOCK
    assert left < memory.LARGE_BLOCK
