"""The first command of the README, on a fresh clone."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.digits import held_out
from tests.serving import PATIENCE_SECONDS

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is nothing to clone")
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def serve_and_ask(clone: Path) -> list[str]:
    """`make serve`, one digit, SIGTERM; gives the lines that it printed."""
    environment = {**os.environ, "BONSAI_PORT": "0", "BONSAI_STATE": str(clone.parent / "state")}
    environment.pop("VIRTUAL_ENV", None)
    images, digits = held_out()
    with subprocess.Popen(
        ["make", "serve"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                if found := re.search(r"try: curl -s (http://\S+)/predict", line):
                    answer = httpx.post(f"{found[1]}/predict", json={"inputs": images[:1].tolist()})
                    assert answer.json()["predictions"][0]["label"] == str(digits[0])
                    os.killpg(process.pid, signal.SIGTERM)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)
    return lines


def test_make_serve_installs_serves_and_says_what_to_type_next(clone: Path) -> None:
    first = serve_and_ask(clone)
    assert "installing the server" in first
    assert any("try: curl" in line for line in first), first
    again = serve_and_ask(clone)
    assert "installing the server" not in again
    assert any("try: curl" in line for line in again), again
