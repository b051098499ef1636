"""Every metric is moved by something, and the exposition parses. The whole application runs, in this process."""

import asyncio

import pytest
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from app.errors import DeadlineExceeded, Overloaded
from app.protocol.messages import Share
from app.telemetry.answers import PHASES
from app.telemetry.load import Load
from app.telemetry.metrics import REASONS, Metrics
from tests import graphs
from tests.api.application import Application
from tests.gate import Gate
from tests.metrics import value
from tests.telemetry.crowd import MODEL, ROWS, exposition, infer, predict

GATED = {"model": "gated", "version": "1"}


def test_an_exposition_parses_and_has_every_metric_from_the_start() -> None:
    metrics = Metrics()
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    for family in metrics.registry.collect():
        assert families[family.name].documentation
        assert families[family.name].type == family.type


def test_two_applications_do_not_share_their_metrics() -> None:
    first, second = Metrics(), Metrics()
    first.requests.failed("m", "1", "invalid_input", 0.5)
    first.of("m", 1).missed()
    assert value(first.exposition().decode(), "bonsai_requests_total", code="invalid_input", **MODEL) == 1
    assert value(second.exposition().decode(), "bonsai_requests_total", code="invalid_input", **MODEL) == 0
    assert value(second.exposition().decode(), "bonsai_deadline_misses_total", **MODEL) == 0


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
    assert application.post("/predict", b"{}", **{"content-type": "image/gif"}).status_code == 415
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
    for phase in PHASES:
        assert value(text, "bonsai_phase_seconds_count", phase=phase, **MODEL) == 1
        assert value(text, "bonsai_phase_seconds_sum", phase=phase, **MODEL) > 0
    assert value(text, "bonsai_batch_rows_count", **MODEL) == 1
    assert value(text, "bonsai_batch_rows_sum", **MODEL) == 2


def test_the_phases_add_up_to_the_request(application: Application) -> None:
    predict(application)
    text = application.get("/metrics").text
    parts = sum(value(text, "bonsai_phase_seconds_sum", phase=phase, **MODEL) for phase in PHASES)
    assert parts == pytest.approx(value(text, "bonsai_request_seconds_sum", **MODEL))


def test_requests_in_flight_and_rows_in_the_queue_rise_and_fall(application: Application) -> None:
    async def scenario() -> tuple[str, str]:
        """Three requests of two rows, taken in within one turn of the loop: none can have run yet."""
        taken = [infer(application) for _ in range(3)]
        waiting = await exposition(application)
        await asyncio.gather(*(request.answer for request in taken))
        return waiting, await exposition(application)

    waiting, done = application.run(scenario())
    assert value(waiting, "bonsai_requests_in_flight", **MODEL) == 3
    assert value(waiting, "bonsai_queue_rows", **MODEL) == 6
    assert value(done, "bonsai_requests_in_flight", **MODEL) == 0
    assert value(done, "bonsai_queue_rows", **MODEL) == 0


def test_a_version_and_the_one_that_takes_its_place_count_together_until_it_has_gone() -> None:
    metrics = Metrics()
    before, after = metrics.of("m", 1), metrics.of("m", 1)

    def shown() -> list[float]:
        text = metrics.exposition().decode()
        names = ("bonsai_queue_rows", "nv_inference_pending_request_count", "bonsai_requests_in_flight")
        return [value(text, name, **MODEL) for name in names]

    before.watch(lambda: Load(60, 50, 55))
    after.watch(lambda: Load(3, 2, 1))
    assert shown() == [63, 52, 56]
    after.watch(lambda: Load(6, 5, 4))  # in place of its first reader
    assert shown() == [66, 55, 59]
    before.forget()
    assert shown() == [6, 5, 4]
    after.forget()
    after.forget()
    assert "bonsai_queue_rows{" not in metrics.exposition().decode()


def test_a_request_that_runs_is_in_flight_but_not_in_the_queue(application: Application, gate: Gate) -> None:
    async def scenario() -> str:
        taken = infer(application, model="gated")
        await gate.wait_until_reached()
        running = await exposition(application)
        gate.opened.set()
        assert isinstance(await taken.answer, Share)
        return running

    running = application.run(scenario())
    assert value(running, "bonsai_requests_in_flight", **GATED) == 1
    assert value(running, "bonsai_queue_rows", **GATED) == 0
    assert value(running, "nv_inference_pending_request_count", **GATED) == 0


