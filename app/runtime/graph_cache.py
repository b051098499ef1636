"""Optimised graphs, kept for the host that made them.

ONNX Runtime's optimiser writes instructions of this host's CPU into the graph, so a published graph is always the
plain one: an AVX-512 graph run with AVX2 gives wrong answers without a word. What may be kept is the optimised copy
on the host itself, keyed by everything that shaped it.
"""

import hashlib
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort

from app.contract.manifest import digest
from app.errors import InvalidInput
from app.runtime import cpu
from app.runtime.providers import Placement

LARGEST = 1 << 30
"""Bytes of a version folder above which no copy is kept: ONNX Runtime saves it as one protobuf, which ends at 2 GB."""


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

    def open(
        self,
        graph: Path,
        placement: Placement,
        options: ort.SessionOptions,
        create: Callable[[str], ort.InferenceSession],
    ) -> ort.InferenceSession:
        """A session of the graph, from its optimised copy where there is one; else it leaves one behind."""
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        if sum(file.stat().st_size for file in graph.parent.iterdir()) > LARGEST:
            return create(str(graph))
        cached = self._folder / f"{self._key(graph, placement)}.onnx"
        if cached.is_file():
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            return create(str(cached))
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".") as aside:
            fresh = Path(aside) / "graph.onnx"
            options.optimized_model_filepath = str(fresh)
            session = create(str(graph))
            os.replace(fresh, cached)  # noqa: PTH105
        return session

    def _key(self, graph: Path, placement: Placement) -> str:
        parts = (digest(graph).sha256, ort.__version__, placement.provider, platform.machine(), *sorted(cpu.flags()))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
