"""What a good answer says of itself in its headers: times, version, provider, form."""

from functools import lru_cache

from app.api.routes import JSON_LENGTH
from app.protocol.messages import Encoded, ServedModel, Timings


def answer_headers(timings: Timings, request_id: bytes, served: ServedModel, encoded: Encoded) -> bytes:
    """Header lines. Server-Timing (https://www.w3.org/TR/server-timing/) has durations in milliseconds."""
    received, decoded, started = timings.received, timings.decoded, timings.started
    computed, written, json_length = timings.computed, timings.encoded, encoded.json_length
    lines = _template(served, encoded.media_type, encoded.coding) % (
        1e3 * (decoded - received),
        1e3 * (started - decoded),
        1e3 * (computed - started),
        1e3 * (written - computed),
        1e3 * (written - received),
        request_id,
    )
    return lines if json_length is None else b"%b: %d\r\n%b" % (JSON_LENGTH, json_length, lines)


@lru_cache
def _template(served: ServedModel, media_type: bytes, coding: bytes | None) -> bytes:
    provider = served.provider.encode().replace(b"%", b"%%")
    content = b"content-type: %b\r\n" % media_type
    if coding is not None:
        content += b"content-encoding: %b\r\n" % coding
    return content + (
        b"server-timing: decode;dur=%%.3f, queue;dur=%%.3f, compute;dur=%%.3f, encode;dur=%%.3f, total;dur=%%.3f\r\n"
        b"x-model-version: %d\r\nx-execution-provider: %b\r\nx-request-id: %%b\r\n" % (served.version, provider)
    )
