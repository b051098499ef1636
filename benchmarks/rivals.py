"""The rivals' server processes."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.options import ROOT
from benchmarks.processes import Server, free_port, serving


@contextlib.contextmanager
def echo(cores: str) -> Iterator[Server]:
    """uvicorn alone: the body comes back."""
    with _serving("echo", "echo", [], cores) as server:
        yield server


@contextlib.contextmanager
def floor(graph: Path, cores: str) -> Iterator[Server]:
    """A run for each request on uvloop's own protocol, and nothing else."""
    with _serving("floor", "floor", [str(graph)], cores) as server:
        yield server


@contextlib.contextmanager
def asgi_floor(graph: Path, cores: str) -> Iterator[Server]:
    """A run for what came together under a stock uvicorn, and nothing else."""
    with _serving("ASGI floor", "asgi_floor", [str(graph)], cores) as server:
        yield server


@contextlib.contextmanager
def naive(graph: Path, threads: int, cores: str) -> Iterator[Server]:
    """FastAPI with one run for each request."""
    with _serving("naive", "naive", [str(graph), str(threads)], cores) as server:
        yield server


@contextlib.contextmanager
def pad_to_longest(graph: Path, threads: int, cores: str) -> Iterator[Server]:
    """uvicorn with a batcher that takes requests in order of arrival and pads them to the longest."""
    with _serving("pad to longest, served", "pad_to_longest", [str(graph), str(threads)], cores) as server:
        yield server


@contextlib.contextmanager
def _serving(name: str, module: str, arguments: list[str], cores: str) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-P", "-m", f"benchmarks.servers.{module}", str(port), *arguments]
    with serving(name, command, port, cores, environment={"PYTHONPATH": str(ROOT)}) as server:
        yield server
