"""Thread or inline: where a run belongs, for app/runtime/instances.py and INLINE_SECONDS in app/runtime/profile.py.

Run at the repository's root: python -m benchmarks.micro.inline. A uvloop event loop hands batches, one after the other,
to an InlineInstance and to an InstanceGroup of one thread: first one that does nothing, then runs of small networks.
For each it prints, in microseconds a batch:

- run: the session's run alone;
- whole: from the hand-over until the result is back on the loop;
- loop: what a batch takes of the loop's time. On a loop that has nothing else to do that is its thread's CPU time; on
  one that is busy all the time, what its other work is slower by, waiting for the interpreter's lock included.

The thread pays where its batches take less of the loop's time than the runs would.
"""

import asyncio
import platform
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import uvloop

from app.protocol.messages import Halt, Inputs, Tensors
from app.runtime.bound import EVERY_SIZE
from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph
from app.runtime.instances import InlineInstance, InstanceGroup
from app.runtime.providers import Placement
from app.runtime.session import Session
from benchmarks import nets

NETWORKS = {"tiny": (4, 16, 3), "small": (64, 128, 128, 10), "medium": (256, 512, 512, 10)}
"""Widths of the layers."""
ROWS = (1, 16, 32, 128)
ROUNDS = 5
SECONDS = 0.03
"""For one way to run a batch, in each round."""
TURN_NUMBERS = 1000
"""Summed up in one turn of other work."""
MESSAGE_BYTES = 200

Work = Callable[[], object]
Run = Callable[[Inputs, Halt | None], Tensors]


@dataclass(frozen=True)
class Figures:
    """Seconds a batch."""

    idle_whole: float
    idle_loop: float
    busy_whole: float
    busy_loop: float


class Turns(asyncio.Protocol):
    """Other work of the loop: a message that is read, worked on and sent on to itself until it is stopped.

    The loop lets go of the interpreter's lock while it reads and polls, as it does in a server; the instance's thread
    gets the lock then or hardly ever.
    """

    _reader: asyncio.Transport
    _writer: asyncio.Transport

    def __init__(self) -> None:
        self._stopped = False
        self.count = 0

    @classmethod
    async def begin(cls) -> "Turns":
        turns = cls()
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        turns._reader, _ = await loop.create_connection(lambda: turns, sock=ours)
        turns._writer, _ = await loop.create_connection(asyncio.Protocol, sock=theirs)
        turns._writer.write(b"x" * MESSAGE_BYTES)
        return turns

    def data_received(self, data: bytes) -> None:
        if not self._stopped:
            sum(range(TURN_NUMBERS))
            self.count += 1
            self._writer.write(data)

    def stop(self) -> None:
        self._stopped = True
        self._reader.close()
        self._writer.close()


class Batches:
    """Batches one after the other: the next one is formed at the turn after a result, as the batcher does."""

    def __init__(self, loop: asyncio.AbstractEventLoop, instance: InlineInstance | InstanceGroup, work: Work) -> None:
        self._loop = loop
        self._instance = instance
        self._work = work
        self._ended = loop.create_future()
        self._started = 0.0
        self.seconds: list[float] = []

    async def run(self) -> None:
        self._end = time.perf_counter() + SECONDS
        self._start()
        await self._ended

    def _start(self) -> None:
        self._started = time.perf_counter()
        self._instance.start(self._work, self._done)

    def _done(self, result: object) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._started)
        if isinstance(result, BaseException):
            self._ended.set_exception(result)
        elif now < self._end:
            self._loop.call_soon(self._start)
        else:
            self._ended.set_result(None)


async def turn_seconds() -> float:
    """Of a turn of a loop that runs no batches."""
    turns = await Turns.begin()
    started = time.perf_counter()
    await asyncio.sleep(SECONDS)
    turns.stop()
    return (time.perf_counter() - started) / turns.count


