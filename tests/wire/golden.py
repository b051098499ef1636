"""Requests and answers of the Open Inference Protocol as bytes: what goes over the wire, and what must come back."""

import gzip
from typing import NamedTuple


class Exchange(NamedTuple):
    """`request_headers` are beside those of every request; `answer_headers` are among those of the answer."""

    path: str
    request_headers: dict[str, str]
    request: bytes
    status: int
    answer_headers: dict[str, str]
    answer: bytes


SIMPLE = "/v2/models/simple/infer"
JSON = {"content-type": "application/json"}
LENGTH = "inference-header-content-length"

# Of tritonclient 2.73, `generate_request_body` with inputs in binary.
_TRITON_JSON = (
    b'{"id":"7","inputs":[{"name":"a","shape":[1,4],"datatype":"INT32","parameters":{"binary_data_size":16}},'
    b'{"name":"b","shape":[1,4],"datatype":"INT32","parameters":{"binary_data_size":16}}],'
    b'"parameters":{"binary_data_output":true}}'
)
_NUMBERS = (
    b"\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\xff\xff\xff\xff"
    b"\x0a\x00\x00\x00\x14\x00\x00\x00\x1e\x00\x00\x00\x28\x00\x00\x00"
)
_TRITON_ANSWER = (
    b'{"model_name":"simple","model_version":"2","id":"7","outputs":['
    b'{"name":"sum","shape":[1,4],"datatype":"INT32","parameters":{"binary_data_size":16}},'
    b'{"name":"difference","shape":[1,4],"datatype":"INT32","parameters":{"binary_data_size":16}}]}'
)
_RESULTS = (
    b"\x0b\x00\x00\x00\x16\x00\x00\x00\x21\x00\x00\x00\x27\x00\x00\x00"
    b"\xf7\xff\xff\xff\xee\xff\xff\xff\xe5\xff\xff\xff\xd7\xff\xff\xff"
)
_JSON_REQUEST = (
    b'{"inputs": [{"name": "a", "shape": [1, 4], "datatype": "INT32", "data": [1, 2, 3, -1]}, '
    b'{"name": "b", "shape": [1, 4], "datatype": "INT32", "data": [[10, 20, 30, 40]]}], "outputs": [{"name": "sum"}]}'
)
_JSON_ANSWER = (
    b'{"model_name":"simple","model_version":"2",'
    b'"outputs":[{"name":"sum","shape":[1,4],"datatype":"INT32","data":[11,22,33,39]}]}'
)
_MIXED_JSON = (
    b'{"inputs":[{"name":"a","shape":[1,4],"datatype":"INT32","data":[1,2,3,-1]},'
    b'{"name":"b","shape":[1,4],"datatype":"INT32","parameters":{"binary_data_size":16}}],'
    b'"outputs":[{"name":"sum"},{"name":"difference","parameters":{"binary_data":true}}]}'
)
_MIXED_ANSWER = (
    b'{"model_name":"simple","model_version":"2","outputs":['
    b'{"name":"sum","shape":[1,4],"datatype":"INT32","data":[11,22,33,39]},'
    b'{"name":"difference","shape":[1,4],"datatype":"INT32","parameters":{"binary_data_size":16}}]}'
)
_WORDS_JSON = (
    b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"BYTES","parameters":{"binary_data_size":15}}],'
    b'"outputs":[{"name":"y","parameters":{"binary_data":true}}]}'
)
_WORDS = b"\x00\x00\x00\x00\x07\x00\x00\x00\xc3\xa4\xe2\x82\xac\x00!"
_WORDS_ANSWER = (
    b'{"model_name":"words","model_version":"1",'
    b'"outputs":[{"name":"y","shape":[1,2],"datatype":"BYTES","parameters":{"binary_data_size":15}}]}'
)
_HALVES = b"\x00\x3c\x00\x7c"  # 1 and infinity
_HALVES_ANSWER = (
    b'{"model_name":"halves","model_version":"1",'
    b'"outputs":[{"name":"y","shape":[1,2],"datatype":"FP16","parameters":{"binary_data_size":4}}]}'
)

_OCTETS = {"content-type": "application/octet-stream"}


def _binary(path: str, text: bytes, raw: bytes, answer: bytes, answer_raw: bytes) -> Exchange:
    return Exchange(
        path, {LENGTH: str(len(text))}, text + raw, 200, _OCTETS | {LENGTH: str(len(answer))}, answer + answer_raw
    )


EXCHANGES = {
    "json": Exchange(SIMPLE, JSON, _JSON_REQUEST, 200, JSON, _JSON_ANSWER),
    "json without a content type": Exchange(SIMPLE, {}, _JSON_REQUEST, 200, JSON, _JSON_ANSWER),
    "json as octets": Exchange(SIMPLE, _OCTETS, _JSON_REQUEST, 200, JSON, _JSON_ANSWER),
    "json in gzip": Exchange(
        SIMPLE, JSON | {"content-encoding": "gzip"}, gzip.compress(_JSON_REQUEST), 200, JSON, _JSON_ANSWER
    ),
    "tritonclient": _binary(SIMPLE, _TRITON_JSON, _NUMBERS, _TRITON_ANSWER, _RESULTS),
    "json and binary": _binary(SIMPLE, _MIXED_JSON, _NUMBERS[16:], _MIXED_ANSWER, _RESULTS[16:]),
    "strings": _binary("/v2/models/words/infer", _WORDS_JSON, _WORDS, _WORDS_ANSWER, _WORDS),
    "raw": Exchange(
        "/v2/models/halves/infer",
        {LENGTH: "0"},
        _HALVES,
        200,
        _OCTETS | {LENGTH: str(len(_HALVES_ANSWER))},
        _HALVES_ANSWER + _HALVES,
    ),
    "an unknown model": Exchange(
        "/v2/models/cats/infer", JSON, _JSON_REQUEST, 404, JSON, b'{"error":"no model \'cats\'"}'
    ),
    "an unknown version": Exchange(
        "/v2/models/simple/versions/9/infer",
        JSON,
        _JSON_REQUEST,
        404,
        JSON,
        b'{"error":"model \'simple\' has no version 9; it has 1, 2"}',
    ),
    "a wrong size": Exchange(
        SIMPLE,
        {LENGTH: str(len(_MIXED_JSON))},
        _MIXED_JSON + _NUMBERS[:12],
        400,
        JSON,
        b'{"error":"inputs[1].parameters.binary_data_size: '
        b'expected an integer from 0 to 12, the bytes left in the body, got 16"}',
    ),
    "an index": Exchange(
        "/v2/repository/index", {}, b'{"ready": 1}', 400, JSON, b'{"error":"ready: expected bool, got int"}'
    ),
}
