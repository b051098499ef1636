"""Where a data set's file lies on this machine, and how it gets there."""

import os
from dataclasses import dataclass
from pathlib import Path

import pooch  # type: ignore[import-untyped]

from training.errors import DataBroken, DataMissing

FOLDER = "BONSAI_DATA"


@dataclass(frozen=True, kw_only=True)
class Download:
    """A .zip at a public address, and the file in it that is wanted."""

    url: str
    sha256: str
    member: str


def find(name: str, origin: str) -> Path:
    """The file or folder `name` in the folder that BONSAI_DATA names.

    Raises DataMissing where it is not there; `origin` says where people get it.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        raise DataMissing(f"{name}: expected {FOLDER} to name the folder that it lies in, got nothing; {origin}")
    path = Path(folder) / name
    if not path.exists():
        raise DataMissing(f"{name}: expected it in the folder that {FOLDER} names, found none; {origin}")
    return path


def find_or_fetch(name: str, download: Download) -> Path:
    """As `find`; a file that is not there is fetched from its public address, once.

    Raises DataMissing where it cannot be had, and DataBroken where it is another than was expected.
    """
    try:
        return find(name, f"it is in {download.url}")
    except DataMissing as missing:
        return fetch(download, missing)


def fetch(download: Download, missing: DataMissing) -> Path:
    """The member of the download, kept in the user's cache folder; raises `missing` where the address gives nothing."""
    try:
        members = pooch.retrieve(
            download.url,
            known_hash=f"sha256:{download.sha256}",
            path=pooch.os_cache("bonsai"),
            processor=pooch.Unzip(members=[download.member]),
        )
    except ValueError as error:  # pooch's word for a wrong digest
        raise DataBroken(f"{download.url}: expected SHA-256 {download.sha256}, got another") from error
    except OSError as error:
        raise DataMissing(f"{missing}; fetching it failed: {error}") from error
    return Path(members[0])
