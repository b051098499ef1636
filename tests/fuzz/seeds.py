"""The inputs that fuzzing begins with."""

from collections.abc import Iterator, Mapping
from random import Random

from app.contract.tensors import Signature
from tests.fuzz import inputs, tokens
from tests.fuzz.inputs import Asked, Stream
from tests.fuzz.maker import Maker
from tests.http.wire import request
from tests.wire.golden import EXCHANGES

MADE = 300


def seeds(signatures: Mapping[str, Signature]) -> Iterator[bytes]:
    """The golden exchanges, one for each word that heads are made of, and requests that were made: some of each form
    that may be plain, which come again and again, and any others."""
    maker = Maker(signatures, Random(0))
    names = maker.names
    for exchange in EXCHANGES.values():
        raw = request(exchange.request, target=exchange.path, **exchange.request_headers)
        yield Stream(inputs.CONNECTION, 0, raw).pack()
        yield Stream(inputs.CONNECTION, 1, raw).pack()
        name = exchange.path.split("/")[3]
        length = exchange.request_headers.get("inference-header-content-length")
        if name in names:
            yield Asked(
                inputs.OIP, names.index(name), 0, None if length is None else int(length), exchange.request
            ).pack()
    for line in tokens.REQUEST_LINES:
        yield Stream(inputs.CONNECTION, 0, line + b"\r\nHost: localhost\r\n\r\n").pack()
    for header in tokens.HEADERS:
        yield Stream(inputs.CONNECTION, 0, b"POST /predict HTTP/1.1\r\n" + header + b"\r\n\r\n").pack()
    for name in names:
        for plain in maker.plain(name):
            yield Stream(inputs.CONNECTION, 0, plain * 4).pack()
    for _ in range(MADE):
        yield maker.any().pack()
