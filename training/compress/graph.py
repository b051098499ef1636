"""An ONNX graph as a value: read, searched, held against what a published one must be, and written. No torch here."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, NodeProto

from training.errors import GraphRefused

FILENAME = "model.onnx"
"""Of a float graph, in the folder that made it and in a version."""

NOTES = ("doc_string", "metadata_props")
"""Fields in which exporters leave file paths, source lines and stack traces."""

STANDARD = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Domains that every CPU and every version of the runtime has. Those that an optimiser writes, such as
com.microsoft.nchwc, are laid out for the CPU that it ran on, and give wrong answers without a word on another."""

TINY = 1e-30
"""Far above float32's denormals, which end at 1.2e-38 and slow many CPUs down, and far below what a sum can notice: an
input would have to be above 1e22 for such a weight to move the last place of a 1."""

MOST_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GiB; what is not weights has a megabyte."""

START = r"""(?:^|[\s"'=(:])"""
PATHS = re.compile(
    rf"{START}(?:/(?:home|Users|tmp|etc|mnt|srv|usr)/|[A-Za-z]:\\)"
    r"""|[/\\][^\s/\\]*\.py\b|\.py(?:"?, line |:)\d|\bFile \""""
)
"""Folders that nobody calls a module by, files of sources and lines in them."""
FOLDERS = re.compile(rf"{START}/(?:app|content|data|media|opt|root|run|scratch|var|work|workspace)/[^\s/]")
"""Folders of usual machines whose names are good ones for modules too. Some exporters name nodes and values by their
module, as "/data/Conv_output_0", so there these are no paths."""

NAMED = frozenset({"NodeProto", "ValueInfoProto", "TensorProto"})
"""Messages whose own texts are names of nodes and of values."""


def load(path: Path) -> ModelProto:
    """The graph with all of its weights. Raises GraphRefused where the file is no ONNX graph or a weight is missing."""
    try:
        model: ModelProto = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf, the checker and the reader of weights share no class of error
        reason, *_ = str(error).split("\n")
        raise GraphRefused(f"{path.name}: expected a valid ONNX graph, got: {reason}") from error
    return model


def save(model: ModelProto, path: Path) -> Path:
    """Writes the graph, without its notes, as one file: equal graphs give equal bytes.

    Raises GraphRefused for what an optimiser has bound to one CPU, is too large for one file, or names a path of
    this machine.
    """
    strip(model)
    require_plain(model)
    require_no_paths(model)
    require_one_file(weight_bytes(model))
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def strip(model: ModelProto) -> None:
    """Removes every note from the model, at any depth."""
    for message, field in list(notes(model)):
        message.ClearField(field)


def notes(message: Any) -> Iterator[tuple[Any, str]]:
    """(message, field) of every note in a protobuf message and in those inside it."""
    for field, value in message.ListFields():
        if field.name in NOTES:
            yield message, field.name
        elif field.message_type is not None:
            for part in value if field.is_repeated else (value,):
                yield from notes(part)


def nodes(graph: Any) -> Iterator[NodeProto]:
    """Every node of a graph, and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes(inner)


def batch_norms(model: ModelProto) -> int:
    """How many BatchNormalization nodes there are."""
    return sum(node.op_type == "BatchNormalization" for node in nodes(model.graph))


def weight_bytes(model: ModelProto) -> int:
    """Bytes of the graph's weights."""
    return sum(weight.ByteSize() for weight in model.graph.initializer)


def require_one_file(size: int) -> None:
    """Raises GraphRefused for more bytes of weights than one file holds: one digest is to stand for one graph."""
    if size > MOST_BYTES:
        raise GraphRefused(f"weights: expected at most {MOST_BYTES} bytes, which one ONNX file can hold, got {size}")


def require_plain(model: ModelProto) -> None:
    """Raises GraphRefused for a graph that an optimiser has already bound to one runtime or one CPU."""
    if foreign := {f"{node.domain}.{node.op_type}" for node in nodes(model.graph) if node.domain not in STANDARD}:
        raise GraphRefused(
            f"nodes: expected ONNX's own, as they were exported, got {', '.join(sorted(foreign))}; the runtime "
            "optimises a graph when it loads it"
        )


def require_no_paths(model: ModelProto) -> None:
    """Raises GraphRefused where a name or text in the graph looks like a file of the machine that made it."""
    # A folder of one word may be called as a module is.
    here = [path for path in (Path.cwd(), Path.home(), Path(tempfile.gettempdir())) if len(path.parts) > 2]
    for text, is_name in texts(model):
        found = PATHS.search(text) or (not is_name and FOLDERS.search(text))
        if found or any(str(folder) in text for folder in here):
            raise GraphRefused(f"text: expected no path of this machine, got {text[:120]!r}")


def texts(message: Any) -> Iterator[tuple[str, bool]]:
    """Every text in a protobuf message and in those inside it, and whether it is the name of a node or of a value; the
    numbers of tensors are no text."""
    for field, value in message.ListFields():
        parts = value if field.is_repeated else (value,)
        if field.message_type is not None:
            for part in parts:
                yield from texts(part)
        elif isinstance(parts[0], str):
            yield from ((part, message.DESCRIPTOR.name in NAMED) for part in parts)
        elif isinstance(parts[0], bytes) and field.name != "raw_data":
            yield from ((part.decode(errors="replace"), False) for part in parts)
