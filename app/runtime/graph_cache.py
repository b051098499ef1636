"""Optimised graphs, kept for the host that made them.

ONNX Runtime's optimiser writes instructions of this host's CPU into the graph, so a published graph is always the
plain one: an AVX-512 graph run with AVX2 gives wrong answers without a word. What may be kept is the optimised copy
on the host itself, keyed by everything that shaped it.
"""

import hashlib
import logging
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort

from app.contract.manifest import digest
from app.errors import InvalidInput, LoadFailed
from app.runtime import cpu
from app.runtime.guard import Graph
from app.runtime.providers import Placement

logger = logging.getLogger("bonsai.runtime")

LARGEST = 1 << 30
"""Bytes of a graph above which no copy is kept: ONNX Runtime saves it as one protobuf, which ends at 2 GB."""

Create = Callable[[Path, ort.SessionOptions], ort.InferenceSession]


class GraphCache:
    """A folder of optimised graphs below the server's state folder."""

    def __init__(self, folder: Path) -> None:
        """Raises InvalidInput where the folder cannot be made or written."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            writable = os.access(folder, os.W_OK)
        except OSError:
            writable = False
        if not writable:
            raise InvalidInput.field("state (BONSAI_STATE)", expected="a folder that can be written", got=str(folder))
        self._folder = folder

    def open(self, graph: Graph, placement: Placement, create: Create) -> ort.InferenceSession:
        """A session of the graph, from its optimised copy where there is one; else it leaves one behind.

        A copy that is damaged or cannot be written costs time, never the model. Raises what `create` raises.
        """
        copy = self._folder / f"{_key(graph, placement)}.onnx"
        if not _fits_one_file(graph):
            return create(graph.path, ort.SessionOptions())
        if _is_whole(copy):
            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            try:
                return create(copy, options)
            except Exception as error:  # noqa: BLE001 - ORT raises a dozen unrelated classes for a file it cannot take
                logger.warning("an optimised graph is made again: %s", type(error).__name__)
        try:
            return self._optimise(graph, copy, placement, create)
        except Exception as error:  # noqa: BLE001 - a full disk has as many classes; a broken graph raises again below
            session = create(graph.path, ort.SessionOptions())
            logger.warning("no optimised graph is kept: %s", type(error).__name__)
            return session

    def beside(self, graph: Graph, placement: Placement, name: str) -> Path:
        """Where something that was found out about the graph on this host is kept."""
        return self._folder / f"{_key(graph, placement)}.{name}"

    def _optimise(self, graph: Graph, copy: Path, placement: Placement, create: Create) -> ort.InferenceSession:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as aside:
            fresh = Path(aside) / "graph.onnx"
            options = ort.SessionOptions()
            options.optimized_model_filepath = str(fresh)
            session = create(graph.path, options)
            if placement.asked in session.get_providers():  # a CPU session in CUDA's stead must not be kept for CUDA
                graph.verify_unchanged()  # nor the copy of another graph under this one's digest
                note = Path(aside) / "sha256"
                note.write_text(digest(fresh).sha256)
                fresh.replace(copy)
                note.replace(_note(copy))
        return session


def _key(graph: Graph, placement: Placement) -> str:
    parts = (graph.sha256, ort.__version__, placement.provider, platform.machine(), *sorted(cpu.flags()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _note(copy: Path) -> Path:
    """Where the digest of a copy is kept."""
    return copy.with_suffix(".sha256")


def _is_whole(copy: Path) -> bool:
    """Whether there is a copy, with the bytes that were written: ONNX Runtime takes others too, and answers wrongly."""
    if not copy.is_file():
        return False
    try:
        is_whole = _note(copy).read_text() == digest(copy).sha256
    except (OSError, ValueError, LoadFailed):
        is_whole = False
    if not is_whole:
        logger.warning("an optimised graph does not fit its digest and is made again")
    return is_whole


def _fits_one_file(graph: Graph) -> bool:
    """Whether the file is small and holds its own weights: weights elsewhere may change while the graph does not."""
    return graph.facts.bytes <= LARGEST and not graph.facts.external
