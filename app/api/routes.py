"""How the body of an inference request is read and its answer is written: known by its head, before its body."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import msgspec

from app.contract.tensors import Signature
from app.errors import BonsaiError, InvalidInput, Unsupported, UnsupportedMedia, clip
from app.protocol import compression, native, npy, oip, query, raw
from app.protocol.infer_header import BINARY_TYPE
from app.protocol.messages import Content, Encoded, InferRequest, Inputs, Share, Timings
from app.protocol.plain import Form
from app.protocol.query import Query

Decode = Callable[[Content, Timings, int | None], InferRequest]
"""The last is the header Inference-Header-Content-Length, None where it is absent."""
Encode = Callable[[InferRequest, Share], Encoded]
Headers = Mapping[bytes, bytes]
"""Names in lower case."""

PREDICT = "/predict"
_INFER = re.compile(r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
# curl -d says that it sends a form. Inference changes no state, so it is safe to read that as JSON, and pleasant.
JSON_TYPES = ("", "application/json", "application/x-www-form-urlencoded")
JSON_LENGTH = oip.LENGTH_HEADER.encode()
_CHARSETS = ("utf-8", "us-ascii")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Route:
    """How the bodies of a request's head are read and its answer is written."""

    decode: Decode
    encode: Encode
    plain: Form | None = None
    """How plain requests are read and answered, where they may be."""
    fault: BonsaiError | None = None
    """What is wrong with the head: there is no such route."""


def route(path: str, asked: bytes = b"", headers: Headers | None = None, limit: int = 0) -> Route | None:
    """The route of a request to an inference path, None for every other path.

    `asked` is what stands behind the path's `?`, `limit` how many bytes a body may have once it is decompressed.
    """
    headers = headers or {}
    match = None if path == PREDICT else _INFER.fullmatch(path)
    if path != PREDICT and match is None:
        return None
    try:
        found = _predict(asked, headers) if match is None else _infer(match, headers)
        return _coded(found, headers, limit)
    except BonsaiError as fault:
        return Route(native.decode, native.encode, fault=fault.with_traceback(None))  # its frames would keep the route


def json_length(headers: Headers) -> int | None:
    """How many bytes of the body are JSON, of Inference-Header-Content-Length; None also where that is no number."""
    given = headers.get(JSON_LENGTH, b"")
    return int(given) if given.isdigit() and len(given) < 19 else None


def _predict(asked: bytes, headers: Headers) -> Route:
    if JSON_LENGTH in headers:
        raise Unsupported(f"{oip.LENGTH_HEADER}: expected none, {PREDICT} takes no binary tensors")
    media_type = _media_type(headers)
    if media_type not in (*JSON_TYPES, *raw.MEDIA_TYPES):
        expected = f"content-type: expected application/json or one of {', '.join(raw.MEDIA_TYPES)}"
        raise UnsupportedMedia(f"{expected}, got {clip(media_type)}")
    wanted = query.parse(asked)
    if media_type in JSON_TYPES:
        _check_beside_json(wanted)
        found = Route(native.decode, native.encode, native.PLAIN)
    else:
        found = Route(partial(raw.decode, media_type=media_type, query=wanted), native.encode)
    if _wants_npy(headers):
        return _answering_npy(found, wanted.output)
    if wanted.output is not None:
        raise InvalidInput.field("query.output", expected=f"the header accept: {npy.MEDIA_TYPE} beside it", got="none")
    return found


def _infer(match: re.Match[str], headers: Headers) -> Route:
    if JSON_LENGTH in headers and json_length(headers) is None:
        got = headers[JSON_LENGTH].decode("latin-1")
        raise InvalidInput.field(oip.LENGTH_HEADER, expected="a number of bytes of the body", got=got)
    media_type = _media_type(headers)
    # tritonclient.http.aio says octet-stream of whatever it posts, also of JSON alone.
    if media_type not in (*JSON_TYPES, BINARY_TYPE):
        raise UnsupportedMedia(f"content-type: expected application/json, got {clip(media_type)}")
    decoder = oip.Decoder(match["model"], match["version"])
    return Route(decoder, oip.encode, decoder.plain(json_length(headers)))


def _media_type(headers: Headers) -> str:
    """Without its parameters. Raises UnsupportedMedia for text in another charset than UTF-8."""
    given = headers.get(b"content-type", b"").decode("latin-1")
    media_type = given.partition(";")[0].strip().lower()
    charset = _CHARSET.search(given)
    if media_type == "text/plain" and charset is not None and charset[1].lower() not in _CHARSETS:
        raise UnsupportedMedia(f"content-type: expected text in UTF-8, got charset {clip(charset[1])}")
    return media_type


def _check_beside_json(wanted: Query) -> None:
    if wanted != Query(output=wanted.output):
        expected = "only output beside a JSON body, whose members say the rest"
        raise InvalidInput.field("query", expected=expected, got="more")


def _wants_npy(headers: Headers) -> bool:
    """Whether Accept names .npy: not by a wildcard, and not to refuse it."""
    for accepted in headers.get(b"accept", b"").decode("latin-1").lower().split(","):
        media_type, _, parameters = accepted.partition(";")
        if media_type.strip() == npy.MEDIA_TYPE:
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameters) is None
    return False


def _answering_npy(of: Route, output: str | None) -> Route:
    """A route whose answers are one array. What cannot be one is refused before it is run."""

    def decode(body: Content, timings: Timings, json_length: int | None) -> InferRequest:
        request = of.decode(body, timings, json_length)
        read = request.read_inputs

        def read_inputs(signature: Signature) -> Inputs:
            npy.chosen(signature, output)
            return read(signature)

        request.read_inputs = read_inputs
        return request

    return Route(decode, partial(npy.encode, output=output))


def _coded(found: Route, headers: Headers, limit: int) -> Route:
    """The same route for what is compressed, as far as the headers say so."""
    coding = headers.get(b"content-encoding", b"identity").strip().lower()
    if coding != b"identity" and coding not in compression.CODINGS:
        got = clip(coding.decode("latin-1"))
        raise UnsupportedMedia(f"content-encoding: expected gzip, deflate or none, got {got}")
    wanted = compression.wanted(headers.get(b"accept-encoding", b""))
    if coding != b"identity":
        found = Route(_decompressing(found.decode, coding, limit), found.encode)
    return found if wanted is None else Route(found.decode, _compressing(found.encode, wanted))


def _decompressing(decode: Decode, coding: bytes, limit: int) -> Decode:
    """Reads bodies that are compressed. Inference-Header-Content-Length counts bytes of what is in them."""

    def decompressed(body: Content, timings: Timings, json_length: int | None) -> InferRequest:
        return decode(compression.decompress(body, coding, limit), timings, json_length)

    return decompressed


def _compressing(encode: Encode, coding: bytes) -> Encode:
    """Compresses answers where that pays. Inference-Header-Content-Length counts as for bodies."""

    def compressed(request: InferRequest, share: Share) -> Encoded:
        plain = encode(request, share)
        if len(plain.body) < compression.SMALLEST:
            return plain
        return msgspec.structs.replace(plain, body=compression.compress(plain.body, coding), coding=coding)

    return compressed