def test_batches_count_by_what_ended_the_wait(application: Application) -> None:
    async def scenario() -> None:
        """Each of three requests has as many rows as a batch may have."""
        await asyncio.gather(*(infer(application).answer for _ in range(3)))

    application.run(scenario())
    predict(application, ROWS[:1])
    predict(application, ROWS[:1], model="delayed")
    text = application.get("/metrics").text
    assert value(text, "bonsai_batches_total", reason="full", **MODEL) == 3
    assert value(text, "bonsai_batches_total", reason="idle", **MODEL) == 1
    assert value(text, "bonsai_batches_total", reason="delay", model="delayed", version="1") == 1


def test_a_batch_that_is_kept_small_for_a_deadline_counts_as_such(application: Application, gate: Gate) -> None:
    """In 170 s a run has four rows, give or take ten seconds of the clock: of four requests of two rows, two."""

    async def scenario() -> None:
        hurried = infer(application, model="gated", timeout=170.0)
        others = [infer(application, model="gated") for _ in range(3)]
        gate.opened.set()
        outcomes = await asyncio.gather(*(request.answer for request in (hurried, *others)))
        assert all(isinstance(outcome, Share) for outcome in outcomes)

    application.run(scenario())
    text = application.get("/metrics").text
    counted = {reason: value(text, "bonsai_batches_total", reason=reason, **GATED) for reason in REASONS}
    assert counted == {"idle": 1, "full": 0, "delay": 0, "deadline": 1}
    assert [value(text, "bonsai_batch_rows_bucket", le=rows, **GATED) for rows in ("2.0", "4.0", "8.0")] == [0, 2, 2]
    assert value(text, "bonsai_deadline_misses_total", **GATED) == 0


def test_a_request_that_the_queue_has_no_room_for_is_rejected(application: Application) -> None:
    async def scenario() -> Overloaded:
        *taken, last = [infer(application) for _ in range(5)]
        await asyncio.gather(*(request.answer for request in taken))
        outcome = await last.answer
        assert isinstance(outcome, Overloaded)
        return outcome

    assert application.run(scenario()).reason == "queue_full"
    text = application.get("/metrics").text
    assert value(text, "bonsai_rejected_total", reason="queue_full", **MODEL) == 1


def test_a_request_that_would_be_answered_too_late_is_rejected(application: Application, gate: Gate) -> None:
    async def scenario() -> Overloaded:
        running = infer(application, model="gated")
        await gate.wait_until_reached()
        outcome = await infer(application, model="gated", timeout=0.5).answer
        gate.opened.set()
        assert isinstance(await running.answer, Share)
        assert isinstance(outcome, Overloaded)
        return outcome

    assert application.run(scenario()).reason == "deadline"
    assert value(application.get("/metrics").text, "bonsai_rejected_total", reason="deadline", **GATED) == 1


def test_a_request_that_is_cancelled_while_it_waits_is_not_run(application: Application) -> None:
    async def scenario() -> None:
        taken, other = infer(application), infer(application)
        taken.cancel()
        assert isinstance(await other.answer, Share)
        assert not taken.answer.done()

    application.run(scenario())
    text = application.get("/metrics").text
    assert value(text, "bonsai_cancelled_total", stage="queue", **MODEL) == 1
    assert value(text, "bonsai_requests_in_flight", **MODEL) == 0
    assert value(text, "bonsai_batch_rows_sum", **MODEL) == 2


def test_requests_that_are_cancelled_while_they_run_count_by_whether_others_need_the_run(
    application: Application, gate: Gate
) -> None:
    async def scenario() -> str:
        first, second = infer(application, model="gated"), infer(application, model="gated")
        await gate.wait_until_reached()
        first.cancel()
        assert not gate.halted.is_set()
        second.cancel()
        assert gate.halted.is_set()
        text = await exposition(application)
        assert isinstance(await infer(application, model="gated").answer, Share)
        assert not first.answer.done()
        assert not second.answer.done()
        assert value(await exposition(application), "bonsai_discarded_answers_total", **GATED) == 2
        return text

    text = application.run(scenario())
    assert value(text, "bonsai_cancelled_total", stage="batch", **GATED) == 1
    assert value(text, "bonsai_cancelled_total", stage="run", **GATED) == 1
    assert value(text, "bonsai_requests_in_flight", **GATED) == 0


