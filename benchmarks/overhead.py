"""What the server costs beside a small model: Bonsai against bare uvicorn and against a naive FastAPI server.

Run: python -m benchmarks.overhead [--quick] [--help]

All servers stand on one core and take turns; wrk stands on the other. They get the same bytes, key included: a row for
a small MLP and a row for the committed digits model, as JSON at /predict and with binary tensors at the infer path.

- echo: bare ASGI on uvicorn (uvloop, httptools) that sends the body back. It runs no model.
- naive: FastAPI with a pydantic model, one run for each request on one thread, `async def` (servers/naive.py). For
  digits it answers the raw logits, while Bonsai also answers labels and scores.
- bonsai: `bonsai serve`, with an API key that has a rate, and the check of host names.
- bonsai (ASGI): the same application under a stock uvicorn.

The servers that wait for their turn are idle; Bonsai looks at its model folder every two seconds also then. Nobody logs
requests. A figure is the median over the rounds, a ratio the median of the ratios within each round.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks import nets, rivals, rounds, wire
from benchmarks.bonsai import asgi_carrier, bonsai
from benchmarks.load import Load, closed_loop, write_requests
from benchmarks.machine import LOAD_CORE, SERVER_CORE, description
from benchmarks.options import ROOT, Pace, pace_of, parser
from benchmarks.processes import Server
from benchmarks.publishing import place
from benchmarks.results import ECHO, NAIVE, OTHER, OURS, Report, clients, milliseconds, number, times

CONNECTIONS = (1, 8, 24, 32, 40, 128)
MLP_BODY = b'{"inputs":[[5.1,3.5,1.4,0.2]]}'
COLOURS = {"bonsai": OURS, "echo": ECHO, "naive": NAIVE, "bonsai (ASGI)": OTHER}
WARM_UP_CONNECTIONS = 32

Loads = dict[str, list[Load]]
"""By contender, in order of the rounds."""


@dataclass(frozen=True)
class Case:
    """One network and one format, at every number of connections."""

    title: str
    loads: dict[int, Loads]


def main() -> None:
    options = parser(__doc__, Pace(rounds=5, seconds=3)).parse_args()
    pace = pace_of(options)
    with tempfile.TemporaryDirectory() as temp:
        cases = [*measure_mlp(options.checkout, Path(temp), pace), *measure_digits(options.checkout, Path(temp), pace)]
    report = Report(
        "overhead",
        "What the server costs beside a small model",
        "Requests per second and latency of servers on one core, wrk on another. See `benchmarks/overhead.py`.",
        description(
            f"servers on core {SERVER_CORE}, wrk on core {LOAD_CORE}; {pace.rounds} rounds of {pace.seconds} s"
        ),
    )
    for case in cases:
        tabulate(report, case)
    hold_against_targets(report, cases[0])
    report.plot(draw(cases))
    report.finish(options.results)


def measure_mlp(checkout: Path, temp: Path, pace: Pace) -> Iterator[Case]:
    graph = place(nets.mlp(temp / "mlp.onnx"), temp / "mlp-models", "mlp")
    row = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    requests = {"JSON": wire.post("/predict", MLP_BODY), "binary": wire.infer("mlp", {"x": row})}
    yield from measure_formats(checkout, "MLP 4-16-3", graph, temp / "mlp-models", requests, pace)


def measure_digits(checkout: Path, temp: Path, pace: Pace) -> Iterator[Case]:
    models = temp / "digits-models"
    shutil.copytree(ROOT / "models" / "digits", models / "digits")
    with np.load(models / "digits" / "1" / "golden.npz") as golden:
        row = golden["inputs/image"][:1].astype(np.float32)
    requests = {
        "JSON": wire.predict({"inputs": row.astype(int).tolist()}),
        "binary": wire.infer("digits", {"image": row}),
    }
    yield from measure_formats(checkout, "digits", models / "digits" / "1" / "model.onnx", models, requests, pace)


def measure_formats(
    checkout: Path, net: str, graph: Path, models: Path, requests: dict[str, bytes], pace: Pace
) -> Iterator[Case]:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(bonsai(checkout, models, SERVER_CORE)),
            stack.enter_context(rivals.echo(SERVER_CORE)),
            stack.enter_context(rivals.naive(graph, 1, SERVER_CORE)),
            stack.enter_context(asgi_carrier(checkout, models, SERVER_CORE)),
        ]
        for format_name, request in requests.items():
            file = write_requests(models.parent / f"{models.name}-{format_name}.requests", [request])
            yield Case(f"{net}, {format_name}", measure(servers, file, CONNECTIONS, pace))


def measure(
    servers: list[Server], requests: Path, numbers_of_connections: Sequence[int], pace: Pace
) -> dict[int, Loads]:
    """By the number of connections, each server's loads."""
    for server in servers:
        closed_loop(server, requests, WARM_UP_CONNECTIONS, 1, LOAD_CORE)
    return {
        connections: rounds.interleaved(
            {
                server.name: partial(closed_loop, server, requests, connections, pace.seconds, LOAD_CORE)
                for server in servers
            },
            pace.rounds,
        )
        for connections in numbers_of_connections
    }


