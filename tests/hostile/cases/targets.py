"""Paths and methods: names that lead elsewhere, and methods that no door has."""

from collections.abc import Iterator

from tests.hostile.case import GOOD, INFER, PREDICT, Case, framing, infer
from tests.http.wire import request
from tests.keys import KEY

_NAMES = {
    "unknown": "cats",
    "encoded traversal": "..%2f..%2fetc%2fpasswd",
    "traversal": "..",
    "dots encoded": "%2e%2e",
    "dots encoded twice": "%252e%252e%252f",
    "one dot": ".",
    "backslashes": "..%5c..%5cwindows",
    "a slash": "m%2f1",
    "an absolute path": "%2fetc%2fpasswd",
    "%00": "%00",
    "NUL behind": "m%00",
    "NUL and an ending": "m%00.onnx",
    "overlong slash": "..%c0%af..%c0%afetc",
    "overlong dot": "%c0%ae%c0%ae",
    "half-width slash": "..%ef%bc%8fetc",
    "not utf-8": "%ff",
    "CRLF": "m%0d%0aX-Evil:%20a",
    "empty after decoding": "%20",
    "a quote": "%22",
    "markup": "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "a template": "%7B%7B7*7%7D%7D",
    "a format": "%25s%25n",
    "a variable": "$%7BPATH%7D",
    "a url": "http:%2f%2flocalhost%2fm",
    "a hidden folder": ".git",
    "upper case": "M",
    "dot behind": "m.",
    "space behind": "m%20",
    "of 8000 letters": "m" * 8000,
    "turned round": "%e2%80%ae",
    "deployments": "deployments.toml",
}
_VERSIONS: dict[str, tuple[str, int]] = {
    "unknown": ("9", 404),
    "zero": ("0", 404),
    "negative": ("-1", 404),
    "signed": ("%2b1", 404),
    "01": ("01", 200),
    "of space": ("%201", 404),
    "latest": ("latest", 404),
    "1.0": ("1.0", 404),
    "1e0": ("1e0", 404),
    "0x1": ("0x1", 404),
    "1_": ("1_", 404),
    "%00": ("1%00", 404),
    "arabic": ("%d9%a1", 404),
    "superscript": ("%c2%b2", 404),
    "traversal": ("..", 404),
    "encoded traversal": ("..%2f1", 404),
    "2^63": (str(2**63), 400),
    "2^70": (str(2**70), 400),
    "of 5000 digits": ("1" * 5000, 400),
}
_PLACES = {
    "infer": ("POST", "/v2/models/{}/infer"),
    "infer of a version": ("POST", "/v2/models/{}/versions/1/infer"),
    "metadata": ("GET", "/v2/models/{}"),
    "ready": ("GET", "/v2/models/{}/ready"),
    "config": ("GET", "/v2/models/{}/config"),
    "stats": ("GET", "/v2/models/{}/stats"),
    "load": ("POST", "/v2/repository/models/{}/load"),
    "unload": ("POST", "/v2/repository/models/{}/unload"),
}
_VERSION_PLACES = {
    "infer": ("POST", "/v2/models/m/versions/{}/infer"),
    "metadata": ("GET", "/v2/models/m/versions/{}"),
    "ready": ("GET", "/v2/models/m/versions/{}/ready"),
    "config": ("GET", "/v2/models/m/versions/{}/config"),
    "stats": ("GET", "/v2/models/m/versions/{}/stats"),
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")
_ALLOWED = {
    PREDICT: "POST",
    INFER: "POST",
    "/v2/repository/index": "POST",
    "/v2/repository/models/m/load": "POST",
    "/v2/repository/models/m/unload": "POST",
    "/v2": "GET HEAD",
    "/v2/health/live": "GET HEAD",
    "/v2/health/ready": "GET HEAD",
    "/livez": "GET HEAD",
    "/readyz": "GET HEAD",
    "/metrics": "GET HEAD",
    "/v2/models": "GET HEAD",
    "/v2/models/m": "GET HEAD",
    "/v2/models/m/ready": "GET HEAD",
    "/v2/models/m/config": "GET HEAD",
    "/v2/models/m/stats": "GET HEAD",
    "/v2/models/m/versions/1": "GET HEAD",
    "/docs": "GET HEAD",
    "/openapi.json": "GET HEAD",
}
_UNKNOWN = (
    "/nope",
    "/v2/",
    "/v2/models/m/",
    "/v2/repository",
    "/predict/",
    "//predict",
    "/.env",
    "/admin",
    "/%00",
    "/..",
)


def _asked(name: str, method: str, target: str, status: int) -> Case:
    if method == "POST" and target.endswith("/infer"):
        return infer(name, {"inputs": [GOOD]}, status, target=target)
    return Case(name, request(b"", method=method, target=target, X_API_Key=KEY), status, method=method)


def _named() -> Iterator[Case]:
    for where, (method, target) in _PLACES.items():
        for name, given in _NAMES.items():
            yield _asked(f"{where}: model {name}", method, target.format(given), 404)
    for where, (method, target) in _VERSION_PLACES.items():
        for name, (given, status) in _VERSIONS.items():
            yield _asked(f"{where}: version {name}", method, target.format(given), status)


def _methods() -> Iterator[Case]:
    for target, allowed in _ALLOWED.items():
        for method in _METHODS:
            if method not in allowed.split():
                made = request(b"", method=method, target=target)
                yield Case(f"{method} {target}", made, 405, "" if method == "HEAD" else method, method)
    for target in _UNKNOWN:
        for method in _METHODS:
            yield Case(f"{method} {target}", request(b"", method=method, target=target), 404, method=method)


CASES: list[Case] = [
    *_named(),
    *_methods(),
    *(
        framing(f"target {target}", request(target=target))
        for target in ("predict", "/predict#x", "/\u00e9", "/a b", "")
    ),
]
