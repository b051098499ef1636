"""How near the server is to the least that Python can do around a tiny model: docs/decisions/0006-hot-path.md.

Run at the repository's root: python -m benchmarks.micro.floor. It needs wrk. A bare uvicorn echo, a protocol on uvloop
that parses a body, runs the model and writes its answer and does nothing else (servers/floor.py), and Bonsai take turns
on one core, wrk on the other. Prints requests per second and the median latency, each beside the echo's.
"""

import contextlib
import platform
import tempfile
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks import nets, rivals, rounds, wire
from benchmarks.bonsai import bonsai
from benchmarks.load import Load, closed_loop, write_requests
from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.options import ROOT
from benchmarks.publishing import place

CONNECTIONS = (1, 8, 32)
WARM_UP_CONNECTIONS = 32
ROUNDS = 7
SECONDS = 1


def main() -> None:
    print(f"onnxruntime {version('onnxruntime')}, uvloop {version('uvloop')}, Python {platform.python_version()}")
    print(f"{'connections':<13}{'server':<10}{'requests/s':>11}{'x echo':>8}{'p50, us':>9}{'x echo':>8}")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        graph = place(nets.mlp(Path(folder) / "mlp.onnx"), Path(folder) / "models", "mlp")
        requests = write_requests(Path(folder) / "requests", [wire.post("/predict", b'{"inputs":[[5.1,3.5,1.4,0.2]]}')])
        servers = [
            stack.enter_context(rivals.echo(SERVER_CORE)),
            stack.enter_context(rivals.floor(graph, SERVER_CORE)),
            stack.enter_context(bonsai(ROOT, Path(folder) / "models", SERVER_CORE)),
        ]
        for server in servers:
            closed_loop(server, requests, WARM_UP_CONNECTIONS, 1, LOAD_CORE)
        for connections in CONNECTIONS:
            ways = {
                server.name: partial(closed_loop, server, requests, connections, SECONDS, LOAD_CORE)
                for server in servers
            }
            show(connections, rounds.interleaved(ways, ROUNDS))


def show(connections: int, loads: dict[str, list[Load]]) -> None:
    echo = loads["echo"]
    for name, measured in loads.items():
        rate = rounds.ratio([load.rate for load in measured], [load.rate for load in echo])
        p50 = rounds.ratio([load.p50 for load in measured], [load.p50 for load in echo])
        print(
            f"{connections:<13}{name:<10}{rounds.median(measured, lambda load: load.rate):>11.0f}{rate:>8.2f}"
            f"{1e6 * rounds.median(measured, lambda load: load.p50):>9.0f}{p50:>8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
