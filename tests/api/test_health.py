"""Live, ready, and what the server says of itself and its models."""

import asyncio
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app import __version__
from app.main import assemble
from app.settings import Settings
from tests import graphs
from tests.api.application import Application, asked, running


@pytest.mark.parametrize("path", ["/livez", "/v2/health/live"])
def test_a_process_that_serves_is_live(application: Application, path: str) -> None:
    answer = application.get(path)
    assert (answer.status_code, answer.json()) == (200, {"live": True})


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready"])
def test_with_a_model_it_is_ready(application: Application, path: str) -> None:
    answer = application.get(path)
    assert (answer.status_code, answer.json()) == (200, {"ready": True})


@pytest.mark.parametrize("path", ["/readyz", "/v2/health/ready"])
def test_it_is_live_but_not_ready_while_starting_without_models_and_while_draining(models: Path, path: str) -> None:
    parts = assemble(Settings.load(models=models))

    async def scenario() -> list[httpx.Response]:
        starting = await asked(parts.app, "GET", path)
        await parts.repository.refresh()
        empty = await asked(parts.app, "GET", path)
        parts.dataplane.drain()
        draining = await asked(parts.app, "GET", path)
        assert (await asked(parts.app, "GET", "/livez")).status_code == 200
        return [starting, empty, draining]

    answers = asyncio.run(scenario())
    assert [answer.status_code for answer in answers] == [503] * 3
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
    assert [answer.json() for answer in answers] == [
        {"error": "the model repository is being loaded"},
        {"error": "no model is ready"},
        {"error": "the server is stopping"},
    ]


def test_a_model_that_cannot_be_loaded_says_why_at_its_own_door(models: Path, state: Path) -> None:
    (models / "broken" / "1").mkdir(parents=True)
    (models / "broken" / "1" / "manifest.json").write_text("{}")
    with running(models, state) as application:
        for path in ("/v2/models/broken", "/v2/models/broken/ready", "/v2/models/broken/versions/1/ready"):
            answer = application.get(path)
            assert answer.status_code == 503
            assert answer.json()["error"].startswith("model 'broken' version 1 is not ready: manifest.json: name: ")
            assert str(models) not in answer.text
        assert application.get("/readyz").status_code == 503


def test_the_root_leads_a_browser_to_the_documentation(application: Application) -> None:
    answer = application.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    assert "openapi.json" in application.get("/docs").text


def test_metrics_are_prometheus_text(application: Application) -> None:
    answer = application.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"bonsai_requests", "bonsai_model_ready", "process_cpu_seconds"} <= names


def test_the_server_says_its_name_version_and_extensions(application: Application) -> None:
    extensions = ["binary_tensor_data", "model_repository", "model_configuration", "statistics"]
    extensions += ["schedule_policy", "parameters"]
    assert application.get("/v2").json() == {"name": "bonsai", "version": __version__, "extensions": extensions}


@pytest.mark.parametrize("path", ["/v2/models/m", "/v2/models/m/versions/1"])
def test_a_model_says_its_versions_inputs_outputs_and_provider(application: Application, path: str) -> None:
    assert application.get(path).json() == {
        "name": "m",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
        "parameters": {"execution_provider": "CPUExecutionProvider"},
    }


@pytest.mark.parametrize("path", ["/v2/models/m/ready", "/v2/models/m/versions/1/ready"])
def test_a_model_that_answers_is_ready(application: Application, path: str) -> None:
    answer = application.get(path)
    assert (answer.status_code, answer.json()) == (200, {"name": "m", "ready": True})


def test_the_default_version_is_the_highest(models: Path) -> None:
    for version in (1, 2, 10):
        graphs.linear(models / "m" / str(version) / "model.onnx", seed=version)
    parts = assemble(Settings.load(models=models))

    async def scenario() -> tuple[httpx.Response, httpx.Response]:
        for _ in range(2):  # a folder without a manifest is taken when it has not changed since the look before
            await parts.repository.refresh()
        described = await asked(parts.app, "GET", "/v2/models/m")
        answered = await asked(parts.app, "POST", "/predict", json={"inputs": [[1, 2, 3, 4]]})
        await parts.repository.close()
        return described, answered

    described, answered = asyncio.run(scenario())
    assert described.json()["versions"] == ["1", "2", "10"]
    assert (answered.json()["version"], answered.headers["x-model-version"]) == (10, "10")
