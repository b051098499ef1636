"""Triton's names: the same figures as under our own, so that its boards work."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.status import STATUS
from app.protocol.messages import Share
from app.telemetry.triton import REASONS
from tests.api.application import Application
from tests.gate import Gate
from tests.metrics import value
from tests.telemetry.crowd import MODEL, exposition, infer, predict

RAISING = {"model": "raising", "version": "1"}
DURATIONS = {
    "nv_inference_request_duration_us": ("bonsai_request_seconds_sum", {}),
    "nv_inference_queue_duration_us": ("bonsai_phase_seconds_sum", {"phase": "queue"}),
    "nv_inference_compute_input_duration_us": ("bonsai_phase_seconds_sum", {"phase": "batch"}),
    "nv_inference_compute_infer_duration_us": ("bonsai_phase_seconds_sum", {"phase": "compute"}),
    "nv_inference_compute_output_duration_us": ("bonsai_phase_seconds_sum", {"phase": "encode"}),
}


def test_good_answers_rows_and_runs_are_counted(application: Application) -> None:
    for _ in range(3):
        assert predict(application) == 200
    assert predict(application, [[1]]) == 400
    text = application.get("/metrics").text
    assert value(text, "nv_inference_request_success", **MODEL) == 3
    assert value(text, "nv_inference_count", **MODEL) == 6
    assert value(text, "nv_inference_exec_count", **MODEL) == 3


@pytest.mark.parametrize(("name", "ours"), DURATIONS.items(), ids=DURATIONS)
def test_a_duration_is_ours_in_microseconds(
    application: Application, name: str, ours: tuple[str, dict[str, str]]
) -> None:
    for _ in range(3):
        predict(application)
    text = application.get("/metrics").text
    seconds = value(text, ours[0], **ours[1], **MODEL)
    assert seconds > 0
    assert value(text, name, **MODEL) == pytest.approx(seconds * 1e6)


def test_failures_count_by_tritons_reasons(application: Application) -> None:
    assert predict(application, [[-9, 1, 1, 1]], model="raising") == 500
    assert predict(application, [[1]], model="raising") == 400
    assert predict(application, [[1, 1, 1, 1]], model="raising", parameters={"timeout_ms": 0.000001}) == 504
    assert predict(application, model="broken") == 503
    assert predict(application, model="cats") == 404
    text = application.get("/metrics").text
    count = "nv_inference_request_failure"
    assert value(text, count, reason="BACKEND", **RAISING) == 1
    assert value(text, count, reason="OTHER", **RAISING) == 1
    assert value(text, count, reason="REJECTED", **RAISING) == 1
    assert value(text, count, reason="REJECTED", model="", version="") == 1
    assert value(text, count, reason="OTHER", model="", version="") == 1


def test_a_request_whose_client_has_gone_is_canceled_wherever_it_was(application: Application, gate: Gate) -> None:
    async def scenario() -> None:
        first, second = infer(application, model="gated"), infer(application, model="gated")
        await gate.wait_until_reached()
        waiting = infer(application, model="gated")
        for taken in (first, waiting, second):
            taken.cancel()
        assert isinstance(await infer(application, model="gated").answer, Share)

    application.run(scenario())
    text = application.get("/metrics").text
    assert value(text, "nv_inference_request_failure", reason="CANCELED", model="gated", version="1") == 3


def test_every_reason_is_that_of_an_error_code() -> None:
    assert REASONS.keys() <= STATUS.keys()


def test_requests_that_wait_are_pending_and_those_that_have_been_answered_are_not(application: Application) -> None:
    async def scenario() -> tuple[str, str]:
        taken = [infer(application) for _ in range(3)]
        waiting = await exposition(application)
        await asyncio.gather(*(request.answer for request in taken))
        return waiting, await exposition(application)

    waiting, done = application.run(scenario())
    assert value(waiting, "nv_inference_pending_request_count", **MODEL) == 3
    assert value(done, "nv_inference_pending_request_count", **MODEL) == 0


def test_they_have_no_type_because_their_names_are_none_of_a_counters(application: Application) -> None:
    predict(application)
    families = [
        family
        for family in text_string_to_metric_families(application.get("/metrics").text)
        if family.name.startswith("nv_")
    ]
    assert {family.type for family in families} == {"unknown"}
    assert len(families) == 10
