"""Inputs that declare a medium: in JSON and as a body of their own."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.tensors import InputSpec
from app.errors import TooLarge, Unsupported, UnsupportedMedia
from app.protocol import media
from app.protocol.messages import Array
from app.protocol.strings import MOST_STRINGS
from tests.protocol.bodies import refusal

PNG = b"\x89PNG\r\n\x1a\n\0\0\xff\0"


def spec(medium: str | None, datatype: str = "BYTES", shape: tuple[int, ...] = (-1,)) -> InputSpec:
    return InputSpec(name="x", datatype=datatype, shape=shape, medium=medium)


def rows(document: object, of: InputSpec) -> Array:
    column = media.read_rows(memoryview(json.dumps(document).encode()), of, "inputs")
    assert isinstance(column, np.ndarray)
    return column


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5))
def test_images_come_in_base64(images: list[bytes]) -> None:
    column = rows([base64.b64encode(image).decode() for image in images], spec("image"))
    assert (column.dtype, column.tolist()) == (np.dtype(object), images)


@pytest.mark.parametrize(("shape", "got"), [((-1,), (2,)), ((-1, 1), (2, 1)), ((-1, 1, 1), (2, 1, 1))])
def test_a_medium_is_one_string_a_row(shape: tuple[int, ...], got: tuple[int, ...]) -> None:
    assert rows(["a", "b"], spec("text", shape=shape)).shape == got
    assert rows([], spec("text", shape=shape)).shape == (0, *got[1:])
    assert media.read_body(b"a", "text/plain", spec("text", shape=shape)).shape == (1, *got[1:])


def test_text_comes_as_it_is() -> None:
    assert rows(["", "ä€😀", "cGxhaW4="], spec("text")).tolist() == ["", "ä€😀", "cGxhaW4="]


NO_BASE64 = {
    "not of the alphabet": "!!!!",
    "of the other alphabet": "-_-_",
    "no padding": "YQ",
    "padding alone": "====",
    "too much padding": "YQ===",
    "padding within": "YQ==YQ==",
    "bits behind the last byte": "YR==",
    "a line break": "YWJj\n",
    "space": " YWJj",
    "not ascii": "é===",
    "a data URL": "data:image/png;base64,YWJj",
    "nothing": "",
}


@pytest.mark.parametrize("text", NO_BASE64.values(), ids=NO_BASE64)
def test_an_error_in_base64_names_the_row(text: str) -> None:
    assert refusal(lambda: rows(["YWJj", text, "YWJj"], spec("audio"))).startswith("inputs[1]: expected ")


@pytest.mark.parametrize("document", ["YWJj", [["YWJj"]], [1], [None], {}, [["a"], "b"]], ids=str)
@pytest.mark.parametrize("medium", ["text", "image"])
def test_anything_but_a_list_of_strings_is_refused(medium: str, document: object) -> None:
    assert refusal(lambda: rows(document, spec(medium))).startswith("inputs")


def test_there_may_be_so_many() -> None:
    with pytest.raises(TooLarge):
        rows([""] * (MOST_STRINGS + 1), spec("text"))


def test_numbers_stay_numbers() -> None:
    column = media.read_rows(memoryview(b"[[1, 2]]"), spec("image", "FP32", (-1, 2)), "inputs")
    assert column == [[1.0, 2.0]]


@pytest.mark.parametrize("document", ["YWJj", ["YWJj"], [["YWJj"]]], ids=str)
def test_a_medium_in_place_of_numbers_has_no_decoder(document: object) -> None:
    with pytest.raises(Unsupported, match=r"inputs: expected FP32 numbers.*'x'.*no decoder for images yet"):
        rows(document, spec("image", "FP32", (-1, 2)))


@pytest.mark.parametrize("media_type", media.MEDIA)
def test_a_body_is_one_row(media_type: str) -> None:
    medium = media.MEDIA[media_type]
    body, row = ("ä€".encode(), "ä€") if medium == "text" else (PNG, PNG)
    assert media.read_body(body, media_type, spec(medium)).tolist() == [row]
    assert media.read_body(memoryview(body), media_type, spec(medium)).tolist() == [row]
    with pytest.raises(Unsupported, match="body: expected FP32 numbers"):
        media.read_body(body, media_type, spec(medium, "FP32"))


@pytest.mark.parametrize(
    ("media_type", "of", "takes"),
    [
        ("text/plain", spec(None), "application/json, application/x-npy for"),
        ("image/png", spec("text"), "application/json, application/x-npy, text/plain for"),
        ("audio/wav", spec("image"), "application/json, application/x-npy, image/png, image/jpeg, image/webp for"),
        ("text/plain", spec("audio", "FP32"), "application/json, application/x-npy for"),
    ],
)
def test_another_medium_is_refused_with_what_the_input_takes(media_type: str, of: InputSpec, takes: str) -> None:
    with pytest.raises(UnsupportedMedia) as raised:
        media.read_body(b"a", media_type, of)
    assert str(raised.value) == f"content-type: expected one of {takes} input 'x', got {media_type}"


def test_text_is_utf_8_and_an_image_is_not_empty() -> None:
    assert refusal(lambda: media.read_body(b"\xff", "text/plain", spec("text"))).startswith("body: expected UTF-8")
    assert refusal(lambda: media.read_body(b"", "image/png", spec("image"))) == "body: expected image/png, got no bytes"
    assert media.read_body(b"", "text/plain", spec("text")).tolist() == [""]
