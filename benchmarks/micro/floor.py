"""How near the server is to the least that Python can do around a tiny model: docs/decisions/0006-hot-path.md.

Run at the repository's root: python -m benchmarks.micro.floor. It needs wrk. On one core take turns, wrk on the other:

- a bare uvicorn echo;
- a protocol on uvloop that parses a body, runs the model, writes its answer and does nothing else (servers/floor.py),
  and Bonsai;
- an ASGI application that does as little for what came together (servers/asgi_floor.py), and Bonsai's, both under a
  stock uvicorn.

Prints requests per second and the median latency, each beside the echo's.
"""

import contextlib
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks import nets, rivals, rounds, wire
from benchmarks.bonsai import asgi_carrier, bonsai
from benchmarks.load import write_requests
from benchmarks.machine import SERVER_CORE
from benchmarks.options import ROOT, Pace
from benchmarks.overhead import MLP_BODY, Loads, measure, p50_ratio, rate_ratio
from benchmarks.publishing import place

CONNECTIONS = (1, 8, 32)
PACE = Pace(rounds=7, seconds=1)


def main() -> None:
    print(f"onnxruntime {version('onnxruntime')}, uvloop {version('uvloop')}, Python {platform.python_version()}")
    print(f"{'connections':<13}{'server':<15}{'requests/s':>11}{'x echo':>8}{'p50, us':>9}{'x echo':>8}")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        graph = place(nets.mlp(Path(folder) / "mlp.onnx"), Path(folder) / "models", "mlp")
        requests = write_requests(Path(folder) / "requests", [wire.post("/predict", MLP_BODY)])
        servers = [
            stack.enter_context(rivals.echo(SERVER_CORE)),
            stack.enter_context(rivals.floor(graph, SERVER_CORE)),
            stack.enter_context(bonsai(ROOT, Path(folder) / "models", SERVER_CORE)),
            stack.enter_context(rivals.asgi_floor(graph, SERVER_CORE)),
            stack.enter_context(asgi_carrier(ROOT, Path(folder) / "models", SERVER_CORE)),
        ]
        for connections, loads in measure(servers, requests, CONNECTIONS, PACE).items():
            show(connections, loads)


def show(connections: int, loads: Loads) -> None:
    for name, measured in loads.items():
        rate = rounds.median(measured, lambda load: load.rate)
        p50 = rounds.median(measured, lambda load: load.p50)
        print(
            f"{connections:<13}{name:<15}{rate:>11.0f}{rate_ratio(loads, name, 'echo'):>8.2f}"
            f"{1e6 * p50:>9.0f}{p50_ratio(loads, name, 'echo'):>8.2f}"
        )


if __name__ == "__main__":
    main()
