"""Words that the code looks for, or trips over."""

from typing import Any

_DEEP = b"[" * 3000
_LONG_NUMBER = b"9" * 5000

JSON: tuple[bytes, ...] = (
    *(b"[", b"]", b"{", b"}", b'"', b",", b":", b"\\", b"-", b".", b"0", b"1e5", b" ", b"\n"),
    *(b"null", b"true", b"false", b"NaN", b"Infinity", b"1e999", b"-0.0", b"1e-400", b"256", b"-129", b"65520"),
    *(b"4294967296", b"9223372036854775808", b"18446744073709551616", b"1.0", b'"1"', b"[]", b"{}", b"[[]]"),
    *(b"\\ud800", b"\\u0000", b"\xff", b"\xef\xbb\xbf", b"\xf0\x9f\x8c\xb3", b"\0", b"\xff\xff\xff\xff"),
    *(_DEEP, _LONG_NUMBER, b"9" * 30, b"0" * 4096),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 4, 255, 256, -129, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**30, 10**400),
    *(0.5, -0.0, 1e-320, 1e39, 1e308, 65519.9, 65520.0, "", "1", "x", "a\r\nb", "\x00", "🌳", "\ud800", "x" * 300),
    *([], [[]], {}, [[[]]], [0], [1, 4], [2**62, 64], [0, 2**62], [1] * 33, "BYTES", "FP32", "BF16", "INT64"),
)
MEMBERS = (
    *("inputs", "outputs", "parameters", "id", "name", "shape", "datatype", "data", "model", "version", "priority"),
    *("timeout", "timeout_ms", "top_k", "binary_data_size", "binary_data", "binary_data_output", "sequence_id"),
    *("shared_memory_region", "classification", "x", "a", "mine"),
)
HEADERS = (
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999999999999"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Expect: 100-continue"),
    *(b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: websocket"),
    *(b"Content-Type: application/octet-stream", b"Content-Type: text/plain", b"Content-Encoding: gzip"),
    *(b"Content-Encoding: br", b"Accept-Encoding: gzip", b"Accept-Encoding: gzip;q=0", b"X-Request-Timeout-Ms: 1"),
    *(b"X-Request-Timeout-Ms: x", b"X-Request-Id: \xff", b"Inference-Header-Content-Length: 0"),
    *(b"Inference-Header-Content-Length: 99", b"Inference-Header-Content-Length: -1", b"Host: localhost", b": x", b"a"),
    *(b" folded", b"X-Long: " + b"x" * 5000, b"X: \0", b"Origin: http://a"),
)
REQUEST_LINES = (
    *(
        b"GET / HTTP/1.1",
        b"POST /predict HTTP/1.0",
        b"POST /predict HTTP/2.0",
        b"POST /predict",
        b"HEAD /livez HTTP/1.1",
    ),
    *(
        b"POST http://a/predict HTTP/1.1",
        b"POST /%70redict?x=1 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
    ),
    *(b"PUT /predict HTTP/1.1", b"HEAD /predict HTTP/1.1", b"GET /v2/models/..%2f..%2fetc/infer HTTP/1.1"),
    *(b"POST /v2/models/%ff/infer HTTP/1.1", b"POST /v2/models/linear/versions/9/infer HTTP/1.1", b"PRI * HTTP/2.0"),
    *(b"POST /v2/models/" + b"m" * 9000 + b"/infer HTTP/1.1", b"GET /v2/models/linear/versions/x HTTP/1.1"),
    *(b"GET /v2/models/stats HTTP/1.1", b"POST /v2/repository/models/linear/unload HTTP/1.1", b"GET /docs HTTP/1.1"),
)
HTTP: tuple[bytes, ...] = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b":", b" ", b"\t", b"\0", b"\xff", b";", b"0\r\n\r\n", b"5\r\nhello\r\n"),
    *(b"ffffffffffffffff\r\n", b"10\r\n", b"0;a=b\r\n", b"-1\r\n", b"0x5\r\n", b"00000000000000005\r\n", b"HTTP/1.1"),
    *(b"a: b\r\n", b"a" * 5000, b"1\r\nx\r\n" * 200, b"b: c\r\n" * 70),
    *HEADERS,
)
