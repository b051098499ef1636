"""What a good answer says of itself in its headers: times, version, provider, form."""

from functools import lru_cache

from app.api.routes import JSON_LENGTH
from app.api.status import Headers
from app.protocol.messages import Encoded, ServedModel, Timings


@lru_cache
def answer_headers(
    served: ServedModel, media_type: bytes = b"application/json", coding: bytes | None = None
) -> Headers:
    """Those that do not change from request to request."""
    codings = () if coding is None else ((b"content-encoding", coding),)
    return Headers.of(
        (b"content-type", media_type),
        *codings,
        (b"x-model-version", b"%d" % served.version),
        (b"x-execution-provider", served.provider.encode()),
    )


def encoded_headers(served: ServedModel, encoded: Encoded) -> Headers:
    """The same of an answer whose body may be JSON that raw tensors follow: then they say how long it is."""
    headers = answer_headers(served, encoded.media_type, encoded.coding)
    if encoded.json_length is None:
        return headers
    return Headers.of((JSON_LENGTH, b"%d" % encoded.json_length), *headers.fields)


def server_timing(timings: Timings) -> bytes:
    """The value of Server-Timing (https://www.w3.org/TR/server-timing/): durations in milliseconds."""
    received, decoded, started = timings.received, timings.decoded, timings.started
    computed, written = timings.computed, timings.encoded
    return b"decode;dur=%.3f, queue;dur=%.3f, compute;dur=%.3f, encode;dur=%.3f, total;dur=%.3f" % (
        1e3 * (decoded - received),
        1e3 * (started - decoded),
        1e3 * (computed - started),
        1e3 * (written - computed),
        1e3 * (written - received),
    )
