"""Logs: lines for a person at a terminal, JSON for a machine, written by a thread of their own."""

import json
import logging
import logging.handlers
import queue
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TextIO

Format = Literal["auto", "text", "json"]

requests = logging.getLogger("bonsai.requests")


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What would begin a new line or steer a terminal, and may stand in what a client sent."""


def _encodable(text: str) -> str:
    """Lone surrogates, as in file names that are no UTF-8, as the escapes that JSON has for them too."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class TextFormatter(logging.Formatter):
    """`12:00:01 INFO    model ready  model=digits version=1`"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        fields: dict[str, object] = getattr(record, "fields", {})
        line = super().formatMessage(record) + "".join(f"  {name}={value}" for name, value in fields.items())
        return _CONTROL.sub(lambda char: ascii(char[0])[1:-1], line)

    def format(self, record: logging.LogRecord) -> str:
        return _encodable(super().format(record))


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC, ISO 8601), level, logger, message, the record's fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encodable(json.dumps(line, default=str, ensure_ascii=False))


class _RecordQueue(logging.handlers.QueueHandler):
    """Hands records over as they are: formatting belongs to the writing thread."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


@contextmanager
def logging_to(stream: TextIO, format: Format) -> Iterator[None]:
    """Sends every log of the process to the stream while the context lasts, and has written all of it at the end.

    `auto` is text where the stream is a terminal, JSON otherwise.
    """
    text = format == "text" or (format == "auto" and stream.isatty())
    target = logging.StreamHandler(stream)
    target.setFormatter(TextFormatter() if text else JsonFormatter())
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = _RecordQueue(records)
    listener = logging.handlers.QueueListener(records, target)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # what it says at start and stop, the server says itself
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        listener.stop()


class RequestLog:
    """A line for every fault and every slow request; one for each request where that is asked for."""

    def __init__(self, every: bool, slow_seconds: float) -> None:
        self.threshold = 0.0 if every else slow_seconds
        """Seconds from which on a good request is written."""
        self._slow_seconds = slow_seconds

    def wants(self, seconds: float, fault: BaseException | None) -> bool:
        """Whether a request of that length and outcome is to be written."""
        return fault is not None or seconds >= self.threshold

    def write(self, fields: dict[str, object], seconds: float, fault: BaseException | None) -> None:
        """Writes a line. `fault` is an error that is the server's or the model's, not the client's."""
        slow = seconds >= self._slow_seconds
        fields["ms"] = round(seconds * 1000, 3)
        extra = {"fields": fields}
        if fault is not None:
            requests.error("request failed: %s", fault, extra=extra, exc_info=fault.__cause__ or fault)
        elif slow:
            requests.warning("slow request", extra=extra)
        else:
            requests.info("request", extra=extra)
