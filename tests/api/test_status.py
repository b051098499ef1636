"""One table from errors to statuses."""

import json
from collections.abc import Iterator

import pytest

from app import errors
from app.api.framing import Unreadable
from app.api.status import STATUS, MethodNotAllowed, answer_to, error_answer
from app.errors import BonsaiError, Unavailable
from tests.api.world import headers

# As the contract has it, by class.
EXPECTED = {
    "InvalidInput": 400,
    "NotRepresentable": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "TooLarge": 413,
    "UnsupportedMedia": 415,
    "BonsaiError": 500,
    "ExecutionFailed": 500,
    "LoadFailed": 500,
    "ManifestInvalid": 500,
    "Unsupported": 501,
    "Unavailable": 503,
    "RateLimited": 429,
    "NotReady": 503,
    "Overloaded": 503,
    "Draining": 503,
    "DeadlineExceeded": 504,
}


def tree(kind: type[BonsaiError] = BonsaiError) -> Iterator[type[BonsaiError]]:
    """The error class and every class below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


CLASSES = {kind.__name__: kind for kind in tree() if kind.__module__ == errors.__name__}


def test_every_error_is_in_the_contract() -> None:
    assert CLASSES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_every_error_has_its_status(kind: type[BonsaiError]) -> None:
    assert answer_to(kind("why")).status == EXPECTED[kind.__name__]


def test_every_error_has_a_code_of_its_own_and_no_row_is_left_over() -> None:
    codes = [kind.code for kind in CLASSES.values()]
    assert len(set(codes)) == len(codes)
    assert {*codes, *(kind.code for kind in tree(Unreadable)), MethodNotAllowed.code} == STATUS.keys()


def test_the_tree_on_top_of_the_module_names_every_class() -> None:
    assert errors.__doc__ is not None
    for kind in CLASSES.values():
        parent = kind.__bases__[0].__name__
        assert f" {kind.__name__} " in f" {errors.__doc__.replace(chr(10), ' ')} ", parent


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_the_body_is_the_message_and_nothing_else(kind: type[BonsaiError]) -> None:
    answer = answer_to(kind('wrong: "Ünï"'))
    assert json.loads(answer.body) == {"error": 'wrong: "Ünï"'}
    assert headers(answer)["content-type"] == "application/json"


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_retry_after_is_there_where_coming_back_makes_sense(kind: type[BonsaiError]) -> None:
    assert ("retry-after" in headers(answer_to(kind("why")))) == issubclass(kind, Unavailable)


@pytest.mark.parametrize(("seconds", "written"), [(0.001, "1"), (1.0, "1"), (1.2, "2"), (59.0, "59"), (3600.5, "3601")])
def test_retry_after_is_in_whole_seconds_and_never_too_early(seconds: float, written: str) -> None:
    assert headers(answer_to(Unavailable("why", retry_after=seconds)))["retry-after"] == written


def test_an_error_answer_keeps_the_headers_given() -> None:
    answer = error_answer(405, "no", (b"allow", b"POST"), (b"x-note", b"a: b"))
    expected = {"content-type": "application/json", "allow": "POST", "x-note": "a: b", "content-length": "14"}
    assert headers(answer) == expected


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_headers_are_the_same_in_both_forms(kind: type[BonsaiError]) -> None:
    answer = answer_to(kind("why"), b"seven")
    assert answer.headers.lines == b"".join(b"%b: %b\r\n" % field for field in answer.headers.fields)
    assert answer.header_list()[: len(answer.headers.fields)] == list(answer.headers.fields)
    assert headers(answer)["x-request-id"] == "seven"