async def measure(instance: InlineInstance | InstanceGroup, work: Work) -> Figures:
    loop = asyncio.get_running_loop()
    alone = Batches(loop, instance, work)
    cpu = time.thread_time()
    await alone.run()
    cpu = time.thread_time() - cpu
    turn = await turn_seconds()
    turns, beside = await Turns.begin(), Batches(loop, instance, work)
    started = time.perf_counter()
    await beside.run()
    lost = time.perf_counter() - started - turns.count * turn
    turns.stop()
    batches = len(beside.seconds)
    return Figures(
        statistics.median(alone.seconds), cpu / len(alone.seconds), statistics.fmean(beside.seconds), lost / batches
    )


async def compare(group: InstanceGroup, inline: Work, threaded: Work) -> tuple[Figures, Figures]:
    """Inline and in the thread: medians of rounds in which both take turns."""
    rounds = [(await measure(InlineInstance(), inline), await measure(group, threaded)) for _ in range(ROUNDS)]
    return _median([inline for inline, _ in rounds]), _median([threaded for _, threaded in rounds])


async def main() -> None:
    loop = asyncio.get_running_loop()
    group = InstanceGroup("micro", 1, loop.call_soon_threadsafe)
    print(f"onnxruntime {version('onnxruntime')}, uvloop {version('uvloop')}, Python {platform.python_version()}")
    print(f"a turn of other work: {1e6 * await turn_seconds():.1f} us")
    print(f"{'':<26}" + f"| {'inline':^31} | {'thread':^31} ")
    print(f"{'':<26}" + f"| {'idle':^14} | {'busy':^14} " * 2)
    print(f"{'':<18}{'run':>7} " + f"| {'whole':>7}{'loop':>7} " * 4)
    _show("nothing", 0.0, *await compare(group, _nothing, _nothing))
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for name, widths in NETWORKS.items():
            graph = nets.mlp(Path(folder) / f"{name}.onnx", widths)
            session = Session.load(Graph.open(graph), Placement(), 1, GraphCache(Path(folder)))
            bound = session.bound(EVERY_SIZE)
            assert bound is not None
            for rows in ROWS:
                inputs = {"x": np.ones((rows, widths[0]), np.float32)}
                run = _alone(session.run, inputs)
                inline, threaded = await compare(group, _bind(bound.run, inputs), _bind(session.run, inputs))
                _show(f"{name}, {rows} rows", run, inline, threaded)
                measured.append((run, inline, threaded))
    group.close()
    measured.sort(key=lambda case: case[0])
    for load in ("idle", "busy"):
        losses = [(run, *(getattr(way, f"{load}_loop") for way in ways)) for run, *ways in measured]
        print(f"{load} loop: the thread begins to pay at a run {_begin(losses)}")


def _nothing() -> None:
    return None


def _bind(run: Run, inputs: Inputs) -> Work:
    return lambda: run(inputs, None)


def _alone(run: Run, inputs: Inputs) -> float:
    """Median seconds of runs, as a model's profile takes them."""
    seconds: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        run(inputs, None)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _median(figures: list[Figures]) -> Figures:
    return Figures(*(statistics.median(values) for values in zip(*map(astuple, figures), strict=True)))


def _show(name: str, run: float, *ways: Figures) -> None:
    cells = (
        f"| {1e6 * whole:7.1f}{1e6 * loop:7.1f} "
        for way in ways
        for whole, loop in ((way.idle_whole, way.idle_loop), (way.busy_whole, way.busy_loop))
    )
    print(f"{name:<18}{1e6 * run:7.1f} {''.join(cells)}", flush=True)


def _begin(losses: list[tuple[float, float, float]]) -> str:
    """Between which runs to cut, so that the shorter ones inline and the others in the thread take the least of the
    loop, each in relation to its better way. One noisy case does not move the cut far."""
    shares = [(inline / min(inline, threaded), threaded / min(inline, threaded)) for _, inline, threaded in losses]
    sums = [
        sum(inline for inline, _ in shares[:cut]) + sum(threaded for _, threaded in shares[cut:])
        for cut in range(len(shares) + 1)
    ]
    cut = sums.index(min(sums))
    if cut == len(losses):
        return f"of more than {1e6 * losses[-1][0]:.0f} us, if at all"
    return f"of {1e6 * losses[cut - 1][0] if cut else 0:.0f} to {1e6 * losses[cut][0]:.0f} us"


if __name__ == "__main__":
    uvloop.run(main())
