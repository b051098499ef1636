"""Bad neighbours: clients that send nonsense, make the model raise or hang up, and what the others notice of it.

Run: python -m benchmarks.poison [--quick] [--soak REQUESTS] [--help]

1. 15 good clients in a closed loop, beside one that sends broken JSON and wrong shapes in turn, and one whose input
   makes the model raise, so that the batch that it shares with others fails. Every good answer is compared with what it
   has to be. The same good clients alone, in the same rounds, show what the neighbours cost.
2. While a slow run is under way, 10 clients send a request each and hang up. Rows that are run for them are read from
   the server's metrics.
3. A soak: a million requests of 32 connections by wrk, in ten slices; the server's resident memory after each. A slice
   lasts as long as a tenth of the requests takes at the rate of the slice before, so its size is approximate.

Server on one core, clients on the other.
"""

import math
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks import nets, rounds, wire
from benchmarks.bonsai import bonsai
from benchmarks.load import Load, closed_loop, write_requests
from benchmarks.machine import LOAD_CORE, SERVER_CORE, description
from benchmarks.neighbours import BAD, BAD_STATUS, HangUps, Tally, hang_ups, neighbourhood
from benchmarks.options import Pace, pace_of, parser
from benchmarks.publishing import place
from benchmarks.results import NAIVE, OTHER, OURS, Report, milliseconds, number, times

GOOD = 15
HANGING_UP = 10
SOAK_REQUESTS = 1_000_000
SOAK_CONNECTIONS = 32
SLICES = 10
SLOW_CONVOLUTIONS = 16
UNIT = 100_000
"""Requests that the rise of memory is given for."""


@dataclass(frozen=True)
class Slice:
    """A part of the soak: requests until its end, and resident memory then."""

    requests: int
    resident_bytes: int
    load: Load


@dataclass(frozen=True)
class Findings:
    """What was measured, in order of the rounds."""

    alone: list[Tally] = field(default_factory=list)
    beside: list[Tally] = field(default_factory=list)
    """The good clients without and with bad neighbours."""
    hang_ups: list[HangUps] = field(default_factory=list)
    soak: list[Slice] = field(default_factory=list)

    @property
    def settled(self) -> list[Slice]:
        """The soak without its first tenth, in which caches and arenas fill."""
        return self.soak[1:]

    @property
    def growth(self) -> float:
        """Bytes a request, by least squares."""
        requests = [each.requests for each in self.settled]
        return float(np.polyfit(requests, [each.resident_bytes for each in self.settled], 1)[0])


def main() -> None:
    options = parser(__doc__, Pace(rounds=3, seconds=10))
    options.add_argument("--soak", type=int, default=SOAK_REQUESTS, metavar="REQUESTS", help="length of the soak")
    given = options.parse_args()
    pace = pace_of(given)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    found = Findings()
    with tempfile.TemporaryDirectory() as temp:
        measure_neighbours(found, given.checkout, Path(temp), pace)
        measure_hang_ups(found, given.checkout, Path(temp), pace)
        measure_soak(found, given.checkout, Path(temp), given.soak)
    report = Report(
        "poison",
        "Bad neighbours",
        "Clients that send nonsense, make the model raise or hang up. See `benchmarks/poison.py`.",
        description(
            f"server on core {SERVER_CORE}, clients on core {LOAD_CORE}; {pace.rounds} rounds of {pace.seconds} s"
        ),
    )
    tabulate_neighbours(report, found)
    tabulate_hang_ups(report, found)
    tabulate_soak(report, found)
    report.plot(draw(found))
    report.finish(given.results)


def measure_neighbours(found: Findings, checkout: Path, temp: Path, pace: Pace) -> None:
    place(nets.lookup(temp / "lookup.onnx"), temp / "lookup-models", "lookup")
    with bonsai(checkout, temp / "lookup-models", SERVER_CORE) as server:
        for _ in range(pace.rounds):
            found.alone.append(neighbourhood(server, GOOD, [], pace.seconds))
            found.beside.append(neighbourhood(server, GOOD, BAD, pace.seconds))


def measure_hang_ups(found: Findings, checkout: Path, temp: Path, pace: Pace) -> None:
    place(nets.convolution_stack(temp / "slow.onnx", SLOW_CONVOLUTIONS), temp / "slow-models", "slow")
    with bonsai(checkout, temp / "slow-models", SERVER_CORE) as server:
        found.hang_ups.extend(hang_ups(server, HANGING_UP) for _ in range(pace.rounds))


