"""What is checked of a graph before ONNX Runtime sees it: a model file is input like any other."""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from app.contract.manifest import digest
from app.errors import LoadFailed, clip
from app.runtime import memory, onnx_file, operators
from app.runtime.onnx_file import Facts
from app.runtime.weights import External
from app.runtime.wire import Malformed, Truncated

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size and both times of a file. Nobody but root can set the second time, that of the last change."""

NO_STAMPS: Mapping[Path, Stamp] = {}

_LOOKS = {
    b"version https://git-lfs": "a Git LFS pointer; run `git lfs pull`",
    b"PK\x03\x04": "a zip archive, such as PyTorch saves",
    b"\x80\x02": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x89HDF": "HDF5, as Keras saves",
    b"\x1f\x8b": "a gzip file",
    b"GGUF": "GGUF",
    b"{": "JSON",
    b"<": "a web page or XML",
}


@dataclass(frozen=True)
class Graph:
    """A graph file that has been checked, and what it says of itself."""

    path: Path
    facts: Facts
    stamps: dict[Path, Stamp]
    """The files that it was checked with: its own, and those that hold its weights."""
    nodes: int
    """Once all functions have been put in."""
    known_sha256: str | None = None

    @classmethod
    def open(cls, path: Path, sha256: str | None = None, since: Mapping[Path, Stamp] = NO_STAMPS) -> "Graph":
        """Checks a file and what it leads to. `sha256`: the digest, where it has just been found. `since`: stamps of
        files from before that; they count for those of them that the graph leads to.

        Raises LoadFailed: which tensor or node, what was expected, what came.
        """
        try:
            return cls._open(path, sha256, since)
        except LoadFailed as error:
            raise LoadFailed(f"{path.name}: {error}") from None
        except OSError as error:
            raise LoadFailed(f"{path.name}: {error.strerror}") from None

    @classmethod
    def _open(cls, path: Path, sha256: str | None, since: Mapping[Path, Stamp]) -> "Graph":
        stamps = {path: _stamp(path)}
        _bounded(path.stat().st_size, "a file")
        facts = _read(path)
        for tensor in facts.external:
            _check_external(path.parent, tensor, stamps)
        nodes = operators.check(facts)
        _bounded(facts.weights, "weights")
        return cls(path, facts, {file: since.get(file, stamp) for file, stamp in stamps.items()}, nodes, sha256)

    @cached_property
    def sha256(self) -> str:
        """Of the graph's own file."""
        return self.known_sha256 or digest(self.path).sha256

    def verify_unchanged(self) -> None:
        """Raises LoadFailed unless the files are those that were checked. ONNX Runtime opens them by their names."""
        for path, stamp in self.stamps.items():
            if _stamp(path) != stamp:
                raise LoadFailed(f"{path.name}: expected the file that was checked, got one that has changed since")


def stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    """Raises LoadFailed for the first that is no plain file."""
    found = {}
    for path in paths:
        try:
            found[path] = _stamp(path)
        except LoadFailed as error:
            raise LoadFailed(f"{path.name}: {error}") from None
    return found


def _stamp(path: Path) -> Stamp:
    """Raises LoadFailed where there is no plain file."""
    try:
        found = path.lstat()
    except OSError:
        raise LoadFailed("expected a plain file, got none") from None
    if not stat.S_ISREG(found.st_mode):
        raise LoadFailed(f"expected a plain file, got {'a link' if stat.S_ISLNK(found.st_mode) else 'something else'}")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _bounded(size: int, what: str) -> None:
    if size > (most := memory.bound()):
        raise LoadFailed(f"expected {what} of at most {most} bytes (BONSAI_MEMORY_MB), got {size}")


def _read(path: Path) -> Facts:
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise LoadFailed("expected an ONNX graph, got an empty file")
    try:
        return onnx_file.read(path)
    except Malformed as error:
        for first, name in _LOOKS.items():
            if start.lstrip().startswith(first):
                raise LoadFailed(f"expected an ONNX graph, got {name}") from None
        if isinstance(error, Truncated) and start[0] == 0x08:  # ir_version, which every writer puts first
            raise LoadFailed(f"expected a whole ONNX graph, got one that is cut off: {error}") from None
        raise LoadFailed(f"expected an ONNX graph, got bytes that are none: {error}") from None


def _check_external(folder: Path, tensor: External, stamps: dict[Path, Stamp]) -> None:
    """Raises LoadFailed unless the bytes lie in a plain file of the version folder that has no other name."""
    location = tensor.location
    try:
        path = folder / _inside(location)
        if path not in stamps:
            stamps[path] = _stamp_of_weights(path, folder)
        size = stamps[path][2]
        if tensor.offset + tensor.bytes > size:
            bounds = f"{tensor.bytes} bytes from byte {tensor.offset} on"
            raise LoadFailed(f"expected {bounds}, got a file of {size} bytes")
    except LoadFailed as error:
        raise LoadFailed(f"{tensor.tensor}: external data '{clip(location, 80)}': {error}") from None


def _inside(location: str) -> PurePosixPath:
    name = PurePosixPath(location)
    if not name.name or name.is_absolute() or ".." in name.parts or set("\0\\") & set(location):
        raise LoadFailed("expected the name of a file inside the version folder")
    return name


def _stamp_of_weights(path: Path, folder: Path) -> Stamp:
    for place in path.parents[: len(path.relative_to(folder).parts) - 1]:
        if place.is_symlink():
            raise LoadFailed("expected a file in a plain folder, got a link on the way to it")
    stamp = _stamp(path)
    if path.stat().st_nlink != 1:
        raise LoadFailed("expected a file with one name, got a hard link: it may belong to somebody else")
    return stamp
