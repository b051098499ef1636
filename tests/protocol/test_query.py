"""The query of /predict."""

import pytest

from app.protocol.native import Parameters
from app.protocol.query import NAMES, Query, parse
from tests.protocol.bodies import refusal

READ = {
    b"": Query(),
    b"model=m": Query(model="m"),
    b"model=a%20b+c%26%C3%A9&version=7": Query(model="a b c&é", version="7"),
    b"top_k=2&timeout_ms=1.5&priority=3&output=y%2Fz": Query(output="y/z", parameters=Parameters(1.5, 3, 2)),
    b"model=": Query(model=""),
}


@pytest.mark.parametrize(("raw", "query"), READ.items(), ids=repr)
def test_a_query_is_read(raw: bytes, query: Query) -> None:
    assert parse(raw) == query


REFUSED = {
    b"a=b": f"query: expected only {', '.join(NAMES)}, got 'a'",
    b"Model=m": "query: expected only",
    b"inputs=1": "query: expected only",
    b"model=m&model=m": "query.model: expected it once, got it twice",
    b"top_k=1&model=m&top_k=1": "query.top_k: expected it once, got it twice",
    b"model": "query: expected name=value",
    b"model=m&": "query: expected name=value",
    b"&": "query: expected name=value",
    b"model=%ff": "query: expected name=value",
    b"model=\xc3\xa9": "query: expected name=value",
    b"top_k=0": "query.top_k: expected int >= 1",
    b"top_k=1.5": "query.top_k: expected int",
    b"top_k=": "query.top_k: expected JSON",
    b"top_k=%221%22": "query.top_k: expected int",
    b"top_k=1%20%202": "query.top_k: expected JSON",
    b"timeout_ms=0": "query.timeout_ms: expected float > 0",
    b"timeout_ms=nan": "query.timeout_ms: expected JSON",
    b"timeout_ms=inf": "query.timeout_ms: expected JSON",
    b"timeout_ms=1e999": "query.timeout_ms: number out of range",
    b"timeout_ms=-1": "query.timeout_ms: expected float > 0",
    b"priority=4": "query.priority: expected int <= 3",
    b"priority=high": "query.priority: expected JSON",
    b"priority=" + b"9" * 5000: "query.priority: integer value out of range",
}


@pytest.mark.parametrize(("raw", "message"), REFUSED.items(), ids=lambda value: repr(value[:30]))
def test_a_wrong_query_is_refused(raw: bytes, message: str) -> None:
    assert refusal(lambda: parse(raw)).startswith(message)
