"""More requests than the server can answer: what still gets done in time, and what the rest is told.

Run: python -m benchmarks.overload [--quick] [--help]

A stack of convolutions takes several milliseconds a row, in a batch as well as alone, so that batching creates no
capacity. The server stands on one core, the generator on the other. Capacity is the best closed-loop throughput of the
same round (wrk, several numbers of connections, no deadline). Then requests arrive as a Poisson process at multiples of
it, each with a deadline of 100 ms, and no arrival waits for an earlier answer. Latency counts from the instant at which
a request was due.

- goodput: answers 200 within the deadline, per second.
- late: answers 200 after the deadline. rejected: 503. expired: 504.
- ran past: requests that were running when their deadline passed, from the server's bonsai_discarded_answers_total.
- ran after: rows that were executed, from bonsai_batch_rows, less the answers 200 and what ran past its deadline: what
  is left had expired before it was run.

A figure is the median over the rounds, a ratio the median of the ratios within each round; counts are sums.
"""

import os
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks import nets, rounds, wire
from benchmarks.bonsai import bonsai
from benchmarks.direct import Direct, Sessions
from benchmarks.flood import Flood, flood
from benchmarks.load import Load, closed_loop, write_requests
from benchmarks.machine import LOAD_CORE, SERVER_CORE, description
from benchmarks.options import Pace, pace_of, parser
from benchmarks.publishing import place
from benchmarks.results import ECHO, NAIVE, OURS, Report, clients, milliseconds, number, percent

CONVOLUTIONS = (20, 30, 45, 70)
"""Of the network: the first number with which a row takes long enough here for this benchmark to mean anything."""
LEAST_RUN_SECONDS = 0.005
CONNECTIONS = (1, 8, 32)
MULTIPLES = (0.5, 1.0, 1.5, 2.0, 3.0)
DEADLINE_SECONDS = 0.1
MOST_LAG_SECONDS = 0.01
ROW = [[0.1, 0.2, 0.3, 0.4]]


@dataclass(frozen=True)
class Findings:
    """What was measured, in order of the rounds."""

    convolutions: int
    rows: dict[int, Direct]
    """Direct runs by rows: what batching gains."""
    closed: defaultdict[int, list[Load]] = field(default_factory=lambda: defaultdict(list))
    floods: defaultdict[float, list[Flood]] = field(default_factory=lambda: defaultdict(list))

    @property
    def capacities(self) -> list[float]:
        """Of each round: the best closed loop."""
        return [max(load.rate for load in loads) for loads in zip(*self.closed.values(), strict=True)]

    def share(self, multiple: float) -> float:
        """Goodput over capacity."""
        floods = self.floods[multiple]
        return rounds.ratio([flood.goodput for flood in floods], self.capacities)


def main() -> None:
    options = parser(__doc__, Pace(rounds=3, seconds=10)).parse_args()
    pace = pace_of(options)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    with tempfile.TemporaryDirectory() as temp:
        found = measure(options.checkout, Path(temp), pace)
    report = Report(
        "overload",
        "More requests than the server can answer",
        "Poisson arrivals at multiples of the capacity, with a deadline of 100 ms. See `benchmarks/overload.py`.",
        description(
            f"server on core {SERVER_CORE}, generator on core {LOAD_CORE}; {pace.rounds} rounds of {pace.seconds} s"
        ),
    )
    tabulate_capacity(report, found)
    tabulate_floods(report, found)
    hold_against_targets(report, found)
    report.plot(draw(found))
    report.finish(options.results)


def measure(checkout: Path, temp: Path, pace: Pace) -> Findings:
    found = slow_enough(temp)
    requests = write_requests(temp / "stack.requests", [wire.predict({"inputs": ROW})])
    hurried = wire.predict({"inputs": ROW, "parameters": {"timeout_ms": DEADLINE_SECONDS * 1000}})
    with bonsai(checkout, temp / "models", SERVER_CORE) as server:
        for seed in range(pace.rounds):
            for connections in CONNECTIONS:
                found.closed[connections].append(closed_loop(server, requests, connections, pace.seconds, LOAD_CORE))
            for multiple in MULTIPLES:
                rate = multiple * found.capacities[-1]
                found.floods[multiple].append(flood(server, hurried, DEADLINE_SECONDS, rate, pace.seconds, seed))
    return found


def slow_enough(temp: Path) -> Findings:
    """Places the network for this machine, and says what direct runs of it take."""
    for convolutions in CONVOLUTIONS:
        graph = nets.convolution_stack(temp / "stack.onnx", convolutions)
        rows = rows_alone_and_together(graph)
        if rows[1].run_seconds >= LEAST_RUN_SECONDS:
            place(graph, temp / "models", "stack")
            return Findings(convolutions, rows)
    raise SystemExit(f"a row takes only {rows[1].run_seconds * 1000:.1f} ms here: add to CONVOLUTIONS")


def rows_alone_and_together(graph: Path) -> dict[int, Direct]:
    """Direct runs on one thread."""
    alone = Sessions(graph, 1, 1)
    return {count: alone.measure(repeat({"x": np.repeat(ROW, count, 0).astype(np.float32)}), 1) for count in (1, 8, 32)}


