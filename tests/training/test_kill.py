"""A real `bonsai-train run digits`, killed on its way."""

import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from app.contract.manifest import Manifest

SCRIPT = Path(sysconfig.get_path("scripts")) / "bonsai-train"


@pytest.mark.parametrize(
    ("moment", "sent"),
    [("runs/digits/*", signal.SIGTERM), ("models/digits/.*", signal.SIGKILL)],
    ids=["training", "publishing"],
)
def test_a_killed_run_leaves_no_half_version(tmp_path: Path, moment: str, sent: signal.Signals) -> None:
    options = ["--models", tmp_path / "models", "--runs", tmp_path / "runs"]
    quick = ["--epochs", "1", "--folds", "2", "--repeats", "1"]
    # Unmeasured: a kill in the middle of writing coverage data would leave a broken file to be combined.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [SCRIPT, "run", "digits", *options, *quick]
    with subprocess.Popen(command, env=plain, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and not list(tmp_path.glob(moment)):
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        process.send_signal(sent)
        # The last few milliseconds of a run are the moment that is sought, so it may just have come to its end.
        assert process.wait(timeout=30) in (0, -sent)
    for folder in tmp_path.glob("models/digits/[0-9]*"):
        manifest = Manifest.read(folder)
        assert manifest.version == int(folder.name)
        manifest.verify(folder)
    if moment.startswith("runs"):
        assert process.returncode == -sent
        assert not list(tmp_path.glob("models/digits/*"))
