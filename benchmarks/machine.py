"""What a benchmark ran on."""

import datetime
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from training.measure.machine import this_machine

PACKAGES = ("uvicorn", "fastapi", "onnxruntime", "uvloop", "httptools", "numpy")
SERVER_CORE = "0"
LOAD_CORE = "1"
ALL_CORES = ",".join(str(core) for core in sorted(os.sched_getaffinity(0)))

LOAD_BEFORE = os.getloadavg()[0]
"""Of the last minute before the benchmark: near 0 on a machine that does nothing else."""


def description(pinning: str) -> list[str]:
    """Lines for a report: machine, pinning, versions, date and command."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"{this_machine().cpu}, {os.cpu_count()} cores, {memory:.1f} GiB, {platform.system()} {platform.release()}",
        f"{pinning}; load average before: {LOAD_BEFORE:.2f}",
        f"Python {platform.python_version()}, {packages}",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, `{_command()}`",
    ]


def _command() -> str:
    return " ".join(["python -m benchmarks." + Path(sys.argv[0]).stem, *sys.argv[1:]])
