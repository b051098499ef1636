"""What the README says, done."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.digits import held_out
from tests.serving import Server

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def shell_block(beginning: str) -> str:
    return next(text for kind, text in BLOCKS if kind == "sh" and text.startswith(beginning))


def without_timing(answer: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in answer.items() if name != "timing_ms"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_gets_the_answer_that_is_printed(digits_server: Server) -> None:
    command = shlex.split(shell_block("curl").replace("http://127.0.0.1:8000", digits_server.url))
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    printed = json.loads(next(text for kind, text in BLOCKS if kind == "json"))
    assert answer.keys() == printed.keys()
    assert answer["timing_ms"].keys() == printed["timing_ms"].keys()
    assert answer["predictions"][0]["label"] == printed["predictions"][0]["label"] == "2"
    assert answer["outputs"]["logits"][0] == pytest.approx(printed["outputs"]["logits"][0], abs=1e-3)


def test_the_digit_in_the_readme_was_held_out() -> None:
    body = json.loads(re.search(r"-d '(.*?)'", shell_block("curl"), re.DOTALL)[1])  # type: ignore[index]
    assert body["inputs"][0] in held_out()[0].tolist()


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"^make ([a-z-]+)", "\n".join(text for kind, text in BLOCKS if kind == "sh"), re.MULTILINE))
    assert named == {"serve", "test", "train"}
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_the_training_command_is_the_one_that_make_runs() -> None:
    # Without what an outer make would add.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", "train", "RECIPE=digits"]
    dry = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert dry.stdout.strip().splitlines()[-1] == ".venv/bin/bonsai-train run digits"


def test_the_compose_file_publishes_where_the_readme_says() -> None:
    assert "docker compose up" in shell_block("docker")
    assert "127.0.0.1:" in (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
