"""Speed: contenders race on the runtime that serves, in pairs, so that what slows the machine slows them all.

A speed is a ratio between calls of one round, which lie milliseconds apart, and the figure is the median over the
rounds. A clock frequency that sinks or a neighbour that wakes up moves both sides of a ratio.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr  # type: ignore[import-untyped]

from app.contract.manifest import Metric
from training.measure.accuracy import TAIL
from training.measure.served import open_served, rows_for, runner

SAMPLE_SECONDS = 1e-3
"""A round calls a contender until so much time has gone by: the clock's own noise is a thousandth of it."""
WARM_UP = 3
"""Calls before anything counts: the first ones fetch memory and pack weights."""
LEAST_ROUNDS = 6
"""The median of five has no 95 % interval: all five lie on one side of it with a probability of 2/32."""

Clock = Callable[[], float]
"""Seconds from any start."""
Contender = Callable[[], object]


@dataclass(frozen=True)
class Speed:
    """Of one contender: milliseconds of a call, and how many times as fast as the base it is."""

    p50_ms: float
    p99_ms: float
    speedup: Metric


@dataclass(frozen=True)
class Times:
    """Seconds of every call, by contender: [rounds, calls in a round]."""

    seconds: Mapping[str, NDArray[np.float64]]

    def milliseconds(self, name: str, percent: float) -> float:
        """A percentile of a contender's calls, all rounds taken together."""
        return float(1000 * np.percentile(self.seconds[name], percent))

    def ratio(self, base: str, other: str) -> Metric:
        """How many times as fast as `base` the other one is: median of the rounds' ratios, with its interval."""
        return median(self.seconds[base].mean(axis=1) / self.seconds[other].mean(axis=1))

    def speed(self, base: str, name: str) -> Speed:
        return Speed(self.milliseconds(name, 50), self.milliseconds(name, 99), self.ratio(base, name))

    def winner(self) -> str | None:
        """The fastest; None where the interval of its ratio to some other contender contains 1."""
        fastest = min(self.seconds, key=lambda name: self.milliseconds(name, 50))
        others = (name for name in self.seconds if name != fastest)
        return fastest if all(low(self.ratio(other, fastest)) > 1 for other in others) else None


def low(metric: Metric) -> float:
    """The interval's lower end; the value itself where there is no interval."""
    return metric.ci95[0] if metric.ci95 else metric.value


def high(metric: Metric) -> float:
    """The interval's upper end; the value itself where there is no interval."""
    return metric.ci95[1] if metric.ci95 else metric.value


def median(values: NDArray[np.float64]) -> Metric:
    """The median, and the narrowest interval from r-th lowest to r-th highest value that covers it 95 times in 100.

    It asks nothing of how the values are distributed: that r or fewer of n lie below the median is a matter of n coins
    (H. A. David and H. N. Nagaraja, Order Statistics, 3rd ed., Wiley 2003, section 7.1). Raises ValueError for fewer
    than LEAST_ROUNDS values.
    """
    count = len(values)
    if count < LEAST_ROUNDS:
        raise ValueError(f"expected at least {LEAST_ROUNDS} values, got {count}")
    outside = int(np.count_nonzero(bdtr(np.arange(count), count, 0.5) <= 1 - TAIL))
    ordered = np.sort(values)
    return Metric(value=float(np.median(values)), ci95=(float(ordered[outside - 1]), float(ordered[-outside])))


def race(contenders: Mapping[str, Contender], rounds: int, *, seed: int = 0, clock: Clock = perf_counter) -> Times:
    """Calls every contender in every round, in an order drawn anew from the seed, and notes how long each call took.

    What a contender leaves behind, cold caches and a lower clock, fades within the time that it ran: so long the next
    one is called before it is timed (docs/decisions/0012-compile.md). Raises ValueError for fewer than LEAST_ROUNDS
    rounds.
    """
    if rounds < LEAST_ROUNDS:
        raise ValueError(f"expected at least {LEAST_ROUNDS} rounds, got {rounds}")
    calls = {name: _calls(seconds) for name, seconds in pace(contenders, clock).items()}
    seconds = {name: np.empty((rounds, calls[name])) for name in contenders}
    random, names = np.random.default_rng(seed), list(contenders)
    settling = 0.0
    with _no_collection():
        for number in range(rounds):
            for place in random.permutation(len(names)):
                name = names[place]
                _settle(contenders[name], settling, clock)
                seconds[name][number] = _sample(contenders[name], calls[name], clock)
                settling = float(seconds[name][number].mean())
    return Times(seconds)


def pace(contenders: Mapping[str, Contender], clock: Clock = perf_counter) -> dict[str, float]:
    """Seconds of the shortest of a few calls of each; warms them up as well."""
    found = {}
    for name, call in contenders.items():
        _settle(call, 0.0, clock)
        found[name] = float(_sample(call, WARM_UP, clock).min())
    return found


def rounds_in(seconds: float, contenders: Mapping[str, Contender], clock: Clock = perf_counter) -> int:
    """Rounds that take about so long, at least LEAST_ROUNDS."""
    one = sum(took * (1 + 1 + _calls(took)) for took in pace(contenders, clock).values())  # called once, settled, timed
    return max(LEAST_ROUNDS, int(seconds / max(one, SAMPLE_SECONDS)))


def measure_speed(
    graphs: Mapping[str, Path], rows: NDArray[Any], batches: Sequence[int] = (1, 8), seconds: float = 5.0
) -> dict[str, dict[int, Speed]]:
    """Races .onnx files on one thread, as the server runs them: speed by name and batch size.

    The first graph is the base of the ratios. `rows`: real inputs [rows, ...]; `seconds`: about how long each batch
    size takes, though never fewer than LEAST_ROUNDS rounds. Raises LoadFailed where the server would not load a graph.
    """
    runs = {name: runner(open_served(path)) for name, path in graphs.items()}
    base = next(iter(graphs))
    found: dict[str, dict[int, Speed]] = {name: {} for name in graphs}
    for batch in batches:
        contenders = {name: partial(run, rows_for(batch, rows)) for name, run in runs.items()}
        times = race(contenders, rounds_in(seconds, contenders))
        for name in graphs:
            found[name][batch] = times.speed(base, name)
    return found


def _calls(seconds: float) -> int:
    return max(1, ceil(SAMPLE_SECONDS / max(seconds, SAMPLE_SECONDS / 1000)))


def _settle(call: Contender, seconds: float, clock: Clock) -> None:
    """Calls a contender once, and on until so much time has gone by."""
    started = clock()
    call()
    while clock() - started < seconds:
        call()


def _sample(call: Contender, calls: int, clock: Clock) -> NDArray[np.float64]:
    seconds = np.empty(calls)
    for number in range(calls):
        started = clock()
        call()
        seconds[number] = clock() - started
    return seconds


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python's garbage collector would stop whoever happens to run."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
