"""Publish: a folder of files becomes the next version of a model, whole or not at all."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.contract import manifest as contract
from app.contract.manifest import Manifest

VERSION = re.compile(r"[1-9][0-9]*")


def publish(manifest: Manifest, source: Path, models: Path) -> Path:
    """Copies the manifest's files from `source` to models/<name>/<next version> and returns that folder.

    The version number of the manifest given does not matter: the next free one is written into it here. Everything
    is built in a folder whose name starts with a dot, which no server looks into, brought to the disk, and renamed;
    so a version folder is complete from its first moment, wherever the process is killed and however many publish at
    once. Raises LoadFailed where a file is not the one that the manifest describes.
    """
    home = models / manifest.name
    home.mkdir(parents=True, exist_ok=True)
    with staged(manifest, source, home) as stage:
        while True:
            folder = home / str(next_version(home))
            manifest.model_copy(update={"version": int(folder.name)}).write(stage)
            sync(stage / contract.FILENAME)
            sync(stage)
            if claim(stage, folder):
                break
    sync(home)
    sync(models)
    return folder


@contextmanager
def staged(manifest: Manifest, source: Path, home: Path) -> Iterator[Path]:
    """A dot folder in `home` with a verified copy of every listed file; what is left of it is removed at the end."""
    stage = home / f".{manifest.name}-{next_version(home)}-{secrets.token_hex(8)}"
    stage.mkdir()
    try:
        for name in manifest.files:
            shutil.copyfile(source / name, stage / name)
            sync(stage / name)
        manifest.verify(stage)
        yield stage
    finally:
        if stage.exists():
            shutil.rmtree(stage)


def next_version(home: Path) -> int:
    """One more than the highest version in a model's folder; 1 for the first."""
    return 1 + max((int(entry.name) for entry in home.iterdir() if VERSION.fullmatch(entry.name)), default=0)


def claim(stage: Path, folder: Path) -> bool:
    """Renames stage to folder; False where another publisher has taken that version.

    rename(2) replaces a folder only if it is empty, and a version folder never is, so of two that claim one version
    the kernel lets one through.
    """
    try:
        stage.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def sync(path: Path) -> None:
    """Brings a file, or a folder's list of entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