def tabulate(report: Report, case: Case) -> None:
    names = list(COLOURS)
    report.table(
        f"{case.title}: ratios",
        ["connections", "bonsai / echo", "bonsai / naive", "ASGI / echo", "p50: bonsai / echo", "bonsai: p99 / p50"],
        [[str(connections), *(times(ratio) for ratio in ratios(loads))] for connections, loads in case.loads.items()],
    )
    report.table(
        f"{case.title}: requests per second, and how busy wrk was at most (1 is its whole core)",
        ["connections", *names, "wrk"],
        [[str(connections), *rates(loads, names)] for connections, loads in case.loads.items()],
    )
    report.table(
        f"{case.title}: latency in ms, p50 / p99",
        ["connections", *names],
        [[str(connections), *(latency(loads[name]) for name in names)] for connections, loads in case.loads.items()],
    )
    for connections, loads in case.loads.items():
        for name, measured in loads.items():
            report.loads(f"{case.title}, {clients(connections)}, {name}", measured)


def ratios(loads: Loads) -> list[float]:
    return [
        rate_ratio(loads, "bonsai", "echo"),
        rate_ratio(loads, "bonsai", "naive"),
        rate_ratio(loads, "bonsai (ASGI)", "echo"),
        p50_ratio(loads, "bonsai", "echo"),
        tail(loads["bonsai"]),
    ]


def rates(loads: Loads, names: list[str]) -> list[str]:
    busy = max(load.cores for measured in loads.values() for load in measured)
    return [*(number(rounds.median(loads[name], lambda load: load.rate)) for name in names), number(busy)]


def latency(loads: list[Load]) -> str:
    p50, p99 = rounds.median(loads, lambda load: load.p50), rounds.median(loads, lambda load: load.p99)
    return f"{milliseconds(p50)} / {milliseconds(p99)}"


def rate_ratio(loads: Loads, ours: str, theirs: str) -> float:
    return rounds.ratio([load.rate for load in loads[ours]], [load.rate for load in loads[theirs]])


def p50_ratio(loads: Loads, ours: str, theirs: str) -> float:
    return rounds.ratio([load.p50 for load in loads[ours]], [load.p50 for load in loads[theirs]])


def tail(loads: list[Load]) -> float:
    return rounds.ratio([load.p99 for load in loads], [load.p50 for load in loads])


def hold_against_targets(report: Report, case: Case) -> None:
    """The targets are set for a case; what the others reach is reported alone."""
    for connections, loads in case.loads.items():
        if connections > 1:
            echo, naive = rate_ratio(loads, "bonsai", "echo"), rate_ratio(loads, "bonsai", "naive")
            report.target(f"{case.title}, {connections} connections: bonsai >= 1.25 x echo", times(echo), echo >= 1.25)
            report.target(f"{case.title}, {connections} connections: bonsai >= 7 x naive", times(naive), naive >= 7)
            carrier = rate_ratio(loads, "bonsai (ASGI)", "echo")
            report.target(
                f"{case.title}, {connections} connections: ASGI >= 0.65 x echo", times(carrier), carrier >= 0.65
            )
    alone, p99 = p50_ratio(case.loads[1], "bonsai", "echo"), tail(case.loads[32]["bonsai"])
    report.target(f"{case.title}, 1 connection: p50 <= 1.1 x echo's", times(alone), alone <= 1.1)
    report.target(f"{case.title}, 32 connections: p99 <= 2.5 x p50", times(p99), p99 <= 2.5)


def draw(cases: list[Case]) -> Figure:
    figure = Figure(figsize=(12, 8), layout="constrained")
    for axes, case in zip(figure.subplots(2, 2).flat, cases, strict=True):
        for index, (name, colour) in enumerate(COLOURS.items()):
            heights = [rounds.median(loads[name], lambda load: load.rate) for loads in case.loads.values()]
            places = [place + 0.2 * index for place in range(len(heights))]
            axes.bar(places, heights, 0.2, label=name, color=colour)
        axes.set_xticks([place + 0.3 for place in range(len(case.loads))], [str(count) for count in case.loads])
        axes.set_title(case.title)
        axes.set_xlabel("connections")
        axes.set_ylabel("requests per second")
        axes.grid(axis="y", alpha=0.3)
    figure.axes[0].legend()
    figure.suptitle("One core for the server, one for wrk")
    return figure


if __name__ == "__main__":
    main()
