"""Faults that are planted into a copy of the server, one at a time: the fuzzer finds each within a minute."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
SECONDS = 60
pytestmark = pytest.mark.slow


class Plant(NamedTuple):
    """`text` of a file of app/ becomes `fault`, and the report of the finding has to tell of it."""

    file: str
    text: str
    fault: str
    told: str


PLANTS = {
    "a size that is not checked": Plant(
        "protocol/binary_tensors.py", "if len(raw) != size:", "if len(raw) < size:", "ValueError"
    ),
    "a rare value of JSON": Plant(
        "protocol/json_tensors.py", "except OverflowError:", "except ZeroDivisionError:", "OverflowError"
    ),
    "two rows swapped": Plant(
        "protocol/json_answers.py",
        "else np.ascontiguousarray(array))",
        "else np.ascontiguousarray(array[:: -1 if len(array) == 7 else 1]))",
        "the server array",
    ),
    "an endless loop": Plant(
        "api/framing.py",
        "if end == at:\n                    break",
        "if end == at:\n                    continue",
        "timeout after",
    ),
    "a byte of a chunk read twice": Plant(
        "api/framing.py",
        "at += len(piece)",
        "at += len(piece) - (len(piece) == 255)",
        "in pieces",
    ),
    "an error that tells of a path": Plant(
        "repository/repository.py", "no model '", "no {__file__} '", "tells of this machine"
    ),
}


def fuzzing_python() -> Path:
    made = ROOT / ".venv-fuzz" / "bin" / "python"
    if not made.exists():
        pytest.skip("there is no .venv-fuzz: make fuzz")
    return made


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_the_fuzzer_finds(plant: Plant, tmp_path: Path) -> None:
    python = fuzzing_python()
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "app" / plant.file
    text = source.read_text(encoding="utf-8")
    assert text.count(plant.text) == 1, "the code has moved: plant the fault elsewhere"
    source.write_text(text.replace(plant.text, plant.fault), encoding="utf-8")
    command = [python, "-P", "-m", "tests.fuzz", "--cache", tmp_path / "cache", "run", "--seconds", str(SECONDS)]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    sys.stdout.write(done.stdout)
    assert done.returncode == 1, done.stdout + done.stderr
    assert plant.told in done.stdout
