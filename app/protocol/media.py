"""What a person sends instead of numbers: text, images and sounds, to inputs that declare such a medium.

An input of BYTES takes them as they are, one string a row, for a graph that decodes by itself. Inputs of numbers would
need a decoder here, which does not exist yet.
"""

import base64
import binascii
import re

import msgspec
import numpy as np

from app.contract.tensors import DataType, InputSpec
from app.errors import InvalidInput, Unsupported, UnsupportedMedia
from app.protocol import json_tensors, npy, strings
from app.protocol.messages import DTYPES, Array, Column, Content

MEDIA: dict[str, str] = {
    "text/plain": "text",
    "image/png": "image",
    "image/jpeg": "image",
    "image/webp": "image",
    "audio/wav": "audio",
    "audio/flac": "audio",
}
"""The medium of every media type that a body may be in."""

_PLURALS = {"text": "text", "image": "images", "audio": "sounds"}
_STRINGS = msgspec.json.Decoder(list[str])
_BEGINS_WITH_STRING = re.compile(rb'[\s\[]*"')


def read_rows(raw: memoryview, spec: InputSpec, field: str) -> Column:
    """The JSON of an input that declares a medium: a list of texts, or of images or sounds in base64; numbers where it
    takes those.

    Raises InvalidInput that names the row, TooLarge where there are too many, and Unsupported for a medium in place of
    numbers.
    """
    if spec.datatype is not DataType.BYTES:
        if _BEGINS_WITH_STRING.match(raw):
            raise _no_decoder(spec, field)
        return json_tensors.read_rows(raw, spec, field)
    texts = json_tensors.decode(_STRINGS, raw, field)
    strings.check(len(texts), field)
    if spec.medium == "text":
        return _column(texts, spec)
    return _column([_decoded(text, f"{field}[{row}]") for row, text in enumerate(texts)], spec)


def read_body(body: Content, media_type: str, spec: InputSpec) -> Array:
    """A body that is one row.

    Raises UnsupportedMedia where the input takes another medium or none, Unsupported where it takes numbers, and
    InvalidInput for text that is not UTF-8 and for no image or sound at all.
    """
    if spec.medium != MEDIA[media_type]:
        others = [other for other, medium in MEDIA.items() if medium == spec.medium and spec.datatype is DataType.BYTES]
        takes = ", ".join(["application/json", npy.MEDIA_TYPE, *others])
        raise UnsupportedMedia(f"content-type: expected one of {takes} for input '{spec.name}', got {media_type}")
    if spec.datatype is not DataType.BYTES:
        raise _no_decoder(spec, "body")
    if spec.medium == "text":
        return _column([_text(body)], spec)
    if not body:
        raise InvalidInput.field("body", expected=media_type, got="no bytes")
    return _column([bytes(body)], spec)


def _column(rows: list[str] | list[bytes], spec: InputSpec) -> Array:
    """Each row holds one string, however many axes the input has."""
    column = np.empty(len(rows), DTYPES[DataType.BYTES])
    column[:] = rows
    return column.reshape(-1, *[1] * (len(spec.shape) - 1))


def _text(body: Content) -> str:
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError:
        raise InvalidInput.field("body", expected="UTF-8", got="bytes that are not") from None


def _decoded(text: str, field: str) -> bytes:
    """RFC 4648, section 4, and its only form of what it says: the bits behind the last byte are 0 (section 3.5)."""
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
        is_base64 = base64.b64encode(content[(len(content) - 1) // 3 * 3 :]).decode() == text[-4:]
    except ValueError:
        is_base64 = False
    if not is_base64:
        raise InvalidInput.field(field, expected="base64", got="something else")
    if not content:
        raise InvalidInput.field(field, expected="an image or a sound in base64", got="no bytes")
    return content


def _no_decoder(spec: InputSpec, field: str) -> Unsupported:
    expected = f"expected {spec.datatype} numbers for input '{spec.name}'"
    return Unsupported(f"{field}: {expected}: this server has no decoder for {_PLURALS[spec.medium or '']} yet")
