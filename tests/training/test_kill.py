"""A real `bonsai-train run digits`, stopped and killed on its way."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.contract.manifest import Manifest

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def running(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A quick run in a process of its own, which works and publishes in the folder."""
    options = ["--models", str(folder / "models"), "--runs", str(folder / "runs"), "--max-drop", "50", *more]
    # Unmeasured: a kill in the middle of writing coverage data would leave a broken file to be combined.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-m", "tests.training.quick", "run", "digits", *options]
    with subprocess.Popen(
        command, env=plain, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process


def wait_for(process: subprocess.Popen[str], folder: Path, moment: str) -> None:
    """Until a path matches the pattern, or the process has come to its end."""
    deadline = time.monotonic() + 100
    while process.poll() is None and not list(folder.glob(moment)):
        assert time.monotonic() < deadline
        time.sleep(0.0005)


@pytest.mark.slow
def test_sigterm_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        wait_for(process, tmp_path, "runs/digits/*/.trained-*/training.safetensors")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 1, output
    assert "bonsai-train: stopped in epoch" in output
    assert not list(tmp_path.glob("models/digits/*"))
    with running(tmp_path, "--resume") as process:
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert len(list((tmp_path / "runs" / "digits").iterdir())) == 1
    Manifest.read(tmp_path / "models" / "digits" / "1").verify(tmp_path / "models" / "digits" / "1")


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_version(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        wait_for(process, tmp_path, "models/digits/.*")
        process.send_signal(signal.SIGKILL)
        # The last few milliseconds of a run are the moment that is sought, so it may just have come to its end.
        assert process.wait(timeout=30) in (0, -signal.SIGKILL)
    for folder in tmp_path.glob("models/digits/[0-9]*"):
        manifest = Manifest.read(folder)
        assert manifest.version == int(folder.name)
        manifest.verify(folder)
