"""What a good answer says of itself in its headers: times, version, provider, form."""

from functools import lru_cache

from app.api.routes import JSON_LENGTH
from app.api.status import Headers
from app.protocol.messages import ServedModel, Timings


@lru_cache(maxsize=1024)
def answer_headers(
    served: ServedModel,
    media_type: bytes = b"application/json",
    coding: bytes | None = None,
    json_length: int | None = None,
) -> Headers:
    """Those that answers of one form have. `json_length`: bytes of JSON, where raw tensors follow it."""
    lengths = () if json_length is None else ((JSON_LENGTH, b"%d" % json_length),)
    codings = () if coding is None else ((b"content-encoding", coding),)
    return Headers.of(
        *lengths,
        (b"content-type", media_type),
        *codings,
        (b"x-model-version", b"%d" % served.version),
        (b"x-execution-provider", served.provider.encode()),
    )


SERVER_TIMING = b"decode;dur=%.3f, queue;dur=%.3f, compute;dur=%.3f, encode;dur=%.3f, total;dur=%.3f"
"""The value of Server-Timing (https://www.w3.org/TR/server-timing/), with durations in milliseconds."""


def server_timing(timings: Timings) -> bytes:
    """The value of Server-Timing for a request that has been answered."""
    received, decoded, started = timings.received, timings.decoded, timings.started
    computed, written = timings.computed, timings.encoded
    return SERVER_TIMING % (
        1e3 * (decoded - received),
        1e3 * (started - decoded),
        1e3 * (computed - started),
        1e3 * (written - computed),
        1e3 * (written - received),
    )
