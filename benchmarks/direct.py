"""ONNX Runtime without a server: as many rows a second as the machine gives."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import onnxruntime as ort

from benchmarks.wire import Tensors


@dataclass(frozen=True)
class Direct:
    """What a loop around `run` did. Times are in seconds."""

    rows: int
    seconds: float
    run_seconds: float
    """Median of one run."""

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


class Sessions:
    """Sessions of one graph, each called by a thread of its own, with ONNX Runtime's default options otherwise."""

    def __init__(self, graph: Path, count: int, threads: int) -> None:
        self.name = f"{count} x {threads} thread{'s' * (threads > 1)}"
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._sessions = [
            ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]) for _ in range(count)
        ]

    def measure(self, batches: Iterator[Tensors], seconds: float) -> Direct:
        """Runs batches in turn for so long. The time is that until the last run ended, so no run is cut off."""
        began = time.perf_counter()
        with ThreadPoolExecutor(len(self._sessions)) as threads:
            runs = list(threads.map(lambda session: _runs(session, batches, began + seconds), self._sessions))
        elapsed = time.perf_counter() - began
        all_runs = list(chain.from_iterable(runs))
        return Direct(
            rows=sum(run.rows for run in all_runs),
            seconds=elapsed,
            run_seconds=statistics.median(run.seconds for run in all_runs),
        )


class _Run(NamedTuple):
    rows: int
    seconds: float


def _runs(session: ort.InferenceSession, batches: Iterator[Tensors], end: float) -> list[_Run]:
    runs: list[_Run] = []
    ended = 0.0
    while ended < end:
        batch = dict(next(batches))
        began = time.perf_counter()
        session.run(None, batch)
        ended = time.perf_counter()
        runs.append(_Run(len(next(iter(batch.values()))), ended - began))
    return runs
