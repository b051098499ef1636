"""Which requests get a line in the log."""

import logging

import pytest

from app.errors import ExecutionFailed
from app.telemetry.logging import RequestLog

LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def written(
    caplog: pytest.LogCaptureFixture, *, every: bool, seconds: float, fault: BaseException | None = None
) -> list[logging.LogRecord]:
    caplog.set_level(logging.INFO, "bonsai.requests")
    log = RequestLog(every, slow_seconds=0.5)
    if log.wants(seconds, fault):
        log.write({"request_id": "seven"}, seconds, fault)
    return caplog.records


@pytest.mark.parametrize(
    ("every", "seconds", "faulty", "level", "message"),
    [
        (False, 0.1, False, None, ""),
        (False, 0.499999, False, None, ""),
        (False, 0.5, False, "warning", "slow request"),
        (False, 0.1, True, "error", "request failed: boom"),
        (False, 0.9, True, "error", "request failed: boom"),
        (True, 0.1, False, "info", "request"),
        (True, 0.9, False, "warning", "slow request"),
        (True, 0.1, True, "error", "request failed: boom"),
    ],
)
def test_faults_and_slow_requests_always_every_request_where_asked(
    every: bool, seconds: float, faulty: bool, level: str | None, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    fault = ExecutionFailed("boom") if faulty else None
    records = written(caplog, every=every, seconds=seconds, fault=fault)
    assert [(record.levelno, record.getMessage()) for record in records] == (
        [(LEVELS[level], message)] if level is not None else []
    )


def test_a_line_has_the_fields_and_the_milliseconds(caplog: pytest.LogCaptureFixture) -> None:
    (record,) = written(caplog, every=True, seconds=0.0123456)
    assert record.__dict__["fields"] == {"request_id": "seven", "ms": 12.346}


def test_a_fault_comes_with_the_exception_that_caused_it(caplog: pytest.LogCaptureFixture) -> None:
    fault = ExecutionFailed("boom")
    fault.__cause__ = KeyError("root")
    (record,) = written(caplog, every=False, seconds=0.1, fault=fault)
    assert record.exc_info is not None
    assert record.exc_info[1] is fault.__cause__


def test_a_fault_without_a_cause_comes_with_itself(caplog: pytest.LogCaptureFixture) -> None:
    fault = ExecutionFailed("boom")
    (record,) = written(caplog, every=False, seconds=0.1, fault=fault)
    assert record.exc_info is not None
    assert record.exc_info[1] is fault
