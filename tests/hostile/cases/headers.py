"""Header fields with values that nobody meant, and fields that come twice."""

from collections.abc import Iterator

from tests.hostile.case import INFER, PREDICT, Case, framing, infer
from tests.http.wire import BODY, request

_PREDICT_200 = {
    "range": {"Range": "bytes=0-3"},
    "ranges": {"Range": f"bytes={','.join('0-' for _ in range(500))}"},
    "range backwards": {"Range": "bytes=9-1"},
    "if-range": {"If_Range": '"x"', "Range": "bytes=-1"},
    "if-none-match": {"If_None_Match": "*"},
    "method override": {"X_HTTP_Method_Override": "DELETE"},
    "original url": {"X_Original_URL": "/v2/repository/models/m/unload", "X_Rewrite_URL": "/nope"},
    "forwarded": {"X_Forwarded_For": "' OR 1=1 --", "X_Forwarded_Host": "evil", "Forwarded": "for=_x"},
    "cookie": {"Cookie": "a=b; " * 500},
    "charset": {"Content_Type": "application/json; charset=utf-16"},
    "json in capitals": {"Content_Type": "APPLICATION/JSON"},
    "a form, as curl says": {"Content_Type": "application/x-www-form-urlencoded"},
    "request id with a tab": {"X_Request_Id": "a\tb"},
    "request id of 5000": {"X_Request_Id": "a" * 5000},
    "request id not ascii": {"X_Request_Id": "\u00e9"},
    "accept-encoding of nonsense": {"Accept_Encoding": ";q=,,;gzip;;q=9e9"},
    "accept of nonsense": {"Accept": "/;,*/*;q=x"},
    "te": {"TE": "trailers"},
    "connection names other fields": {"Connection": "keep-alive, content-length, host"},
    "expect of something else": {"Expect": "200-ok"},
}
_PREDICT_REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "document": ({"Content_Type": "application/pdf"}, 415, "content-type"),
    "xml": ({"Content_Type": "application/xml"}, 415, "content-type"),
    "pickle": ({"Content_Type": "application/x-pickle"}, 415, "content-type"),
    "type of a megabyte's half": ({"Content_Type": "x" * 50_000}, 415, "content-type"),
    "multipart": ({"Content_Type": "multipart/form-data; boundary=b"}, 415, "content-type"),
    "multipart without a boundary": ({"Content_Type": "multipart/form-data"}, 415, "content-type"),
    "multipart of 50,000 boundary": ({"Content_Type": f"multipart/form-data; boundary={'-' * 50_000}"}, 415, "content"),
    "time-out 0": ({"X_Request_Timeout_Ms": "0"}, 400, "x-request-timeout-ms"),
    "time-out negative": ({"X_Request_Timeout_Ms": "-1"}, 400, "x-request-timeout-ms"),
    "time-out 1e3": ({"X_Request_Timeout_Ms": "1e3"}, 400, "x-request-timeout-ms"),
    "time-out nan": ({"X_Request_Timeout_Ms": "nan"}, 400, "x-request-timeout-ms"),
    "time-out of a superscript": ({"X_Request_Timeout_Ms": "\u00b2"}, 400, "x-request-timeout-ms"),
    "time-out of 5000 digits": ({"X_Request_Timeout_Ms": "1" * 5000}, 400, "x-request-timeout-ms"),
}
_TWICE = {
    "Content-Type": ("application/json", "text/plain"),
    "Content-Encoding": ("identity", "gzip"),
    "Inference-Header-Content-Length": ("0", "26"),
}
"""Fields that say what the body is: two that differ would be read one way here and another way in front of us."""
_HARMLESS_TWICE = {
    "Accept": "*/*",
    "Accept-Encoding": "br",
    "User-Agent": "a",
    "Connection": "keep-alive",
    "X-Request-Id": "a",
    "X-Request-Timeout-Ms": "10000",
    "Expect": "x",
    "Cookie": "a=b",
    "Range": "bytes=0-1",
    "X-Nothing": "",
}


def _with(lines: str, target: str = PREDICT) -> bytes:
    """A good request with these header lines too."""
    return request(target=target).replace(b"\r\n", b"\r\n" + lines.encode("latin-1"), 1)


def _twice() -> Iterator[Case]:
    for name, values in _TWICE.items():
        for first, second in (values, values[::-1], values[:1] * 2):
            lines = f"{name}: {first}\r\n{name.lower()}: {second}\r\n"
            yield framing(f"twice: {name}: {first}, {second}", _with(lines), says=name.lower())
    for name, value in _HARMLESS_TWICE.items():
        yield Case(f"twice: {name}", _with(f"{name}: {value}\r\n{name.lower()}: {value}\r\n"), 200)


CASES: list[Case] = [
    *(infer(f"header: {name}", BODY, 200, target=PREDICT, **headers) for name, headers in _PREDICT_200.items()),
    *(
        infer(f"header: {name}", BODY, status, says, target=target, **headers)
        for name, (headers, status, says) in _PREDICT_REFUSED.items()
        for target in (PREDICT,)
    ),
    *(
        infer(f"header on infer: {name}", BODY, status, says, target=INFER, **headers)
        for name, (headers, status, says) in _PREDICT_REFUSED.items()
    ),
    *_twice(),
]
