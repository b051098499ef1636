"""The folder store: what lies in models/ and counts as a version."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.errors import LoadFailed
from app.repository import store
from app.repository.store import FolderStore, Listing


def put(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file) if not file.endswith("/") else (root / file).mkdir(exist_ok=True)


def look(root: Path) -> Listing:
    return FolderStore(root, still_seconds=0).list()


LISTED: dict[str, tuple[list[str], list[tuple[str, int]]]] = {
    "nothing": ([], []),
    "a manifest": (["m/1/manifest.json"], [("m", 1)]),
    "a graph": (["m/1/model.onnx"], [("m", 1)]),
    "a graph without a version": (["m/model.onnx"], [("m", 1)]),
    "several versions": (["m/2/model.onnx", "m/10/model.onnx", "m/1/model.onnx"], [("m", 1), ("m", 2), ("m", 10)]),
    "several models": (["a/1/model.onnx", "b/model.onnx"], [("a", 1), ("b", 1)]),
    "a name with every kind of character": (["A0._-z/1/model.onnx"], [("A0._-z", 1)]),
    "the largest version": ([f"m/{10**18 - 1}/model.onnx"], [("m", 10**18 - 1)]),
    "files beside the models": (["README.md", "deployments.toml", "m/1/model.onnx"], [("m", 1)]),
    "files beside the versions": (["m/README.md", "m/1/model.onnx"], [("m", 1)]),
    "a folder inside a version": (["m/1/model.onnx", "m/1/extra/x.bin"], [("m", 1)]),
    "dot folders": ([".git/1/model.onnx", "m/.2-aside/model.onnx", "m/1/model.onnx"], [("m", 1)]),
}


@pytest.mark.parametrize(("files", "expected"), LISTED.values(), ids=LISTED)
def test_versions_are_listed(models: Path, files: list[str], expected: list[tuple[str, int]]) -> None:
    put(models, *files)
    listing = look(models)
    assert sorted(listing.versions) == expected
    assert listing.problems == []


PROBLEMS: dict[str, tuple[list[str], str]] = {
    "a leading zero": (["m/01/model.onnx"], "m/01: expected a version folder named by an integer"),
    "zero": (["m/0/model.onnx"], "m/0: expected a version folder named by an integer"),
    "a negative number": (["m/-1/model.onnx"], "m/-1: expected a version folder named by an integer"),
    "a decimal number": (["m/1.0/model.onnx"], "m/1.0: expected a version folder named by an integer"),
    "a word": (["m/latest/model.onnx"], "m/latest: expected a version folder named by an integer"),
    "digits of another script": (["m/\uff11/model.onnx"], "m/\uff11: expected a version folder named by an integer"),
    "a number beyond 64 bits": ([f"m/{10**19}/model.onnx"], "expected a version folder named by an integer"),
    "a version with nothing in it": (["m/1/"], "m/1: expected manifest.json or model.onnx, got neither"),
    "a version with something else in it": (["m/1/model.pt"], "m/1: expected manifest.json or model.onnx"),
    "a model with nothing in it": (["m/"], "m: expected a version folder or model.onnx, got neither"),
    "a model with something else in it": (["m/model.pt"], "m: expected a version folder or model.onnx"),
    "a name with a space": (["m m/1/model.onnx"], "m m: expected a name that matches"),
    "a name that begins with a dash": (["-m/1/model.onnx"], "-m: expected a name that matches"),
    "a name beyond ASCII": (["ünï/1/model.onnx"], "ünï: expected a name that matches"),
    "a name of 129 characters": ([f"{'m' * 129}/1/model.onnx"], "expected a name that matches"),
}


@pytest.mark.parametrize(("files", "said"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_is_no_version_is_a_problem_that_says_why(models: Path, files: list[str], said: str) -> None:
    put(models, "good/1/model.onnx", *files)
    listing = look(models)
    assert list(listing.versions) == [("good", 1)]
    (problem,) = listing.problems
    assert said in problem
    assert str(models) not in problem


def test_a_problem_beside_a_version_does_not_hide_the_version(models: Path) -> None:
    put(models, "m/01/model.onnx", "m/2/", "m/3/model.onnx")
    listing = look(models)
    assert list(listing.versions) == [("m", 3)]
    assert len(listing.problems) == 2


def test_a_bare_graph_beside_a_version_1_is_a_problem(models: Path) -> None:
    put(models, "m/1/manifest.json", "m/1/model.onnx", "m/model.onnx")
    listing = look(models)
    assert listing.versions["m", 1].path == models / "m" / "1"
    assert any("model.onnx" in problem for problem in listing.problems)


def test_links_to_folders_are_not_followed(models: Path, tmp_path: Path) -> None:
    put(tmp_path, "outside/1/model.onnx")
    (models / "linked").symlink_to(tmp_path / "outside")
    (models / "m").mkdir()
    (models / "m" / "1").symlink_to(tmp_path / "outside" / "1")
    assert look(models).versions == {}


@pytest.mark.parametrize("folder", ["m/1", "m"])
def test_a_link_to_a_file_is_a_problem(models: Path, tmp_path: Path, folder: str) -> None:
    put(tmp_path, "secret")
    (models / folder).mkdir(parents=True)
    (models / folder / "model.onnx").symlink_to(tmp_path / "secret")
    listing = look(models)
    assert listing.versions == {}
    assert listing.refused == {("m", 1): "model.onnx: expected a plain file, got a link"}
    assert any("expected a plain file, got a link" in problem for problem in listing.problems)


def test_a_link_in_one_version_does_not_hide_the_others(models: Path, tmp_path: Path) -> None:
    put(models, "m/1/model.onnx", "m/2/model.onnx", "m/3/model.onnx")
    (models / "m" / "2" / "labels.txt").symlink_to(tmp_path)
    listing = look(models)
    assert sorted(listing.versions) == [("m", 1), ("m", 3)]
    assert len(listing.problems) == 1


def test_a_version_that_vanishes_while_it_is_read_does_not_hide_the_others(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(models, "m/1/model.onnx", "m/2/model.onnx", "n/1/model.onnx")
    read = store.read_folder

    def vanishing(path: Path, name: str, version: int) -> store.VersionFolder | None:
        if (name, version) == ("m", 1):
            shutil.rmtree(path)
        return read(path, name, version)

    monkeypatch.setattr(store, "read_folder", vanishing)
    listing = look(models)
    assert sorted(listing.versions) == [("m", 2), ("n", 1)]
    assert str(models) not in str(listing.problems)


@pytest.mark.parametrize("folder", ["m", "m/1"])
def test_a_folder_that_may_not_be_read_is_a_problem_and_hides_no_other(
    models: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    put(models, "a/1/model.onnx", "m/1/model.onnx", "z/1/model.onnx")
    iterdir = Path.iterdir

    def forbidding(path: Path) -> Iterator[Path]:
        if path == models / folder:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", forbidding)
    listing = look(models)
    assert sorted(listing.versions) == [("a", 1), ("z", 1)]
    assert listing.problems == [f"{folder}: Permission denied"]
    assert listing.may_have(("m", 1))
    assert [name for name in "amz" if listing.may_change(name)] == ["m"]


def test_a_store_without_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="models: expected a folder"):
        FolderStore(tmp_path / "none", still_seconds=0)


def test_a_store_that_has_gone_is_an_error_and_not_an_empty_listing(models: Path) -> None:
    there = FolderStore(models, still_seconds=0)
    models.rmdir()
    with pytest.raises(OSError, match="No such file"):
        there.list()


def change_nothing(folder: Path) -> None: ...
def append(folder: Path) -> None:
    (folder / "model.onnx").write_text("longer than before")


def touch(folder: Path) -> None:
    os.utime(folder / "model.onnx", ns=(1, 1))


def add(folder: Path) -> None:
    (folder / "labels.txt").write_text("cat")


def replace_unseen(folder: Path) -> None:
    """Another file of the same size and time."""
    old, new = folder / "model.onnx", folder / "new"
    new.write_text("X" * old.stat().st_size)
    os.utime(new, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
    new.rename(old)


def rewrite_unseen(folder: Path) -> None:
    """Other content of the same size in the same file, whose time is put back."""
    file = folder / "model.onnx"
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # a file system's clock may tick every few milliseconds
        file.write_text("X" * before.st_size)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def grow(folder: Path) -> None:
    """Weights that are still being copied, beside a graph that has come whole."""
    (folder / "weights" / "all.bin").write_text("longer than before")


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (change_nothing, True),
        (append, False),
        (touch, False),
        (add, False),
        (replace_unseen, False),
        (rewrite_unseen, False),
        (grow, False),
    ],
)
def test_the_fingerprint_changes_with_every_file(models: Path, change: object, same: bool) -> None:
    put(models, "m/1/model.onnx")
    put(models, "m/1/weights/all.bin")
    before = look(models).versions["m", 1].fingerprint
    change(models / "m" / "1")  # type: ignore[operator]
    assert (look(models).versions["m", 1].fingerprint == before) is same


def test_a_folder_without_a_manifest_is_listed_once_it_has_stood_still(models: Path) -> None:
    put(models, "m/model.onnx")
    there = FolderStore(models, still_seconds=3600)
    assert there.list().versions == {}
    (models / "m" / "model.onnx").write_text("more of it has arrived")
    assert there.list().versions == {}
    assert list(there.list().versions) == [("m", 1)]


def test_a_folder_that_is_old_already_is_listed_at_once(models: Path) -> None:
    put(models, "m/model.onnx")
    os.utime(models / "m" / "model.onnx", (1, 1))
    assert list(FolderStore(models, still_seconds=3600).list().versions) == [("m", 1)]


def test_a_folder_with_a_manifest_is_listed_at_once(models: Path) -> None:
    put(models, "m/1/model.onnx", "m/1/manifest.json")
    listing = FolderStore(models, still_seconds=3600).list()
    assert listing.versions["m", 1].has_manifest
