"""How much of the machine reaches the model: Bonsai against ONNX Runtime without a server, and a naive FastAPI server.

Run: python -m benchmarks.compute [--quick] [--help]

Two networks of which a run takes long: ResNet-18 on images of 224 x 224, and an encoder of MiniLM-L6's size (6 layers,
384 wide, 12 heads) on texts of 32 tokens, a fixed length, so that nothing is padded. Weights are random.

- direct: a loop around `InferenceSession.run` in this process, with one session on all cores, or a session on one
  thread for each core, and batches of 1 to 8 rows. A search finds the best and the quickest configuration; what it
  measured is not used further, for the best of eight noisy figures is also the luckiest one.
- bonsai: `bonsai serve` as it comes, or with the deployments.toml that is given, with binary tensors.
- naive: FastAPI, `async def`, which reads the same body raw; one run for each request on all cores (servers/naive.py).

Nobody is pinned: server and wrk share all cores, as a client on another machine would not. What wrk uses is printed.
The best direct configuration, Bonsai and naive take turns of some seconds at each number of connections, beside a lone
client the quickest one too: a machine that is shared changes its speed within a minute. A figure is the median over the
rounds, a ratio the median of the ratios within each round.
"""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product, repeat
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks import machine, nets, rivals, rounds, wire
from benchmarks.bonsai import bonsai
from benchmarks.direct import Direct, Sessions
from benchmarks.load import Load, closed_loop, write_requests
from benchmarks.options import Pace, pace_of, parser
from benchmarks.publishing import place
from benchmarks.results import ECHO, NAIVE, OURS, Report, clients, milliseconds, number, percent, times

CORES = len(machine.ALL_CORES.split(","))
CONNECTIONS = (1, 8, 32, 128)
BATCHES = (1, 2, 4, 8)
TARGET_CONNECTIONS = 32
SEARCH = Pace(rounds=3, seconds=2)
MINILM = nets.EncoderSize(layers=6, hidden=384, heads=12, feed_forward=1536, vocabulary=30522, positions=512, length=32)


@dataclass(frozen=True)
class Subject:
    """A network, and how to make inputs of so many rows."""

    name: str
    graph: Path
    inputs: Callable[[int], wire.Tensors]


@dataclass(frozen=True)
class Findings:
    """What was measured of one network, by configuration or connections, in order of the rounds."""

    net: str
    search: Mapping[str, list[Direct]]
    """Of every direct configuration."""
    quickest: list[Direct] = field(default_factory=list)
    """Of the quickest one, beside a lone client."""
    best: defaultdict[int, list[Direct]] = field(default_factory=lambda: defaultdict(list))
    """Of the best one, beside the servers."""
    bonsai: defaultdict[int, list[Load]] = field(default_factory=lambda: defaultdict(list))
    naive: defaultdict[int, list[Load]] = field(default_factory=lambda: defaultdict(list))

    @property
    def best_name(self) -> str:
        """The direct configuration with the most rows a second."""
        return max(self.search, key=lambda name: rounds.median(self.search[name], lambda direct: direct.rate))

    @property
    def quickest_name(self) -> str:
        """The direct configuration whose run of one row is shortest."""
        alone = [name for name in self.search if name.endswith(", batch 1")]
        return min(alone, key=lambda name: rounds.median(self.search[name], lambda direct: direct.run_seconds))

    def share(self, loads: Mapping[int, list[Load]], connections: int) -> float:
        """Of the best direct rate."""
        direct = [direct.rate for direct in self.best[connections]]
        return rounds.ratio([load.rate for load in loads[connections]], direct)

    def slowdown(self) -> float:
        """p50 of a lone client over the shortest direct run of one row."""
        runs = [direct.run_seconds for direct in self.quickest]
        return rounds.ratio([load.p50 for load in self.bonsai[1]], runs)


def main() -> None:
    options = parser(__doc__, Pace(rounds=5, seconds=6))
    options.add_argument("--deployments", type=Path, help="a deployments.toml to serve with")
    given = options.parse_args()
    pace = pace_of(given)
    with tempfile.TemporaryDirectory() as temp:
        findings = [measure(subject, given.checkout, given.deployments, pace) for subject in subjects(Path(temp))]
    report = Report(
        "compute",
        "How much of the machine reaches the model",
        "Rows per second of direct calls and of servers, one row a request. See `benchmarks/compute.py`.",
        machine.description(f"nobody pinned, cores {machine.ALL_CORES}; {pace.rounds} rounds of {pace.seconds} s"),
    )
    for found in findings:
        tabulate(report, found)
    for found in findings:
        hold_against_targets(report, found)
    report.plot(draw(findings))
    report.finish(given.results)


def subjects(temp: Path) -> list[Subject]:
    random = np.random.default_rng(0)

    def images(rows: int) -> wire.Tensors:
        return {"image": random.standard_normal((rows, *nets.IMAGE)).astype(np.float32)}

    def texts(rows: int) -> wire.Tensors:
        shape = (rows, int(MINILM.length))
        return {
            "input_ids": random.integers(0, MINILM.vocabulary, shape),
            "attention_mask": np.ones(shape, np.int64),
        }

    return [
        Subject("resnet18", nets.resnet18(temp / "resnet18.onnx"), images),
        Subject("minilm", nets.encoder(temp / "minilm.onnx", MINILM), texts),
    ]