def tabulate_capacity(report: Report, found: Findings) -> None:
    alone = found.rows[1].run_seconds
    report.table(
        f"A run of the model ({found.convolutions} convolutions) on one thread, without a server",
        ["rows", "a row, of a row alone", "ms a row"],
        [
            [str(count), percent(direct.run_seconds / count / alone), milliseconds(direct.run_seconds / count)]
            for count, direct in found.rows.items()
        ],
    )
    capacities = found.capacities
    report.table(
        "Capacity: the best closed loop",
        ["connections", "of the best", "requests per second", "p50, ms"],
        [
            [
                str(connections),
                percent(rounds.ratio([load.rate for load in loads], capacities)),
                number(rounds.median(loads, lambda load: load.rate)),
                milliseconds(rounds.median(loads, lambda load: load.p50)),
            ]
            for connections, loads in found.closed.items()
        ],
    )
    for connections, loads in found.closed.items():
        report.loads(f"closed loop, {clients(connections)}", loads)


def tabulate_floods(report: Report, found: Findings) -> None:
    report.table(
        "Arrivals that do not wait",
        ["arrivals / capacity", "goodput / capacity", "goodput/s", "200, p50 / p99 ms", "generator late, p99 ms"],
        [[number(multiple), *throughput(found, multiple)] for multiple in MULTIPLES],
    )
    report.table(
        "What became of them, all rounds together",
        ["arrivals / capacity", "arrivals", "200", "late", "503", "no Retry-After", "504", "ran past", "ran after"],
        [[number(multiple), *outcomes(found.floods[multiple])] for multiple in MULTIPLES],
    )
    for multiple in MULTIPLES:
        others = sum(flood.others for flood in found.floods[multiple])
        if others:
            report.fault(f"arrivals at {multiple} x capacity: {others} were neither 200 nor 503 nor 504")
        lag = rounds.median(found.floods[multiple], lambda flood: flood.lag)
        if lag > MOST_LAG_SECONDS:
            report.fault(
                f"arrivals at {multiple} x capacity: the generator was late; does something else use its core?"
            )


def throughput(found: Findings, multiple: float) -> list[str]:
    floods = found.floods[multiple]
    p50, p99 = rounds.median(floods, lambda flood: flood.p50), rounds.median(floods, lambda flood: flood.p99)
    return [
        percent(found.share(multiple)),
        number(rounds.median(floods, lambda flood: flood.goodput)),
        f"{milliseconds(p50)} / {milliseconds(p99)}",
        milliseconds(rounds.median(floods, lambda flood: flood.lag)),
    ]


def outcomes(floods: list[Flood]) -> list[str]:
    return [
        str(sum(len(flood.arrivals) for flood in floods)),
        str(sum(flood.count(200) for flood in floods)),
        str(sum(flood.late for flood in floods)),
        str(sum(flood.count(503) for flood in floods)),
        str(sum(flood.without_retry_after for flood in floods)),
        str(sum(flood.count(504) for flood in floods)),
        f"{sum(flood.discarded for flood in floods):.0f}",
        f"{sum(flood.run_expired for flood in floods):.0f}",
    ]


def hold_against_targets(report: Report, found: Findings) -> None:
    floods = [flood for measured in found.floods.values() for flood in measured]
    share = found.share(3.0)
    report.target("3 x capacity: goodput >= 90 % of capacity", percent(share), share >= 0.9)
    expired = sum(flood.run_expired for flood in floods)
    report.target("no expired request is executed", f"{expired:.0f} executed", expired == 0)
    p99 = max(rounds.median(measured, lambda flood: flood.p99) for measured in found.floods.values())
    report.target("p99 of the answers 200 <= the deadline", f"{milliseconds(p99)} ms", p99 <= DEADLINE_SECONDS)
    silent, rejected = sum(flood.without_retry_after for flood in floods), sum(flood.count(503) for flood in floods)
    report.target("every rejection has Retry-After", f"{silent} of {rejected} without", silent == 0)
    refused = sum(flood.count(503) + flood.count(504) for flood in found.floods[0.5])
    report.target("0.5 x capacity: nothing is rejected", f"{refused} rejected or expired", refused == 0)


def draw(found: Findings) -> Figure:
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    goodput, latency = figure.subplots(1, 2)
    goodput.plot(MULTIPLES, [found.share(multiple) * 100 for multiple in MULTIPLES], "o-", color=OURS, label="goodput")
    goodput.plot([0, 1, MULTIPLES[-1]], [0, 100, 100], ":", color=ECHO, label="all that is possible")
    goodput.axhline(90, color=NAIVE, linestyle="--", linewidth=1, label="target at 3 x")
    goodput.set_ylabel("answers within the deadline, % of capacity")
    p99 = [rounds.median(found.floods[multiple], lambda flood: flood.p99) * 1000 for multiple in MULTIPLES]
    latency.plot(MULTIPLES, p99, "o-", color=OURS, label="p99 of the answers 200")
    latency.axhline(DEADLINE_SECONDS * 1000, color=NAIVE, linestyle="--", linewidth=1, label="deadline")
    latency.set_ylabel("ms")
    for axes in (goodput, latency):
        axes.set_xlabel("arrivals / capacity")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


if __name__ == "__main__":
    main()
