"""Where a graph's weights lie, and how much they take."""

import mmap
from pathlib import Path


def are_inside(graph: Path) -> bool:
    """Whether the graph's file holds all of its weights.

    A tensor with external data names the file under the key `location` (TensorProto.external_data in onnx.proto).
    """
    if graph.stat().st_size == 0:
        return True
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"location") == -1


def estimate(graph: Path) -> int:
    """About the bytes of the weights: the graph's file and, where weights lie outside it, every file beside it."""
    files = [graph] if are_inside(graph) else [path for path in graph.parent.iterdir() if path.is_file()]
    return sum(path.stat().st_size for path in files)
