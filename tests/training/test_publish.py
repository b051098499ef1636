"""Publishing: the next number, nothing overwritten, and never half a version."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.contract.manifest import Lineage, Manifest, Tolerance, Variant, digest
from app.contract.tensors import DataType, InputSpec, OutputSpec
from app.errors import LoadFailed
from training import publish as module
from training.publish import next_version, publish


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with two files to publish, and one that is not listed."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph" * 1000)
    (folder / "golden.npz").write_bytes(b"rows")
    (folder / "checkpoint.safetensors").write_bytes(b"stays here")
    return folder


@pytest.fixture
def manifest(source: Path) -> Manifest:
    return Manifest(
        name="tiny",
        version=1,
        task="test",
        description="made by a test",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        files={name: digest(source / name) for name in ("model.onnx", "golden.npz")},
        inputs=(InputSpec(name="x", datatype=DataType.FP32, shape=(-1, 4)),),
        outputs=(OutputSpec(name="y", datatype=DataType.FP32, shape=(-1, 4)),),
        variants=(Variant(file="model.onnx", precision="fp32", tolerance=Tolerance(rtol=0, atol=0), batchable=True),),
        golden="golden.npz",
        lineage=Lineage(chain=(), versions={}, seeds={}, command="a test"),
    )


def versions(home: Path) -> Iterator[Path]:
    return (entry for entry in home.glob("*") if entry.name.isdigit())


def require_whole(folder: Path) -> None:
    """A version folder as it has to be: a manifest of that number, and every file that it lists."""
    manifest = Manifest.read(folder)
    assert manifest.version == int(folder.name)
    manifest.verify(folder)
    assert {entry.name for entry in folder.iterdir()} == {"manifest.json", *manifest.files}


def test_versions_count_up(manifest: Manifest, source: Path, models: Path) -> None:
    for number in (1, 2, 3):
        folder = publish(manifest, source, models)
        assert folder == models / "tiny" / str(number)
        require_whole(folder)
    assert len(list((models / "tiny").iterdir())) == 3, "no dot folder stays"


def test_the_highest_counts_and_nothing_else_does(models: Path) -> None:
    for name in ("2", "10", "0", "007", "11a", ".tiny-99-x", "v12"):
        (models / name).mkdir()
    assert next_version(models) == 11


def test_a_version_is_never_overwritten(
    manifest: Manifest, source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(manifest, source, models)
    before = (first.stat().st_ino, (first / "manifest.json").read_bytes())
    numbers = iter((1, 1, 1, 2))  # somebody else's rename comes between the look and the claim, twice
    monkeypatch.setattr(module, "next_version", lambda home: next(numbers))
    second = publish(manifest, source, models)
    assert second.name == "2"
    require_whole(second)
    assert (first.stat().st_ino, (first / "manifest.json").read_bytes()) == before


def test_many_at_once_each_get_their_own_number(manifest: Manifest, source: Path, models: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: publish(manifest, source, models), range(24)))
    assert sorted(int(folder.name) for folder in folders) == list(range(1, 25))
    for folder in folders:
        require_whole(folder)


def test_a_file_that_is_not_what_the_manifest_says_is_not_published(
    manifest: Manifest, source: Path, models: Path
) -> None:
    (source / "golden.npz").write_bytes(b"rosw")
    with pytest.raises(LoadFailed, match=r"golden\.npz"):
        publish(manifest, source, models)
    assert not list((models / "tiny").iterdir())


def test_a_rename_that_fails_is_not_taken_for_a_lost_race(
    manifest: Manifest, source: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space left"):
        publish(manifest, source, models)
    assert not list((models / "tiny").iterdir())


# Publishes again and again, each time in a process of its own that is killed one line of publish.py later than the
# one before, until one of them comes to its end.
KILLED_AT_EVERY_LINE = """
import os, signal, sys
from itertools import count
from pathlib import Path
from app.contract.manifest import Manifest
from training import publish as module

source, repositories = Path(sys.argv[1]), Path(sys.argv[2])
manifest = Manifest.read(source)

def kill_after(lines):
    left = lines
    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename != module.__file__:
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return trace

for lines in count():
    child = os.fork()
    if not child:
        sys.settrace(kill_after(lines))
        module.publish(manifest, source, repositories / str(lines))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        break
    assert status == -signal.SIGKILL, status
"""


def test_killed_at_any_line_it_leaves_no_half_version(manifest: Manifest, source: Path, tmp_path: Path) -> None:
    manifest.write(source)
    repositories = tmp_path / "repositories"
    subprocess.run([sys.executable, "-c", KILLED_AT_EVERY_LINE, source, repositories], check=True, timeout=60)
    homes = [repository / "tiny" for repository in sorted(repositories.iterdir(), key=lambda path: int(path.name))]
    assert len(homes) > 40
    assert any(list(home.glob(".*")) and not list(versions(home)) for home in homes), "killed before the rename"
    assert any(list(versions(home)) for home in homes[:-1]), "killed after the rename"
    for home in homes:
        for folder in versions(home):
            require_whole(folder)

    killed_early = next(home for home in homes if list(home.glob(".*")))
    require_whole(publish(manifest, source, killed_early.parent))
