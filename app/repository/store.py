"""The model store: a folder that holds models/<name>/<integer>/ or models/<name>/model.onnx."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.contract import manifest
from app.errors import InvalidInput, LoadFailed, NotFound, clip

BARE_GRAPH = "model.onnx"
_NAME = re.compile(manifest.NAME_PATTERN)
VERSION = re.compile(r"[1-9][0-9]{0,17}")
LARGEST_VERSION = 2**63 - 1

Key = tuple[str, int]
"""Model name and version."""
FileStamp = tuple[str, int, int, int, int]
"""A file's name, size, mtime, which a copy may keep, inode, and ctime, which none can."""
Fingerprint = tuple[FileStamp, ...]


@dataclass(frozen=True, slots=True)
class VersionFolder:
    """A version as it lies in the store. `fingerprint` changes whenever one of its files does."""

    name: str
    version: int
    path: Path
    fingerprint: Fingerprint

    @property
    def has_manifest(self) -> bool:
        return any(file == manifest.FILENAME for file, *_ in self.fingerprint)

    @property
    def newest(self) -> float:
        """Time of the last change, in seconds since the epoch."""
        return max(modified for _, _, modified, *_ in self.fingerprint) / 1e9


@dataclass(slots=True)
class Listing:
    """One look at a store: its versions, those that may still be changing, those that must not be loaded, each with
    the reason, and what lies there that is none."""

    versions: dict[Key, VersionFolder] = field(default_factory=dict)
    moving: set[Key] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)
    """Models whose folder cannot be read just now: which versions they have is not known."""
    refused: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def may_have(self, key: Key) -> bool:
        """Whether a version is there, or may be."""
        return key in self.versions or key in self.moving or key in self.refused or key[0] in self.unread

    def may_change(self, name: str) -> bool:
        """Whether a model may still be changing."""
        return name in self.unread or any(name == model for model, _ in self.moving)


class ModelStore(Protocol):
    """Where model versions come from."""

    def list(self) -> Listing:
        """What is there now. Blocking."""
        ...


class FolderStore:
    """A model repository on disk.

    A folder without a manifest may still be on its way, so it is listed only when it has stood still: unchanged since
    the look before, or for `still_seconds`. A folder with a manifest is held against its digests when it is loaded.
    """

    def __init__(self, root: Path, still_seconds: float) -> None:
        """Raises LoadFailed where there is no such folder."""
        if not root.is_dir():
            raise LoadFailed(f"models: expected a folder that is there, got {root}")
        self._root = root
        self._still_seconds = still_seconds
        self._last_seen: dict[Key, Fingerprint] = {}

    def list(self) -> Listing:
        found = Listing()
        for model in _folders(self._root):
            if _NAME.fullmatch(model.name):
                for folder in versions(model, found):
                    found.versions[folder.name, folder.version] = folder
            else:
                found.problems.append(f"{model.name}: expected a name that matches {manifest.NAME_PATTERN}")
        seen = {key: folder.fingerprint for key, folder in found.versions.items()}
        found.moving |= {key for key, folder in found.versions.items() if not self._is_still(key, folder)}
        found.versions = {key: folder for key, folder in found.versions.items() if key not in found.moving}
        self._last_seen = seen
        return found

    def _is_still(self, key: Key, folder: VersionFolder) -> bool:
        return (
            folder.has_manifest
            or self._last_seen.get(key) == folder.fingerprint
            or time.time() - folder.newest > self._still_seconds
        )


def version_number(version: str) -> int:
    """The number that a request names. Raises NotFound for what is none, InvalidInput for one that no version can
    have."""
    if not (version.isascii() and version.isdigit()):
        raise NotFound(f"no version '{clip(version, 64)}': expected an integer")
    if len(version) > len(str(LARGEST_VERSION)) or int(version) > LARGEST_VERSION:
        raise InvalidInput.field("version", expected=f"at most {LARGEST_VERSION}", got=version[:64])
    return int(version)


def versions(model: Path, found: Listing) -> Iterator[VersionFolder]:
    """The versions in a model's folder; `found` gets what lies there and is none, or cannot be read just now."""
    problems = found.problems
    try:
        folders = list(_folders(model))
        is_bare = (model / BARE_GRAPH).is_symlink() or (model / BARE_GRAPH).exists()
    except OSError as error:
        found.unread.add(model.name)
        problems.append(f"{model.name}: {error.strerror}")
        return
    for folder in folders:
        if VERSION.fullmatch(folder.name):
            yield from _version(f"{model.name}/{folder.name}", folder, model.name, int(folder.name), found)
        else:
            problems.append(f"{model.name}/{folder.name}: expected a version folder named by an integer such as 1")
    if is_bare and any(folder.name == "1" for folder in folders):
        problems.append(f"{model.name}/{BARE_GRAPH}: expected one version 1, got a folder 1 beside it")
    elif is_bare:
        yield from _version(model.name, model, model.name, 1, found)
    elif not folders:
        problems.append(f"{model.name}: expected a version folder or {BARE_GRAPH}, got neither")


def _version(label: str, path: Path, name: str, version: int, found: Listing) -> Iterator[VersionFolder]:
    """The version in a folder, if it is one; one that cannot be read must not hide the others."""
    problems = found.problems
    try:
        folder = read_folder(path, name, version)
    except LoadFailed as error:
        found.refused[name, version] = str(error)
        problems.append(f"{label}: {error}")
    except OSError as error:  # files come or go at this moment
        found.moving.add((name, version))
        problems.append(f"{label}: {error.strerror}")
    else:
        if folder is None:
            problems.append(f"{label}: expected {manifest.FILENAME} or {BARE_GRAPH}, got neither")
        else:
            yield folder


def read_folder(path: Path, name: str, version: int) -> VersionFolder | None:
    """The version in a folder; None where it holds neither a manifest nor a model.onnx.

    Raises LoadFailed where one of its files is a link: it could lead out of the repository.
    """
    if not any((path / file).is_symlink() or (path / file).is_file() for file in (manifest.FILENAME, BARE_GRAPH)):
        return None
    return VersionFolder(name, version, path, tuple(_stamps(path, path)))


def _stamps(folder: Path, root: Path) -> Iterator[FileStamp]:
    """Every file by its name below `root`, with what changes whenever it is written: weights may lie in subfolders."""
    for child in sorted(folder.iterdir()):
        if child.is_symlink():
            raise LoadFailed(f"{child.name}: expected a plain file, got a link")
        if child.is_file():
            stat = child.stat()
            name = child.relative_to(root).as_posix()
            yield name, stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns
        elif child.is_dir() and not child.name.startswith(".") and not VERSION.fullmatch(child.name):
            yield from _stamps(child, root)


def _folders(parent: Path) -> Iterator[Path]:
    """Folders in order of name; dot folders are on their way in or out, links may lead anywhere."""
    return (
        child
        for child in sorted(parent.iterdir())
        if not child.name.startswith(".") and not child.is_symlink() and child.is_dir()
    )
