"""A graph, opened and run as the server does it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtime.graph_cache import GraphCache
from app.runtime.guard import Graph
from app.runtime.providers import Placement
from app.runtime.session import Session

Run = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Inputs [rows, ...] -> answers [rows, ...]."""


def open_served(path: Path, threads: int = 1) -> Session:
    """The graph in the server's own session: its checks, its optimisation level, its way to wait.

    Raises LoadFailed where the server would not load it.
    """
    with tempfile.TemporaryDirectory() as cache:
        return Session.load(Graph.open(path), Placement(), threads, GraphCache(Path(cache)))


def runner(session: Session) -> Run:
    """Runs a graph that has one input and one output."""
    (input,), (output,) = session.signature.inputs, session.signature.outputs

    def run(inputs: NDArray[Any]) -> NDArray[np.float32]:
        answers: NDArray[np.float32] = session.run({input.name: inputs})[output.name]
        return answers

    return run


def rows_for(batch: int, rows: NDArray[Any]) -> NDArray[Any]:
    """The first so many rows, from the start again where there are fewer."""
    return rows[np.arange(batch) % len(rows)]
