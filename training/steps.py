"""Steps: each makes a folder from folders, and is not taken again while nothing that it depends on has changed."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from types import ModuleType
from typing import Any

from app.contract.manifest import digest
from training.errors import Interrupted
from training.lineage import installed
from training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Step:
    """A step by name, and all that its result depends on: numbers, code, and the folders that it reads."""

    name: str
    config: Mapping[str, Any]
    sources: Sequence[ModuleType]
    inputs: Sequence[Path] = ()
    epochs: int = 0
    """How many epochs of training it takes, which ranks share. No part of the key."""

    @property
    def key(self) -> str:
        """Digest of the four and of the packages that are installed, 16 hexadecimal digits."""
        parts = {
            "name": self.name,
            "config": self.config,
            "sources": [hashlib.sha256(_file(module).read_bytes()).hexdigest() for module in self.sources],
            "inputs": [folder_digest(folder) for folder in self.inputs],
            "packages": dict(installed()),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Steps:
    """The steps of a run, side by side in its folder, each named by what it depends on.

    Once `stop` is set no further step is taken. Of several ranks the first takes the steps, and all of them take those
    that train; the others wait. They read what it wrote, so machines that train together share the folder.
    """

    def __init__(
        self, folder: Path, on_step: Callable[[Step], None], ranks: Ranks = ALONE, stop: Event | None = None
    ) -> None:
        self.folder = folder
        self._on_step = on_step
        self._ranks = ranks
        self._stop = stop or Event()
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, step: Step, make: Callable[[Path], None]) -> Path:
        """The step's folder: the one that is there, or a new one that `make` fills.

        `make` works in a folder beside, which is renamed once it has come to its end. What an interrupted `make` left
        there it finds again. Raises Interrupted where the step would have to be taken and a stop was asked for;
        whatever `make` raises goes on to the caller.
        """
        name = f"{step.name}-{step.key}"
        folder, aside = self.folder / name, self.folder / f".{name}"
        if self._ranks.any(self._ranks.first and not folder.exists()):
            if self._ranks.any(self._stop.is_set()):
                raise Interrupted(f"stopped before {step.name}")
            if self._ranks.first:
                self._on_step(step)
                aside.mkdir(exist_ok=True)
                make(aside)
                aside.rename(folder)
            elif step.epochs:
                with TemporaryDirectory() as unread:
                    make(Path(unread))
            self._ranks.wait()
        return folder


def folder_digest(folder: Path) -> str:
    """sha256 over the names and digests of a folder's files."""
    lines = (f"{digest(path).sha256} {path.name}\n" for path in _files(folder))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _file(module: ModuleType) -> Path:
    assert module.__file__ is not None
    return Path(module.__file__)
