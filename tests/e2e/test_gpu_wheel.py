"""Asked for CUDA where there is none, by the real onnxruntime-gpu wheel: not ready, and it says why.

The wheel is installed without its CUDA wheels, in an environment of its own that is kept for the next run.
"""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests import graphs
from tests.serving import serving, starting, wait_for

ROOT = Path(__file__).parent.parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gpu_python() -> str:
    """The interpreter of an environment with the server and onnxruntime-gpu."""
    pin = re.search(r"^onnxruntime-gpu==.*$", CONSTRAINTS.read_text(), re.MULTILINE)
    assert pin is not None
    environment = ROOT / ".cache" / f"venv-{pin[0]}"
    python = environment / "bin" / "python"
    if not (environment / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS)]
        done = subprocess.run([*install, "--editable", str(ROOT), pin[0]], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{pin[0]} cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
        (environment / "complete").touch()
    return str(python)


def test_cuda_that_is_not_there_is_never_served_on_the_cpu_unnoticed(models: Path, gpu_python: str) -> None:
    graphs.linear(models / "linear" / "1" / "model.onnx")
    (models / "deployments.toml").write_text('[models.linear]\nprovider = "cuda"\n')
    with starting(models, python=gpu_python) as server:
        ready = f"{server.url}/v2/models/linear/ready"
        wait_for(lambda: "asked for CUDAExecutionProvider" in httpx.get(ready).text, "the refusal")
        assert httpx.get(ready).status_code == 503
        assert httpx.get(f"{server.url}/livez").status_code == 200
        assert server.predict([[1, 2, 3, 4]]).status_code == 503
        assert server.stop() == 0


def test_the_fallback_is_named_where_it_is_allowed(models: Path, gpu_python: str) -> None:
    graphs.linear(models / "linear" / "1" / "model.onnx")
    (models / "deployments.toml").write_text('[models.linear]\nprovider = "cuda"\nallow_fallback = true\n')
    with serving(models, python=gpu_python) as server:
        answer = server.predict([[1, 2, 3, 4]])
        assert answer.status_code == 200
        assert answer.headers["x-execution-provider"] == "CPUExecutionProvider"