def measure_soak(found: Findings, checkout: Path, temp: Path, requests: int) -> None:
    place(nets.mlp(temp / "mlp.onnx"), temp / "mlp-models", "mlp")
    file = write_requests(temp / "soak.requests", [wire.predict({"inputs": [[5.1, 3.5, 1.4, 0.2]]})])
    with bonsai(checkout, temp / "mlp-models", SERVER_CORE) as server:
        rate = closed_loop(server, file, SOAK_CONNECTIONS, 1, LOAD_CORE).rate
        done = 0
        for _ in range(SLICES):
            seconds = math.ceil(requests / SLICES / rate)
            load = closed_loop(server, file, SOAK_CONNECTIONS, seconds, LOAD_CORE)
            done, rate = done + load.answers, load.rate
            found.soak.append(Slice(done, server.resident_bytes, load))


def tabulate_neighbours(report: Report, found: Findings) -> None:
    slower = rounds.ratio([tally.rate for tally in found.beside], [tally.rate for tally in found.alone])
    report.table(
        f"{GOOD} good clients",
        ["", "rate, of alone", "good answers/s", "p99, ms", "good requests that failed"],
        [
            ["alone", times(1), *good(found.alone)],
            ["beside bad ones", times(slower), *good(found.beside)],
        ],
    )
    report.table(
        "What the bad clients got",
        ["client", "requests", "refused as they should be", "otherwise"],
        [[name, *bad(found.beside, name)] for name in BAD],
    )
    for tally in (*found.alone, *found.beside):
        for reason, count in tally.failures.items():
            report.fault(f"{count} requests of good clients got {reason}")
    failed = sum(tally.failures.total() for tally in found.beside)
    report.target("no good request fails beside bad ones", f"{failed} failed", failed == 0)


def good(tallies: list[Tally]) -> list[str]:
    return [
        number(rounds.median(tallies, lambda tally: tally.rate)),
        milliseconds(rounds.median(tallies, lambda tally: tally.p99)),
        str(sum(tally.failures.total() for tally in tallies)),
    ]


def bad(tallies: list[Tally], name: str) -> list[str]:
    requests = sum(tally.neighbours[name].total() for tally in tallies)
    refused = sum(tally.neighbours[name][BAD_STATUS[name]] for tally in tallies)
    return [str(requests), f"{refused} x {BAD_STATUS[name]}", str(requests - refused)]


def tabulate_hang_ups(report: Report, found: Findings) -> None:
    report.table(
        f"{HANGING_UP} clients that hang up while a run is under way",
        ["round", "rows run, of those sent", "rows run for them"],
        [
            [str(index + 1), times(each.rows_run / each.clients), f"{each.rows_run:.0f}"]
            for index, each in enumerate(found.hang_ups)
        ],
    )
    most = max(each.rows_run for each in found.hang_ups)
    report.target("clients that hung up cost at most one row more", f"{most:.0f} rows", most <= 1)


def tabulate_soak(report: Report, found: Findings) -> None:
    first = found.settled[0].resident_bytes
    report.table(
        "Soak: resident memory",
        ["requests", "of the second slice", "MB", "requests/s"],
        [
            [
                number(each.requests),
                times(each.resident_bytes / first),
                f"{each.resident_bytes / 1e6:.2f}",
                number(each.load.rate),
            ]
            for each in found.soak
        ],
    )
    rise = found.growth * UNIT / 1e6
    report.target("soak: at most 1 MB more for every 100 000 requests", f"{rise:.3f} MB", rise <= 1)
    report.loads("soak", [each.load for each in found.soak])


def draw(found: Findings) -> Figure:
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    rates, memory = figure.subplots(1, 2)
    turns = np.arange(len(found.alone))
    rates.bar(turns, [tally.rate for tally in found.alone], 0.4, label="alone", color=OTHER)
    rates.bar(turns + 0.4, [tally.rate for tally in found.beside], 0.4, label="beside bad ones", color=OURS)
    rates.set_xticks(turns + 0.2, [f"round {turn + 1}" for turn in turns])
    rates.set_title(f"{GOOD} good clients")
    rates.set_ylabel("right answers per second")
    begin, end = found.settled[0], found.settled[-1]
    requests = [each.requests / UNIT for each in found.settled]
    rise = [(each.resident_bytes - begin.resident_bytes) / 1e6 for each in found.settled]
    memory.plot(
        requests, rise, "o-", color=OURS, label=f"measured: {found.growth * UNIT / 1e6:.3f} MB by least squares"
    )
    allowed = (end.requests - begin.requests) / UNIT
    memory.plot([requests[0], requests[-1]], [0, allowed], "--", color=NAIVE, label="allowed: 1 MB")
    memory.set_title(f"Soak: rise of resident memory beyond {begin.resident_bytes / 1e6:.0f} MB")
    memory.set_xlabel("requests, 100 000")
    memory.set_ylabel("MB")
    for axes in (rates, memory):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main()
