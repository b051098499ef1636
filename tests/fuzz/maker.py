"""Valid requests, made at random from the signatures of the models."""

import gzip
import json
import struct
import zlib
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np

from app.contract.tensors import Signature, TensorSpec
from tests.fuzz import inputs
from tests.fuzz.inputs import Asked, Stream
from tests.fuzz.reference import DTYPES, Array
from tests.http.wire import request

ROWS = (0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 33, 64, 100)
STRINGS = ("", "a", "tree", "äöü", "🌳", '"\\\n', "null", "x" * 40)
LENGTH = "Inference-Header-Content-Length"
OTHER_TARGETS = (
    "/livez",
    "/readyz",
    "/v2",
    "/v2/models",
    "/metrics",
    "/openapi.json",
    "/v2/repository/index",
    "/",
    "*",
)
CODINGS = ("gzip", "deflate", "x-gzip")


class Maker:
    """Makes requests; the same ones for the same `random`."""

    def __init__(self, signatures: Mapping[str, Signature], random: Random) -> None:
        self.names = sorted(signatures)
        self.signatures = signatures
        self._random = random

    def any(self) -> Stream | Asked:
        """A request to any target."""
        makers = (self.oip, self.oip, self.native, self.compressed, self.stream, self.framed)
        return self._random.choice(makers)()

    def oip(self) -> Asked:
        model, how = self._random.randrange(len(self.names)), self._how()
        length, body = self.infer_body(self.names[model])
        return Asked(inputs.OIP, model, how, length, body)

    def native(self) -> Asked:
        model = self._random.randrange(len(self.names))
        return Asked(inputs.NATIVE, model, self._how(), None, self.predict_body(self.names[model]))

    def compressed(self) -> Asked:
        """`how` is an index into CODINGS; the body is compressed already."""
        model, how = self._random.randrange(len(self.names)), self._random.randrange(len(CODINGS))
        body = self.predict_body(self.names[model])
        packed = zlib.compress(body, 1) if CODINGS[how] == "deflate" else gzip.compress(body, 1, mtime=0)
        return Asked(inputs.COMPRESSED, model, how, None, packed)

    def stream(self) -> Stream:
        """One to three requests of a connection, or one that comes again and again: what recurs is remembered."""
        if self._random.random() < 0.2:
            content = self._random.choice(self.plain(self._random.choice(self.names))) * 4
        else:
            content = b"".join(self._request() for _ in range(self._random.choice((1, 1, 1, 2, 3))))
        return Stream(inputs.CONNECTION, self._random.choice((0, 0, 1, 7, 100, 128, 129, 150)), content)

    def framed(self) -> Stream:
        return Stream(inputs.FRAMING, self._random.choice((1, 2, 3, 5, 16)), self._request() + self._request()[:20])

    def plain(self, name: str) -> list[bytes]:
        """Requests that the fast path may know once they have come before: one of each form."""
        asked = [self._infer(name), self._infer(name, binary=True)]
        return [
            request(self.predict_body(name)),
            *(request(body, target=target, **headers) for target, body, headers in asked),
        ]

    def infer_body(self, name: str, *, binary: bool = False) -> tuple[int | None, bytes]:
        """A body of the Open Inference Protocol and the length of its JSON, None where that is all of it."""
        random, signature = self._random, self.signatures[name]
        tensors: list[dict[str, Any]] = []
        raws: list[bytes] = []
        for spec, array in zip(signature.inputs, self._arrays(signature), strict=True):
            tensor: dict[str, Any] = {"name": spec.name, "shape": list(array.shape), "datatype": str(spec.datatype)}
            if binary or spec.datatype in ("FP16", "BF16") or random.random() < 0.5:
                raws.append(_raw(array))
                tensor["parameters"] = {"binary_data_size": len(raws[-1])}
            else:
                tensor["data"] = (array if random.random() < 0.5 else array.reshape(-1)).tolist()
            tensors.append(tensor)
        document: dict[str, Any] = {"inputs": tensors}
        if binary or random.random() < 0.4:
            document["parameters"] = {"binary_data_output": True}
        if not binary and random.random() < 0.2:
            document["id"] = random.choice(STRINGS[:4])
        if not binary and random.random() < 0.2:
            document["outputs"] = [{"name": spec.name} for spec in signature.outputs]
        text = json.dumps(document, ensure_ascii=False).encode()
        return (len(text) if raws else None), text + b"".join(raws)

    def predict_body(self, name: str) -> bytes:
        signature = self.signatures[name]
        arrays = {
            spec.name: array.view("<u2").tolist() if spec.datatype == "BF16" else array.tolist()
            for spec, array in zip(signature.inputs, self._arrays(signature), strict=True)
        }
        is_bare = len(arrays) == 1 and self._random.random() < 0.7
        document: dict[str, Any] = {"model": name, "inputs": next(iter(arrays.values())) if is_bare else arrays}
        if self._random.random() < 0.2:
            document["parameters"] = {"priority": self._random.randrange(4)}
        return json.dumps(document).encode()

    def _how(self) -> int:
        return self._random.choice((0, 0, inputs.BESIDE, inputs.SQUEEZED, inputs.PINNED, inputs.PACKED, 15))

    def _request(self) -> bytes:
        random = self._random
        if random.random() < 0.15:
            target, method = random.choice(OTHER_TARGETS), random.choice(("GET", "GET", "HEAD", "POST", "OPTIONS"))
            return request(b"", method=method, target=target)
        name = random.choice(self.names)
        headers = random.choice(({}, {}, {"X_Request_Id": "seven"}, {"Connection": "keep-alive"}, {"Accept": "*/*"}))
        if random.random() < 0.5:
            return self._sent("/predict", self.predict_body(name), **headers)
        target, body, given = self._infer(name)
        return self._sent(target, body, **headers, **given)

    def _infer(self, name: str, *, binary: bool = False) -> tuple[str, bytes, dict[str, str]]:
        """Target, body and headers of a request to the infer path."""
        length, body = self.infer_body(name, binary=binary)
        return f"/v2/models/{name}/infer", body, {} if length is None else {LENGTH: str(length)}

    def _sent(self, target: str, body: bytes, **headers: str) -> bytes:
        if self._random.random() < 0.6:
            return request(body, target=target, **headers)
        chunks = []
        while body:
            size = self._random.choice((1, 2, 9, 10, 15, 16, 17, 31, 100, 255, 256, 1000))
            chunks.append(body[:size])
            body = body[size:]
        return request(target=target, chunks=chunks, **headers)

    def _arrays(self, signature: Signature) -> list[Array]:
        """An array for every input; where there are rows, all have as many."""
        rows = self._random.choice(ROWS)
        return [self._array(spec, rows) for spec in signature.inputs]

    def _array(self, spec: TensorSpec, rows: int) -> Array:
        random = self._random
        shape = [
            rows if axis == 0 else random.randrange(6) if dim == -1 else dim for axis, dim in enumerate(spec.shape)
        ]
        count = int(np.prod(shape))
        dtype = DTYPES[spec.datatype]
        if dtype == "O":
            return np.array([random.choice(STRINGS) for _ in range(count)], "O").reshape(shape)
        if spec.datatype == "BF16":
            return np.frombuffer(random.randbytes(2 * count), "<V2").reshape(shape)
        low, high = (0, 2) if dtype == "?" else (1, 100) if spec.name == "ids" else (0, 100)
        return np.array([random.randrange(low, high) for _ in range(count)]).astype(dtype).reshape(shape)


def _raw(array: Array) -> bytes:
    if array.dtype != "O":
        return array.tobytes()
    texts = [text.encode() for text in array.reshape(-1)]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
