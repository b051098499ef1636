"""Statistics: the figures of the metrics in Triton's form."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import graphs
from tests.api.application import Application, running
from tests.metrics import value
from tests.publishing import publish

PHASES = {"queue": "queue", "compute_input": "batch", "compute_infer": "compute", "compute_output": "encode"}


@pytest.fixture
def application(models: Path, state: Path) -> Iterator[Application]:
    """A model m with two versions, and another model."""
    graph = graphs.linear(models.parent / "graph" / "model.onnx")
    for folder in ("m/1", "m/2", "other/1"):
        publish(models / folder, graph, state / "graphs")
    with running(models, state) as application:
        yield application


def statistics(application: Application, path: str = "/v2/models/m/versions/1/stats") -> list[dict[str, Any]]:
    answer = application.get(path)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["model_stats"]
    return found


def infer(application: Application, rows: int) -> int:
    body = {"inputs": [{"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1] * (4 * rows)}]}
    return application.request("POST", "/v2/models/m/versions/1/infer", json=body).status_code


def test_before_the_first_request_all_is_zero(application: Application) -> None:
    nothing = {"count": 0, "ns": 0}
    names = ("success", "fail", *PHASES, "cache_hit", "cache_miss")
    assert statistics(application) == [
        {
            "name": "m",
            "version": "1",
            "last_inference": 0,
            "inference_count": 0,
            "execution_count": 0,
            "inference_stats": dict.fromkeys(names, nothing),
        }
    ]


def test_rows_runs_requests_and_failures_are_counted(application: Application) -> None:
    before = time.time() * 1000
    assert [infer(application, rows) for rows in (1, 3, 2)] == [200] * 3
    after = time.time() * 1000
    assert application.request("POST", "/v2/models/m/versions/1/infer", json={"inputs": [{}]}).status_code == 400
    body = {"inputs": [{"name": "x", "shape": [1, 5], "datatype": "FP32", "data": [1] * 5}]}
    assert application.request("POST", "/v2/models/m/versions/1/infer", json=body).status_code == 400
    (found,) = statistics(application)
    assert (found["inference_count"], found["execution_count"]) == (6, 3)
    assert before - 1 <= found["last_inference"] <= after + 1
    stats = found["inference_stats"]
    assert stats["fail"]["count"] == 1  # of the other nobody knew yet which version was meant
    assert stats["fail"]["ns"] > 0
    assert {stats[name]["count"] for name in ("success", *PHASES)} == {3}
    assert sum(stats[name]["ns"] for name in PHASES) < stats["success"]["ns"]


def test_durations_are_those_of_the_metrics(application: Application) -> None:
    infer(application, 2)
    text = application.get("/metrics").text
    stats = statistics(application)[0]["inference_stats"]
    version = {"model": "m", "version": "1"}
    assert stats["success"]["ns"] == pytest.approx(value(text, "bonsai_request_seconds_sum", **version) * 1e9, abs=1)
    for name, phase in PHASES.items():
        seconds = value(text, "bonsai_phase_seconds_sum", phase=phase, **version)
        assert seconds > 0
        assert stats[name]["ns"] == pytest.approx(seconds * 1e9, abs=1)


def test_a_path_without_a_version_has_them_all(application: Application) -> None:
    def listed(path: str) -> list[tuple[str, str]]:
        return [(found["name"], found["version"]) for found in statistics(application, path)]

    assert listed("/v2/models/m/stats") == [("m", "1"), ("m", "2")]
    assert listed("/v2/models/stats") == [("m", "1"), ("m", "2"), ("other", "1")]


@pytest.mark.parametrize("path", ["/v2/models/cats/stats", "/v2/models/m/versions/9/stats"])
def test_what_is_not_there_is_404(application: Application, path: str) -> None:
    assert application.get(path).status_code == 404


def test_to_ask_counts_nothing(application: Application) -> None:
    infer(application, 1)
    assert statistics(application) == statistics(application)
