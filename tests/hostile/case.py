"""A hostile or careless request, and what it is built of."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.http.wire import request
from tests.keys import KEY

INFER = "/v2/models/m/infer"
PREDICT = "/predict"
ROW = [1, 2, 3, 4]
GOOD: dict[str, Any] = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}
MOST_BODY_BYTES = 16 << 20
"""The limit of a server as it comes."""


@dataclass(frozen=True)
class Case:
    """What is sent, and what has to come back."""

    name: str
    sent: bytes
    status: int
    says: str = ""
    """What the answer holds: its message, where it is a failure."""
    method: str = "POST"
    is_framing: bool = False
    """A matter of `bonsai serve`; under another ASGI server it is that server's."""


def infer(name: str, body: Any, status: int = 400, says: str = "", *, target: str = INFER, **headers: str) -> Case:
    """A POST, of bytes as they are or of a document as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Case(name, request(raw, target=target, **_access(target), **headers), status, says)


def _access(target: str) -> dict[str, str]:
    """A key where the door takes one: what is wrong with a request must not be hidden by who asks."""
    return {"X_API_Key": KEY} if target.startswith("/v2/repository/models/") else {}


def changed(**members: Any) -> dict[str, Any]:
    """A good infer body whose only input has these members."""
    return {"inputs": [GOOD | members]}


def without(member: str) -> dict[str, Any]:
    return {"inputs": [{name: value for name, value in GOOD.items() if name != member}]}


def framing(name: str, sent: bytes, status: int = 400, says: str = "", method: str = "POST") -> Case:
    return Case(name, sent, status, says, method, is_framing=True)


def by_name(*tables: Iterable[Case]) -> dict[str, Case]:
    """The cases of all tables; no two of one name."""
    cases = [case for table in tables for case in table]
    named = {case.name: case for case in cases}
    twice = [case.name for case in cases if named[case.name] is not case]
    assert not twice, twice
    return named