def measure(subject: Subject, checkout: Path, deployments: Path | None, pace: Pace) -> Findings:
    models = subject.graph.parent / f"{subject.name}-models"
    place(subject.graph, models, subject.name)
    if deployments is not None:
        shutil.copy(deployments, models / "deployments.toml")
    request = wire.infer(subject.name, subject.inputs(1))
    requests = write_requests(subject.graph.with_suffix(".requests"), [request])
    direct = directs(subject)
    search = SEARCH if pace.seconds > SEARCH.seconds else pace
    found = Findings(
        subject.name,
        rounds.interleaved({name: partial(run, search.seconds) for name, run in direct.items()}, search.rounds),
    )
    best, quickest = direct[found.best_name], direct[found.quickest_name]
    with (
        bonsai(checkout, models, machine.ALL_CORES) as ours,
        rivals.naive(subject.graph, CORES, machine.ALL_CORES) as naive,
    ):
        for connections, _ in product(CONNECTIONS, range(pace.rounds)):
            if connections == 1:
                found.quickest.append(quickest(pace.seconds))
            found.best[connections].append(best(pace.seconds))
            for server, loads in ((ours, found.bonsai), (naive, found.naive)):
                load = closed_loop(server, requests, connections, pace.seconds, machine.ALL_CORES)
                loads[connections].append(load)
    return found


def directs(subject: Subject) -> dict[str, Callable[[float], Direct]]:
    """By configuration, what runs it for so many seconds."""
    pools = [Sessions(subject.graph, 1, CORES), Sessions(subject.graph, CORES, 1)]
    batches = {rows: subject.inputs(rows) for rows in BATCHES}
    return {
        f"{pool.name}, batch {rows}": partial(pool.measure, repeat(batch))
        for pool, (rows, batch) in product(pools, batches.items())
    }


def tabulate(report: Report, found: Findings) -> None:
    best = [direct.rate for direct in found.search[found.best_name]]
    report.table(
        f"{found.net}: direct calls, the search; the best is {found.best_name}",
        ["sessions x threads", "of the best", "rows per second", "one run, ms"],
        [
            [
                name,
                percent(rounds.ratio([direct.rate for direct in runs], best)),
                number(rounds.median(runs, lambda direct: direct.rate)),
                milliseconds(rounds.median(runs, lambda direct: direct.run_seconds)),
            ]
            for name, runs in found.search.items()
        ],
    )
    report.table(
        f"{found.net}: served",
        [
            "connections",
            "bonsai / best",
            "naive / best",
            "best, rows/s",
            "bonsai, rows/s",
            "naive, rows/s",
            "p50 / p99, ms",
            "bound",
            "wrk",
        ],
        [served(found, connections) for connections in CONNECTIONS],
    )
    report.text(
        f"A lone client's p50 is {times(found.slowdown())} the shortest direct run of a row ({found.quickest_name}). "
        "`bound`: p99 over the time that a queue of that many clients takes at this throughput. "
        "`wrk`: cores that wrk kept busy, with Bonsai and with naive."
    )
    report_faults(report, found)


def served(found: Findings, connections: int) -> list[str]:
    ours, naive = found.bonsai[connections], found.naive[connections]
    p50, p99 = rounds.median(ours, lambda load: load.p50), rounds.median(ours, lambda load: load.p99)
    busy = [rounds.median(loads, lambda load: load.cores) for loads in (ours, naive)]
    return [
        str(connections),
        percent(found.share(found.bonsai, connections)),
        percent(found.share(found.naive, connections)),
        number(rounds.median(found.best[connections], lambda direct: direct.rate)),
        number(rounds.median(ours, lambda load: load.rate)),
        number(rounds.median(naive, lambda load: load.rate)),
        f"{milliseconds(p50)} / {milliseconds(p99)}",
        times(over_bound(ours, connections)),
        " / ".join(number(cores) for cores in busy),
    ]


def over_bound(loads: list[Load], connections: int) -> float:
    """p99 over the time in which all clients are served once."""
    return rounds.ratio([load.p99 * load.rate for load in loads], [float(connections)] * len(loads))


def report_faults(report: Report, found: Findings) -> None:
    for name, measured in (("bonsai", found.bonsai), ("naive", found.naive)):
        for connections, loads in measured.items():
            report.loads(f"{found.net}, {name}, {clients(connections)}", loads)


def hold_against_targets(report: Report, found: Findings) -> None:
    share = found.share(found.bonsai, TARGET_CONNECTIONS)
    report.target(
        f"{found.net}, {TARGET_CONNECTIONS} connections: >= 93 % of the best direct", percent(share), share >= 0.93
    )
    for connections in CONNECTIONS:
        bound = over_bound(found.bonsai[connections], connections)
        text = f"{found.net}, {clients(connections)}: p99 <= 1.5 x connections / throughput"
        report.target(text, times(bound), bound <= 1.5)
    slowdown = found.slowdown()
    report.target(f"{found.net}, 1 connection: p50 <= 1.1 x a direct run", times(slowdown), slowdown <= 1.1)


def draw(findings: list[Findings]) -> Figure:
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    for axes, found in zip(figure.subplots(1, len(findings)), findings, strict=True):
        for offset, (name, measured, colour) in enumerate(
            (("bonsai", found.bonsai, OURS), ("naive", found.naive, NAIVE))
        ):
            places = [place + 0.35 * offset for place in range(len(CONNECTIONS))]
            shares = [found.share(measured, connections) * 100 for connections in CONNECTIONS]
            axes.bar(places, shares, 0.35, label=name, color=colour)
        axes.axhline(100, color=ECHO, label="best direct")
        axes.axhline(93, color=ECHO, linestyle=":", label="target at 32")
        axes.set_xticks([place + 0.175 for place in range(len(CONNECTIONS))], [str(count) for count in CONNECTIONS])
        axes.set_title(f"{found.net} (best direct: {found.best_name})")
        axes.set_xlabel("connections")
        axes.set_ylabel("% of the best direct rows per second")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    main()
