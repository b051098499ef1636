"""Observing a histogram: candidates for app/telemetry/histogram.py, in one run.

Run: python benchmarks/micro/metrics.py. Prints nanoseconds a call, the best of several rounds.
"""

import platform
import timeit
from collections.abc import Callable
from importlib.metadata import version

import prometheus_client

from app.telemetry.answers import SECONDS
from app.telemetry.histogram import Histogram

ROUNDS = 7
CALLS = 100_000
VALUE = 0.003


def main() -> None:
    registry = prometheus_client.CollectorRegistry()
    theirs = prometheus_client.Histogram("theirs", "", ("model",), buckets=SECONDS, registry=registry)
    ours = Histogram("ours", "", ("model",), SECONDS, registry)
    bound_theirs, bound_ours = theirs.labels("m"), ours.labels("m")
    print(f"prometheus-client {version('prometheus-client')}, Python {platform.python_version()}")
    for name, call in {
        "prometheus-client, labels looked up": lambda: theirs.labels("m").observe(VALUE),
        "prometheus-client, labels bound": lambda: bound_theirs.observe(VALUE),
        "ours, labels bound": lambda: bound_ours.observe(VALUE),
    }.items():
        print(f"  {name:<36} {nanoseconds(call):7.0f} ns")


def nanoseconds(call: Callable[[], object]) -> float:
    return min(timeit.Timer(call).repeat(ROUNDS, CALLS)) / CALLS * 1e9


if __name__ == "__main__":
    main()
