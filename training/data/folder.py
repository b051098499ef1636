"""Pictures in folders: <part>/<class>/<picture>, as a plain folder or as a .tar.gz of one."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from training.data.dataset import Dataset
from training.errors import DataBroken, DataMissing

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def read_pictures(source: Path, part: str, side: int) -> tuple[Dataset, tuple[str, ...]]:
    """The pictures of one part, and the names of its classes, in the order of the alphabet.

    Inputs are uint8 [rows, side, side, 3], RGB; a picture of another size is scaled to it. Targets are the places of
    the classes in the list of names. Rows come in the order of their paths, so that it is the same on every machine.
    Raises DataMissing where the part has no picture, and DataBroken, which names it, for one that cannot be read.
    """
    found = sorted(pictures(source, part), key=lambda picture: picture[0])
    if not found:
        raise DataMissing(f"{source.name}: expected pictures in {part}/<class>/, found none")
    classes = tuple(sorted({path.parent.name for path, _ in found}))
    inputs = np.stack([decode(content, side, path) for path, content in found])
    targets = np.array([classes.index(path.parent.name) for path, _ in found], np.int64)
    return Dataset(inputs, targets), classes


def pictures(source: Path, part: str) -> Iterator[tuple[Path, bytes]]:
    """(path, content) of every picture whose folder's folder is `part`."""
    if source.is_dir():
        for path in source.rglob("*"):
            if is_of(path, part):
                yield path.relative_to(source), path.read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in archive:
            file = archive.extractfile(member) if is_of(Path(member.name), part) else None
            if file is not None:
                yield Path(member.name), file.read()


def is_of(path: Path, part: str) -> bool:
    return path.suffix.lower() in PICTURES and len(path.parts) > 2 and path.parts[-3] == part


def decode(content: bytes, side: int, path: Path) -> NDArray[np.uint8]:
    """A picture as uint8 [side, side, 3]. Raises DataBroken, which names its path."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            rgb = picture.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:  # each format has its own
        raise DataBroken(f"{path}: expected a picture, got: {error}") from error
    if rgb.size != (side, side):
        rgb = rgb.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(rgb)