def test_a_deadline_that_passes_is_a_miss(application: Application) -> None:
    async def scenario() -> None:
        assert isinstance(await infer(application, timeout=1e-9).answer, DeadlineExceeded)

    application.run(scenario())
    assert predict(application, parameters={"timeout_ms": 0.000001}) == 504
    text = application.get("/metrics").text
    assert value(text, "bonsai_deadline_misses_total", **MODEL) == 2
    assert value(text, "bonsai_requests_total", code="deadline_exceeded", **MODEL) == 1


def test_a_deadline_that_passes_while_the_request_runs_is_answered_then_and_is_a_miss(
    application: Application, gate: Gate
) -> None:
    """The run goes on: its gate stays closed until the answer is there."""
    headers = {"x-request-timeout-ms": "20"}
    answer = application.request("POST", "/predict", json={"model": "gated", "inputs": ROWS}, headers=headers)
    assert answer.status_code == 504
    text = application.get("/metrics").text
    assert value(text, "bonsai_deadline_misses_total", **GATED) == 1
    assert value(text, "bonsai_requests_in_flight", **GATED) == 0


def test_what_is_padded_counts_as_it_came_and_as_it_ran(application: Application) -> None:
    async def scenario() -> None:
        """Lengths 12 and 13, which are alike enough to share a run, and 10, which is padded for nobody."""
        for lengths in ((12, 13), (10,)):
            taken = [infer(application, [[7] * length], "padded") for length in lengths]
            assert all(isinstance(outcome, Share) for outcome in await asyncio.gather(*(one.answer for one in taken)))

    application.run(scenario())
    padded, text = {"model": "padded", "version": "1"}, application.get("/metrics").text
    assert value(text, "bonsai_real_elements_total", **padded) == 12 + 13 + 10
    assert value(text, "bonsai_padded_elements_total", **padded) == 2 * 13 + 10
    assert value(text, "bonsai_padding_waste_ratio_count", **padded) == 2
    assert value(text, "bonsai_padding_waste_ratio_sum", **padded) == pytest.approx(1 / 26)


def test_a_model_that_is_not_padded_counts_no_padding(application: Application) -> None:
    predict(application)
    text = application.get("/metrics").text
    for name in ("real_elements_total", "padded_elements_total", "padding_waste_ratio_count"):
        assert value(text, f"bonsai_{name}", **MODEL) == 0


def test_loads_and_readiness_show_each_version(application: Application) -> None:
    text = application.get("/metrics").text
    assert value(text, "bonsai_model_loads_total", result="ready", **MODEL) == 1
    assert value(text, "bonsai_model_loads_total", result="failed", model="broken", version="1") == 1
    assert value(text, "bonsai_model_ready", provider="CPUExecutionProvider", **MODEL) == 1
    assert 'bonsai_model_ready{model="broken"' not in text
    assert value(text, "bonsai_model_state", state="ready", **MODEL) == 1
    assert value(text, "bonsai_model_state", state="failed", model="broken", version="1") == 1


def test_no_metric_is_left_that_nothing_moves(application: Application, gate: Gate) -> None:
    """Gauges that fall back to 0, and the count of what waits, are held by other tests."""

    async def crowd() -> None:
        given_up = infer(application, model="gated")
        await gate.wait_until_reached()
        given_up.cancel()  # which opens the gate
        assert isinstance(await infer(application, model="gated").answer, Share)
        taken = [infer(application) for _ in range(5)]
        taken[0].cancel()
        await asyncio.gather(*(one.answer for one in taken[1:]))

    application.run(crowd())
    predict(application)
    predict(application, parameters={"timeout_ms": 0.000001})
    predict(application, graphs.POOLED["ids"].tolist(), model="padded")
    of_process = {family.name for family in ProcessCollector(registry=None).collect()}
    for family in text_string_to_metric_families(application.get("/metrics").text):
        if family.name in of_process:
            continue
        assert family.samples, family.name
        at_rest = family.type == "gauge" or family.name == "nv_inference_pending_request_count"
        assert at_rest or any(sample.value > 0 for sample in family.samples), family.name


def test_the_counts_are_up_to_date_however_many_requests_came(application: Application) -> None:
    async def scenario() -> None:
        for _ in range(300):
            assert (await application.ask("POST", "/predict", json={"inputs": ROWS})).status_code == 200

    application.run(scenario())
    text = application.get("/metrics").text
    assert value(text, "bonsai_requests_total", code="ok", **MODEL) == 300
    assert value(text, "bonsai_request_seconds_count", **MODEL) == 300
