"""The profile of a graph on this host: what its runs take, and from that, how many instances it gets.

One wide run at a time or several narrow ones beside each other: which does more depends on the graph, so both are
measured at load, for a bounded time, and the result is kept beside the optimised graph.
"""

import json
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from app.errors import ExecutionFailed
from app.protocol.messages import Tensors
from app.runtime import cpu
from app.runtime.bound import BoundSession, row_buckets
from app.runtime.session import Session

MEASURE_SECONDS = 1.5
"""For one way to run a graph. In less, a size that takes 70 ms is run once or twice, and noise says whether it pays."""
RUNS = 5
"""Runs of one size, at least, where they are quick enough."""
LEAST_SECONDS = 0.005
"""That runs of one size are timed for. Five of a few microseconds fit into one hiccup of the machine, and a graph would
be taken for a slow one as long as it is served."""
FALLING = 0.9
"""Rows per second below this share of the best: larger batches are not measured any more."""
LOOKS = 3
"""Times that a size is measured before it is believed to fall: a machine that is busy elsewhere looks the same, and
would decide how the graph is served for as long as the profile is kept."""
GAIN = 1.03
"""What is measured to be less than this much better is not better."""
MOST_ELSEWHERE = 0.2
"""Of one CPU. Where so much went elsewhere while a graph was measured, that says how it runs beside other work."""
INLINE_SECONDS = 0.0002
"""A graph whose largest batch takes less is run on the event loop. A busy loop loses more to a hand-over, and a longer
run would keep other requests waiting (docs/decisions/0005-inline-runs.md)."""

Measured = tuple[tuple[int, float], ...]
"""Rows, rising, and the seconds of a run of so many."""


Batch = tuple[int, Tensors]
"""Rows, and the inputs that they make."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a graph is best run here."""

    instances: int
    threads: int
    """Intra-op threads of each instance."""
    costs: Measured
    """Of a run while all other instances run too."""
    wide_threads: int = 0
    """Of a second session for requests that come alone; 0 where that is no quicker."""
    wide_costs: Measured = ()
    disturbed: bool = False
    """It was measured beside other work, such as the requests to the version before, and holds for this load only."""

    def is_inline(self, most_rows: int) -> bool:
        """Whether runs of at most so many rows belong on the event loop."""
        return self.instances == 1 and is_quick(self.costs, most_rows)


def is_quick(costs: Measured, most_rows: int) -> bool:
    """Whether a run of at most so many rows is known to take less than INLINE_SECONDS. Measuring may have ended before:
    rows beyond the largest run that was measured take as long as each of its own."""
    return bool(costs) and costs[-1][1] * max(1.0, most_rows / costs[-1][0]) < INLINE_SECONDS


def batches(sample: Tensors, most_rows: int) -> Iterator[Batch]:
    """The sample's rows, repeated to batches of 1, 2, 4, ... and at last the most rows."""
    for rows in row_buckets(most_rows):
        yield rows, {name: np.resize(array, (rows, *array.shape[1:])) for name, array in sample.items()}


def measure(session: Session | BoundSession, batches: Iterable[Batch], instances: int) -> Measured:
    """Seconds of runs of these batches, while `instances` runs are under way at once.

    Ends early where the time is up or where more rows have stopped to pay. Empty where the graph raises.
    """
    costs: list[tuple[int, float]] = []
    end = time.perf_counter() + MEASURE_SECONDS
    best = 0.0
    for rows, inputs in batches:
        paying = rows / (FALLING * best) if best else math.inf
        try:
            seconds = _looked_at(session, inputs, instances, end, paying)
        except ExecutionFailed:
            return ()
        costs.append((rows, seconds))
        best = max(best, rows / seconds)
        if time.perf_counter() > end or seconds > paying:
            break
    return tuple(costs)


