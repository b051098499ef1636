"""The digests of a version folder."""

import hashlib
import os
from pathlib import Path

import pytest

from app.contract.manifest import FileDigest, Manifest, digest
from app.errors import LoadFailed
from tests.contract.manifests import manifest

CONTENT = {"model.onnx": b"a graph", "golden.npz": b"a sample"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def listing(folder: Path) -> Manifest:
    """A manifest that lists the folder as it is now."""
    return manifest(files={name: digest(folder / name) for name in CONTENT})


def refusal(given: Manifest, folder: Path) -> str:
    with pytest.raises(LoadFailed) as raised:
        given.verify(folder)
    assert str(folder) not in str(raised.value)
    return str(raised.value)


def test_a_digest_is_the_sha256_and_the_size(folder: Path) -> None:
    expected = FileDigest(sha256=hashlib.sha256(b"a graph").hexdigest(), bytes=7)
    assert digest(folder / "model.onnx") == expected


def test_an_unchanged_folder_holds(folder: Path) -> None:
    listing(folder).verify(folder)


def test_other_files_in_the_folder_do_not_matter(folder: Path) -> None:
    given = listing(folder)
    (folder / "report.html").write_text("more")
    given.verify(folder)


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("position", [0, -1])
def test_a_changed_byte_is_found_and_the_file_named(folder: Path, name: str, position: int) -> None:
    given = listing(folder)
    content = bytearray(CONTENT[name])
    content[position] ^= 1
    (folder / name).write_bytes(content)
    text = refusal(given, folder)
    assert text.startswith(f"{name}: expected sha256 {given.files[name].sha256}")
    assert f"got {hashlib.sha256(content).hexdigest()}" in text


def test_a_shorter_file_is_found_with_both_sizes(folder: Path) -> None:
    given = listing(folder)
    (folder / "model.onnx").write_bytes(b"a gra")
    text = refusal(given, folder)
    assert "(7 bytes)" in text
    assert "(5 bytes)" in text


def test_a_missing_file_is_named(folder: Path) -> None:
    given = listing(folder)
    (folder / "golden.npz").unlink()
    assert refusal(given, folder) == "golden.npz: expected a plain file, got none"


def test_a_link_is_refused_though_its_target_has_the_digest(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    given = listing(folder)
    target = tmp_path_factory.mktemp("elsewhere") / "model.onnx"
    (folder / "model.onnx").rename(target)
    (folder / "model.onnx").symlink_to(target)
    assert refusal(given, folder) == "model.onnx: expected a plain file, got a link"


def test_a_dangling_link_is_refused(folder: Path) -> None:
    given = listing(folder)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("nowhere")
    assert refusal(given, folder) == "model.onnx: expected a plain file, got a link"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_is_refused_without_reading_it(folder: Path, make: object) -> None:
    given = listing(folder)
    (folder / "model.onnx").unlink()
    make(folder / "model.onnx")  # type: ignore[operator]
    assert refusal(given, folder) == "model.onnx: expected a plain file, got none"


def test_a_file_that_cannot_be_read_is_a_reason_not_a_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = listing(folder)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(given, folder).startswith("model.onnx: ")
