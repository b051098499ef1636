"""The query of /predict: what a raw body cannot say of itself."""

from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from app.errors import InvalidInput
from app.protocol import json_tensors
from app.protocol.native import Parameters


class Query(NamedTuple):
    """Beside a raw body it says what the members of a JSON body say; `output` is the one that an .npy answer holds."""

    model: str | None = None
    version: str | None = None
    output: str | None = None
    parameters: Parameters = Parameters()


_NUMBERS = {field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(Parameters)}
NAMES = ("model", "version", *_NUMBERS, "output")


def parse(raw: bytes) -> Query:
    """The query behind a path's `?`.

    Raises InvalidInput: names are known ones, each once, and numbers are as JSON has them.
    """
    if not raw:
        return Query()
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise InvalidInput.field("query", expected="name=value&name=value in UTF-8", got="something else") from None
    texts: dict[str, str] = {}
    numbers: dict[str, Any] = {}
    for name, value in pairs:
        if name not in NAMES:
            raise InvalidInput.field("query", expected=f"only {', '.join(NAMES)}", got=f"'{name}'")
        if name in texts or name in numbers:
            raise InvalidInput.field(f"query.{name}", expected="it once", got="it twice")
        if name in _NUMBERS:
            numbers[name] = json_tensors.decode(_NUMBERS[name], value.encode(), f"query.{name}")
        else:
            texts[name] = value
    return Query(**texts, parameters=Parameters(**numbers))