def choose(open_session: Callable[[int], Session], batches: Sequence[Batch], cpus: int) -> Profile:
    """The best profile of a graph. `open_session` opens it with so many threads.

    The costs are empty where the graph cannot run these batches.
    """
    alone, disturbed = _measure_alone(open_session(1), batches)
    if cpus == 1 or not alone or is_quick(alone, batches[-1][0]):
        return Profile(1, 1, alone, disturbed=disturbed)
    profiles = []
    for instances in _divisions(cpus):
        threads = cpus // instances
        costs = measure(open_session(threads), batches, instances)
        profiles.append(Profile(instances, threads, costs, disturbed=disturbed))
    wide = profiles[0]
    # What runs narrow can have a wide session beside it, which is quicker for one row; not the other way round.
    best = max(profiles, key=lambda profile: _pace(profile) / (GAIN if profile is wide else 1))
    if best is wide or not wide.costs:
        return best
    # Beside other work a wide run is slow whatever the graph, and it is not used there.
    if not disturbed and wide.costs[0][1] * GAIN > best.costs[0][1]:
        return best
    return replace(best, wide_threads=wide.threads, wide_costs=wide.costs)


def read(path: Path) -> Profile | None:
    """A profile that was kept; None where there is none, or none that can be read."""
    try:
        kept = json.loads(path.read_text())
        kept |= {name: tuple((int(rows), float(cost)) for rows, cost in kept[name]) for name in ("costs", "wide_costs")}
        return Profile(**kept)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def keep(profile: Profile, path: Path) -> None:
    """Writes a profile, unless it was disturbed: the next load may find the machine at leisure. A folder that cannot be
    written costs the next start some time, nothing else."""
    if profile.disturbed:
        return
    try:
        fresh = path.with_suffix(".fresh")
        fresh.write_text(json.dumps(asdict(profile)))
        fresh.replace(path)
    except OSError:
        return


def _measure_alone(session: Session, batches: Sequence[Batch]) -> tuple[Measured, bool]:
    """As `measure` does one instance on one thread, and whether that was disturbed."""
    elsewhere = cpu.Elsewhere()
    alone = measure(session, batches, 1)
    return alone, elsewhere.share() > MOST_ELSEWHERE


def _divisions(cpus: int) -> list[int]:
    """Numbers of instances to try: one on all CPUs, one on each, and between them about the root."""
    middle = 1
    while middle * middle * 2 < cpus:
        middle *= 2
    return sorted({1, middle, cpus})


def _pace(profile: Profile) -> float:
    """Rows per second at best."""
    return max((profile.instances * rows / seconds for rows, seconds in profile.costs), default=0.0)


def _looked_at(session: Session | BoundSession, inputs: Tensors, instances: int, end: float, paying: float) -> float:
    """Median seconds of a run; measured anew, LOOKS times at most, while it seems to take more than `paying`."""
    seconds = math.inf
    for _ in range(LOOKS):
        seconds = min(seconds, _side_by_side(session, inputs, instances, end))
        if seconds <= paying or time.perf_counter() > end:
            break
    return seconds


def _side_by_side(session: Session | BoundSession, inputs: Tensors, instances: int, end: float) -> float:
    """Median seconds of a run while `instances` threads run the same. Raises ExecutionFailed."""
    session.run(inputs)  # the first one fetches memory
    seconds: list[float] = []
    if instances == 1:
        _time_runs(session, inputs, end, seconds)
        return statistics.median(seconds)
    failures: list[str] = []  # not the errors: a cycle with these frames would keep the session

    def time_runs() -> None:
        try:
            _time_runs(session, inputs, end, seconds)
        except ExecutionFailed as error:  # a thread has nobody above it; without its run the others look quick
            failures.append(str(error))

    threads = [threading.Thread(target=time_runs) for _ in range(instances)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise ExecutionFailed(failures[0])
    return statistics.median(seconds)


def _time_runs(session: Session | BoundSession, inputs: Tensors, end: float, seconds: list[float]) -> None:
    begun = time.perf_counter()
    for runs in count(1):
        started = time.perf_counter()
        session.run(inputs)
        ended = time.perf_counter()
        seconds.append(ended - started)
        if ended > end or (runs >= RUNS and ended - begun > LEAST_SECONDS):
            break
