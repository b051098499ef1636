"""Every metric is moved by something, and the exposition parses. The whole application runs, in this process."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from app.contract.tensors import Signature
from app.protocol.messages import InferRequest, Tensors, Timings
from app.telemetry.metrics import Metrics
from tests import graphs
from tests.api.application import Application, running
from tests.metrics import value
from tests.publishing import publish

MODEL = {"model": "m", "version": "1"}
ROWS = [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.fixture
def application(models: Path, state: Path, tmp_path: Path) -> Iterator[Application]:
    """A model m, and one that cannot be loaded."""
    publish(models / "m" / "1", graphs.linear(tmp_path / "graph" / "model.onnx"), tmp_path / "cache")
    (models / "broken" / "1").mkdir(parents=True)
    (models / "broken" / "1" / "manifest.json").write_text("{}")
    (models / "deployments.toml").write_text('default_model = "m"\n[defaults.limits]\nmax_batch_rows = 2\n')
    with running(models, state) as application:
        yield application


def predict(application: Application, inputs: object = ROWS, **members: object) -> int:
    return application.request("POST", "/predict", json={"inputs": inputs, **members}).status_code


def test_an_exposition_parses_and_has_every_metric_from_the_start() -> None:
    metrics = Metrics()
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    for family in metrics.registry.collect():
        assert families[family.name].documentation
        assert families[family.name].type == family.type


def test_two_applications_do_not_share_their_metrics() -> None:
    first, second = Metrics(), Metrics()
    first.in_flight.inc()
    assert value(second.exposition().decode(), "bonsai_requests_in_flight") == 0


def test_answers_count_by_model_version_and_code(application: Application) -> None:
    assert predict(application) == 200
    assert predict(application) == 200
    assert predict(application, [[1]]) == 400
    assert predict(application, "nonsense") == 400
    assert predict(application, model="cats") == 404
    assert predict(application, model="broken") == 503
    text = application.get("/metrics").text
    count = "bonsai_requests_total"
    assert value(text, count, code="ok", **MODEL) == 2
    assert value(text, count, code="invalid_input", **MODEL) == 2
    assert value(text, count, code="not_found", model="", version="") == 1
    assert value(text, count, code="not_ready", model="", version="") == 1


def test_the_refusal_of_a_head_counts_too(application: Application) -> None:
    assert application.post("/predict", b"{}", **{"content-type": "image/png"}).status_code == 415
    text = application.get("/metrics").text
    assert value(text, "bonsai_requests_total", code="unsupported_media", model="", version="") == 1


def test_names_that_a_client_makes_up_become_no_label(application: Application) -> None:
    for name in ("cats", "dogs"):
        predict(application, model=name)
        predict(application, version=name)
        application.post(f"/v2/models/{name}/infer", b"{}")
    text = application.get("/metrics").text
    assert "cats" not in text
    assert "dogs" not in text


def test_a_good_answer_moves_the_durations_and_the_batch_sizes(application: Application) -> None:
    predict(application)
    predict(application, [[1]])
    text = application.get("/metrics").text
    assert value(text, "bonsai_request_seconds_count", **MODEL) == 1
    assert value(text, "bonsai_request_seconds_sum", **MODEL) > 0
    for phase in ("decode", "queue", "compute", "encode"):
        assert value(text, "bonsai_phase_seconds_count", phase=phase, **MODEL) == 1
        assert value(text, "bonsai_phase_seconds_sum", phase=phase, **MODEL) > 0
    assert value(text, "bonsai_batch_rows_count", **MODEL) == 1
    assert value(text, "bonsai_batch_rows_sum", **MODEL) == 2


def test_the_phases_add_up_to_the_request(application: Application) -> None:
    predict(application)
    text = application.get("/metrics").text
    phases = ("decode", "queue", "compute", "encode")
    parts = sum(value(text, "bonsai_phase_seconds_sum", phase=phase, **MODEL) for phase in phases)
    assert parts == pytest.approx(value(text, "bonsai_request_seconds_sum", **MODEL))


def test_requests_in_flight_and_rows_in_the_queue_rise_and_fall(application: Application) -> None:
    async def scenario() -> tuple[str, str]:
        """Three requests of two rows, taken in within one turn of the loop: none can have run yet."""
        answers: asyncio.Queue[object] = asyncio.Queue()
        for _ in range(3):
            request = InferRequest("m", None, read, Timings(time.monotonic()))
            application.parts.dataplane.infer(request, answers.put_nowait)
        waiting = (await application.ask("GET", "/metrics")).text
        for _ in range(3):
            await answers.get()
        return waiting, (await application.ask("GET", "/metrics")).text

    def read(signature: Signature) -> Tensors:
        return {spec.name: np.array(ROWS, np.float32) for spec in signature.inputs}

    waiting, done = application.run(scenario())
    assert value(waiting, "bonsai_requests_in_flight") == 3
    assert value(waiting, "bonsai_queue_rows", **MODEL) == 6
    assert value(done, "bonsai_requests_in_flight") == 0
    assert value(done, "bonsai_queue_rows", **MODEL) == 0


def test_loads_and_readiness_show_each_version(application: Application) -> None:
    text = application.get("/metrics").text
    assert value(text, "bonsai_model_loads_total", result="ready", **MODEL) == 1
    assert value(text, "bonsai_model_loads_total", result="failed", model="broken", version="1") == 1
    assert value(text, "bonsai_model_ready", provider="CPUExecutionProvider", **MODEL) == 1
    assert 'bonsai_model_ready{model="broken"' not in text


def test_no_metric_is_left_that_nothing_moves(application: Application) -> None:
    """Gauges that fall back to 0 are held by the tests above."""
    predict(application)
    of_process = {family.name for family in ProcessCollector(registry=None).collect()}
    for family in text_string_to_metric_families(application.get("/metrics").text):
        if family.name not in of_process:
            assert family.samples, family.name
            assert family.type == "gauge" or any(sample.value > 0 for sample in family.samples), family.name
