"""The repository's doors, opened: what they load comes from the repository alone."""

from tests.hostile.case import MOST_BODY_BYTES, Case, infer

_INDEX = "/v2/repository/index"
_LOAD = "/v2/repository/models/m/load"
_UNLOAD = "/v2/repository/models/m/unload"


def _load(name: str, parameters: object, status: int, says: str, target: str = _LOAD) -> Case:
    return infer(name, {"parameters": parameters}, status, says, target=target)


CASES: list[Case] = [
    infer("index empty body", b"", 200, target=_INDEX),
    infer("index ready not bool", {"ready": "yes"}, says="ready", target=_INDEX),
    infer("index unknown member", {"ready": True, "x": 1}, says="x", target=_INDEX),
    infer("index not json", b"hello", says="body", target=_INDEX),
    infer("index null", b"null", says="body", target=_INDEX),
    infer("index deep", b"[" * 200_000, says="body", target=_INDEX),
    infer("index over the limit", b" " * MOST_BODY_BYTES + b"{}", 413, "body", target=_INDEX),
    infer("load empty body", b"", 200, target=_LOAD),
    infer("load empty body of an unknown model", b"", 404, "cats", target="/v2/repository/models/cats/load"),
    infer("load traversal", b"{}", 404, target="/v2/repository/models/..%2f..%2fetc/load"),
    infer("load not json", b"hello", says="body", target=_LOAD),
    infer("load truncated", b'{"parameters": {', says="body", target=_LOAD),
    infer("load unknown member", {"model": "x"}, says="model", target=_LOAD),
    _load("load config not json", {"config": "{not json"}, 400, "parameters.config"),
    _load("load config not an object", {"config": "[]"}, 400, "parameters.config"),
    _load("load config not text", {"config": 7}, 400, "parameters.config"),
    _load("load config", {"config": "{}"}, 501, "parameters.config"),
    _load("load file override", {"file:1/model.onnx": "AAAA"}, 501, "parameters.file:1/model.onnx"),
    _load("load file override traversal", {"file:../../../../etc/cron.d/x": "AAAA"}, 501, "parameters.file:"),
    _load("load file override with NUL", {"file:1/\0": "AAAA"}, 501, "parameters.file:"),
    _load("load file override of a megabyte", {"file:" + "x" * 1_000_000: ""}, 501, "parameters.file:"),
    _load("load from a url", {"url": "http://127.0.0.1:9/model.onnx"}, 400, "parameters.url"),
    _load("load from a path", {"path": "/etc/passwd"}, 400, "parameters.path"),
    _load("load nested parameter", {"a": {"b": 1}}, 400, "parameters"),
    _load("unload unknown parameter", {"force": True}, 400, "parameters.force", _UNLOAD),
    infer("unload not json", b"hello", says="body", target=_UNLOAD),
    infer("unload unknown model", b"", 404, "cats", target="/v2/repository/models/cats/unload"),
    infer("load as a browser's form", b"{}", 415, target=_LOAD, Origin="http://evil", Content_Type="text/plain"),
    infer("unload as a browser's form", b"{}", 415, target=_UNLOAD, Sec_Fetch_Site="cross-site"),
]
