"""Logs: what a line holds, and that nothing is lost."""

import io
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.telemetry.logging import Format, logging_to

logger = logging.getLogger("bonsai.test")


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """Puts back the levels that `logging_to` sets for the whole process."""
    loggers = [logging.getLogger(name) for name in ("", "uvicorn")]
    before = [found.level for found in loggers]
    yield
    for found, level in zip(loggers, before, strict=True):
        found.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(format: Format, write: Any, stream: io.StringIO | None = None) -> list[str]:
    """The lines that `write` logs."""
    stream = stream or io.StringIO()
    with logging_to(stream, format):
        write()
    return stream.getvalue().splitlines()


def records(write: Any) -> list[dict[str, Any]]:
    """The JSON objects that `write` logs; a strict reader must take every line."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in lines("json", write)]


def fail(message: str = "failed") -> None:
    try:
        raise ValueError("the\ncause")
    except ValueError:
        logger.exception(message)


def test_a_json_line_has_time_level_logger_message_and_fields() -> None:
    (record,) = records(lambda: logger.warning("hi %s", "there", extra={"fields": {"model": "Ü", "version": 3}}))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert record == {"level": "warning", "logger": "bonsai.test", "message": "hi there", "model": "Ü", "version": 3}


def test_a_json_line_without_fields_has_none() -> None:
    assert records(lambda: logger.info("hi"))[0].keys() == {"time", "level", "logger", "message"}


def test_an_exception_is_in_its_json_line() -> None:
    (record,) = records(fail)
    assert record["level"] == "error"
    assert record["exception"].startswith("Traceback (most recent call last):")
    assert record["exception"].endswith("ValueError: the\ncause")


@pytest.mark.parametrize(
    ("value", "read"),
    [("a\nb", "a\nb"), ('"', '"'), (Path("/x"), "/x"), (None, None), (1.5, 1.5), ({"a": [1]}, {"a": [1]})],
)
def test_any_field_is_one_line_of_json(value: Any, read: Any) -> None:
    (record,) = records(lambda: logger.info("a\nb", extra={"fields": {"value": value}}))
    assert (record["value"], record["message"]) == (read, "a\nb")


def test_a_name_that_is_no_unicode_does_not_cost_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File names reach the log as Python reads them: bytes that are no UTF-8 become lone surrogates."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own cannot send them to another process
    target = tmp_path / "log"
    with target.open("w", encoding="utf-8") as stream, logging_to(stream, "json"):
        logger.warning("%s: no version", b"caf\xe9".decode("utf-8", "surrogateescape"))
        logger.warning("next")
    assert len(target.read_text(encoding="utf-8").splitlines()) == 2


def test_a_text_line_has_time_level_message_and_fields() -> None:
    (line,) = lines("text", lambda: logger.info("model ready", extra={"fields": {"model": "m", "version": 3}}))
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    model ready  model=m  version=3", line)


def test_a_text_line_with_an_exception_is_followed_by_its_traceback() -> None:
    first, *rest = lines("text", fail)
    assert first.endswith("ERROR   failed")
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-2:] == ["ValueError: the", "cause"]


@pytest.mark.parametrize("break_", ["\n", "\r\n", "\r", "\x1b[2J"], ids=ascii)
def test_what_a_client_sends_cannot_forge_a_line_or_steer_the_terminal(break_: str) -> None:
    """The path of a request is percent-decoded: %0A is a newline."""
    path = f"/v2/models/a{break_}12:00:00 INFO    forged"
    written = io.StringIO(newline="")
    lines("text", lambda: logger.info("request", extra={"fields": {"path": path}}), written)
    assert break_ not in written.getvalue().removesuffix("\n")
    assert "forged" in written.getvalue()


@pytest.mark.parametrize(
    ("format", "stream", "json_written"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("text", io.StringIO, False),
    ],
)
def test_auto_is_text_at_a_terminal_and_json_elsewhere(
    format: Format, stream: type[io.StringIO], json_written: bool
) -> None:
    (line,) = lines(format, lambda: logger.info("hi"), stream())
    assert line.startswith("{") == json_written


def test_everything_is_written_in_order_when_the_context_ends() -> None:
    written = records(lambda: [logger.info("%d", number) for number in range(5000)])
    assert [record["message"] for record in written] == [str(number) for number in range(5000)]


def test_everything_is_written_when_the_context_ends_with_an_exception() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError), logging_to(stream, "json"):
        logger.info("last words")
        raise KeyError
    assert "last words" in stream.getvalue()


def test_the_thread_that_logs_does_not_wait_for_the_stream() -> None:
    """A full pipe on stderr must not stop the event loop."""
    may_write = threading.Event()

    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            may_write.wait()
            return super().write(text)

    stream = Stuck()
    with logging_to(stream, "json"):
        try:
            logger.info("one")
            logger.info("two")
            assert stream.getvalue() == ""
        finally:
            may_write.set()
    assert len(stream.getvalue().splitlines()) == 2


def test_afterwards_nothing_more_is_written() -> None:
    stream = io.StringIO()
    with logging_to(stream, "json"):
        pass
    logger.warning("late")
    assert stream.getvalue() == ""


def test_info_is_written_debug_is_not_and_of_uvicorn_only_warnings() -> None:
    def write() -> None:
        logger.debug("debug")
        logger.info("info")
        logging.getLogger("uvicorn.error").info("started")
        logging.getLogger("uvicorn.error").warning("careful")

    assert [record["message"] for record in records(write)] == ["info", "careful"]
