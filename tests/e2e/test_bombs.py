"""Models that ask for all the time or memory there is, on a real server: their own requests fail, and nothing else."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests import bombs, graphs
from tests.serving import Server, serving

MEMORY_MB = 512
RUN_MS = 700
GOOD = [[1, 2, 3, 4]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    graphs.linear(models / "neighbour" / "model.onnx")
    bombs.endless(models / "endless" / "model.onnx")
    bombs.repeated(models / "repeated" / "model.onnx")
    for operator in ("Expand", "Tile", "ConstantOfShape"):
        bombs.expanding(models / operator / "model.onnx", operator)
        bombs.constant(models / f"constant-{operator}" / "model.onnx", operator, 2**38)
    bombs.constant(models / "constants" / "model.onnx", "Tile", 2**22, times=33)
    bombs.laughs(models / "laughs" / "model.onnx", 40)
    (models / "deployments.toml").write_text(f"[defaults.limits]\nmax_run_ms = {RUN_MS}\nmax_output_mb = 1\n")
    state = str(tmp_path_factory.mktemp("state"))
    with serving(models, BONSAI_STATE=state, BONSAI_MEMORY_MB=str(MEMORY_MB)) as running:
        yield running


def ask(server: Server, model: str, value: int) -> httpx.Response:
    return server.predict([[value]], model=model)


def is_unharmed(server: Server) -> bool:
    return server.predict(GOOD, model="neighbour").status_code == 200


def resident_mb(server: Server) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def test_an_endless_loop_is_ended_and_its_instance_is_free_again(server: Server) -> None:
    assert ask(server, "endless", 3).json()["outputs"] == {"y": [[3]]}
    with ThreadPoolExecutor(1) as client:
        started = time.monotonic()
        endless = client.submit(ask, server, "endless", 2**62)
        slowest = 0.0
        while not endless.done():
            asked = time.monotonic()
            assert is_unharmed(server)
            slowest = max(slowest, time.monotonic() - asked)
        answer = endless.result()
    assert answer.status_code == 500
    assert answer.json() == {"error": f"the model took longer on this input than {RUN_MS} ms (max_run_ms)"}
    assert RUN_MS / 1000 < time.monotonic() - started < 5
    assert slowest < RUN_MS / 1000
    assert ask(server, "endless", 3).status_code == 200


@pytest.mark.parametrize("operator", ["Expand", "Tile", "ConstantOfShape"])
@pytest.mark.parametrize("elements", [2**28, 2**38, 2**62])
def test_operator_bombs(server: Server, operator: str, elements: int) -> None:
    before = resident_mb(server)
    answer = ask(server, operator, elements)
    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    assert is_unharmed(server)
    assert resident_mb(server) < before + MEMORY_MB
    assert ask(server, operator, 4).json()["outputs"] == {"y": [4]}


def test_an_answer_over_the_limit_is_not_written(server: Server) -> None:
    answer = ask(server, "repeated", 2**19)
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("output 'y': expected at most 1048576 bytes")
    assert len(ask(server, "repeated", 100).json()["outputs"]["y"]) == 100
    assert is_unharmed(server)


def test_what_could_only_be_computed_at_load_harms_nobody(server: Server) -> None:
    for model in ("constants", "constant-Expand", "constant-Tile", "constant-ConstantOfShape"):
        answer = server.predict([1, 2], model=model)
        assert answer.status_code in (200, 500, 503)
        assert is_unharmed(server)
    assert resident_mb(server) < 300 + MEMORY_MB


def test_functions_without_end_are_refused_at_load(server: Server) -> None:
    answer = server.predict([1, 2], model="laughs")
    assert answer.status_code == 503
    assert "nodes with all functions put in" in answer.json()["error"]
