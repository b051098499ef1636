"""Pictures in folders and archives: which are read, in what order, and what happens to those that cannot be."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.folder import read_pictures
from training.errors import DataBroken, DataMissing

SIDE = 4
COLOURS = {
    "train/dog/1.png": (200, 0, 0),
    "train/cat/2.png": (0, 200, 0),
    "train/cat/10.png": (0, 0, 200),
    "test/cat/1.png": (9, 9, 9),
}


def picture(colour: tuple[int, ...], side: int = SIDE, mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, (side, side), colour if len(colour) > 1 else colour[0]).save(content, "PNG")
    return content.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, and files that are none."""
    for name, colour in COLOURS.items():
        write(tmp_path / "set" / name, picture(colour))
    write(tmp_path / "set" / "train" / "cat" / "notes.txt", b"no picture")
    write(tmp_path / "set" / "train" / "9.png", b"of no class")
    return tmp_path / "set"


@pytest.fixture
def archive(folder: Path) -> Path:
    """The same as a .tar.gz, whose members come in another order than that of their names."""
    path = folder.parent / "set.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted((file for file in folder.rglob("*") if file.is_file()), reverse=True):
            tar.add(file, file.relative_to(folder.parent))
    return path


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_rows_come_by_path_and_classes_by_the_alphabet(form: str, request: pytest.FixtureRequest) -> None:
    rows, classes = read_pictures(request.getfixturevalue(form), "train", SIDE)
    assert classes == ("cat", "dog")
    assert rows.targets.tolist() == [0, 0, 1]
    assert (rows.inputs.dtype, rows.inputs.shape) == (np.uint8, (3, SIDE, SIDE, 3))
    # "10.png" stands before "2.png".
    assert [tuple(row[0, 0]) for row in rows.inputs] == [(0, 0, 200), (0, 200, 0), (200, 0, 0)]


def test_the_parts_are_kept_apart(folder: Path) -> None:
    rows, classes = read_pictures(folder, "test", SIDE)
    assert (classes, rows.inputs.tolist()) == (("cat",), np.full((1, SIDE, SIDE, 3), 9).tolist())


@pytest.mark.parametrize(
    ("content", "pixel"),
    [
        (picture((40,), mode="L"), (40, 40, 40)),
        (picture((40, 50, 60, 7), mode="RGBA"), (40, 50, 60)),
        (picture((40, 50, 60), side=3 * SIDE), (40, 50, 60)),
    ],
    ids=["grey", "transparent", "larger"],
)
def test_every_picture_becomes_rgb_of_the_side(tmp_path: Path, content: bytes, pixel: tuple[int, ...]) -> None:
    write(tmp_path / "train" / "cat" / "1.PNG", content)
    rows, _ = read_pictures(tmp_path, "train", SIDE)
    assert np.array_equal(rows.inputs, np.full((1, SIDE, SIDE, 3), pixel))


@pytest.mark.parametrize("form", ["folder", "archive"])
@pytest.mark.parametrize("content", [b"no picture", b"", picture((1, 2, 3), 64)[:70]], ids=["text", "empty", "cut"])
def test_a_broken_picture_is_named(content: bytes, form: str, folder: Path, request: pytest.FixtureRequest) -> None:
    write(folder / "train" / "cat" / "3.png", content)
    with pytest.raises(DataBroken, match=r"train/cat/3\.png: expected a picture"):
        read_pictures(request.getfixturevalue(form), "train", SIDE)


def test_a_part_without_pictures_is_missing(folder: Path) -> None:
    with pytest.raises(DataMissing, match="set: expected pictures in validation/<class>/, found none"):
        read_pictures(folder, "validation", SIDE)
