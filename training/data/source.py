"""Where a data set's file lies on this machine."""

import os
from pathlib import Path

from training.errors import DataMissing

FOLDER = "BONSAI_DATA"


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
